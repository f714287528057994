/// Reading netlink attributes without trusting them. A value that is missing, too short or unterminated is
/// nullopt.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>

#include <libmnl/libmnl.h>

namespace weir::shaper {

/// `length` rounded up to where the next message or attribute begins.
[[nodiscard]] constexpr std::size_t aligned(std::size_t length) {
  return (length + NLMSG_ALIGNTO - 1) / NLMSG_ALIGNTO * NLMSG_ALIGNTO;
}

/// The attributes of one level by type; types above `Most` are left out, as newer kernels may have them.
template <std::size_t Most>
class Attributes {
 public:
  /// Those behind a fixed header of `header_bytes` in `message`.
  Attributes(const nlmsghdr* message, std::size_t header_bytes)
      : Attributes(behind_header(message, aligned(header_bytes))) {}
  /// Those inside `nest`; none if it is nullptr.
  explicit Attributes(const nlattr* nest) {
    if (nest != nullptr) mnl_attr_parse_nested(nest, &Attributes::keep, this);
  }
  /// Those in a bare run of bytes.
  explicit Attributes(std::span<const std::byte> bytes) {
    mnl_attr_parse_payload(bytes.data(), bytes.size(), &Attributes::keep, this);
  }

  [[nodiscard]] const nlattr* operator[](std::size_t type) const {
    return type <= Most ? found_[type] : nullptr;
  }

  /// The value of `type`; what a newer kernel appended to it is ignored.
  template <class T>
  [[nodiscard]] std::optional<T> get(std::size_t type) const {
    static_assert(std::is_trivially_copyable_v<T>);
    const nlattr* a = (*this)[type];
    if (a == nullptr || mnl_attr_get_payload_len(a) < sizeof(T)) return std::nullopt;
    T value{};
    std::memcpy(&value, mnl_attr_get_payload(a), sizeof value);
    return value;
  }

  /// The leading bytes of `type` that are there, the rest zero: for statistics that grew from kernel to
  /// kernel.
  template <class T>
  [[nodiscard]] T get_padded(std::size_t type) const {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    if (const nlattr* a = (*this)[type]) {
      std::memcpy(&value, mnl_attr_get_payload(a),
                  std::min<std::size_t>(mnl_attr_get_payload_len(a), sizeof value));
    }
    return value;
  }

  [[nodiscard]] std::string text(std::size_t type) const {
    const nlattr* a = (*this)[type];
    if (a == nullptr) return {};
    const auto* begin = static_cast<const char*>(mnl_attr_get_payload(a));
    return {begin, strnlen(begin, mnl_attr_get_payload_len(a))};
  }

 private:
  // Not mnl_attr_parse(): it rounds a message's length up and may read three bytes past its end.
  static std::span<const std::byte> behind_header(const nlmsghdr* message, std::size_t header_bytes) {
    const std::span payload(static_cast<const std::byte*>(mnl_nlmsg_get_payload(message)),
                            mnl_nlmsg_get_payload_len(message));
    return payload.subspan(std::min(header_bytes, payload.size()));
  }

  static int keep(const nlattr* attribute, void* self) {
    const auto type = static_cast<std::size_t>(mnl_attr_get_type(attribute));
    if (type <= Most) static_cast<Attributes*>(self)->found_[type] = attribute;
    return MNL_CB_OK;
  }

  std::array<const nlattr*, Most + 1> found_{};
};

/// A nest that closes itself.
class Nest {
 public:
  Nest(nlmsghdr* message, std::uint16_t type)
      : message_(message), nest_(mnl_attr_nest_start(message, type)) {}
  Nest(const Nest&) = delete;
  Nest& operator=(const Nest&) = delete;
  ~Nest() { mnl_attr_nest_end(message_, nest_); }

 private:
  nlmsghdr* message_;
  nlattr* nest_;
};

}  // namespace weir::shaper
