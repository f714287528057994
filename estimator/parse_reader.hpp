/// The captured bytes of a frame, taken header by header. Private to the parser.
///
/// Pure. Nothing is read that was not asked for first: `peek` and `take` compare once with the end and hand
/// out N bytes as a Header<N>, whose fields stand at offsets that the compiler has checked against N.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <endian.h>

#include "config/address.hpp"

namespace weir {

/// N bytes that are there, or nothing (then it is false, and has no fields to read).
template <std::size_t N>
class Header {
 public:
  Header() = default;
  explicit Header(const std::byte* at) : at_(at) {}
  [[nodiscard]] explicit operator bool() const { return at_ != nullptr; }

  template <std::size_t At>
  [[nodiscard]] std::uint8_t u8() const {
    return load<std::uint8_t, At>();
  }
  template <std::size_t At>
  [[nodiscard]] std::uint16_t u16() const {
    return be16toh((load<std::uint16_t, At>()));  // a macro: the comma needs its own brackets
  }
  template <std::size_t At>
  [[nodiscard]] std::uint32_t u32() const {
    return be32toh((load<std::uint32_t, At>()));
  }
  /// A field as it lies there, for words that are only compared, turned round and stored.
  template <std::size_t At>
  [[nodiscard]] std::uint32_t raw32() const {
    return le32toh((load<std::uint32_t, At>()));
  }
  template <std::size_t At>
  [[nodiscard]] std::uint64_t raw64() const {
    return le64toh((load<std::uint64_t, At>()));
  }
  /// The words are stored as a comparison will load them (words_of): it need not wait for the stores.
  template <std::size_t At>
  void copy_ip4(IpAddress& to) const {
    to.family = Family::v4;
    const std::array<std::uint64_t, 2> words{htole64(std::uint64_t{le32toh((load<std::uint32_t, At>()))}), 0};
    std::memcpy(to.bytes.data(), words.data(), sizeof words);
  }
  template <std::size_t At>
  void copy_ip6(IpAddress& to) const {
    to.family = Family::v6;
    to.bytes = load<std::array<std::uint8_t, 16>, At>();
  }

 private:
  template <typename Value, std::size_t At>
  [[nodiscard]] Value load() const {
    static_assert(At + sizeof(Value) <= N, "a field outside of its header");
    Value value{};
    std::memcpy(&value, at_ + At, sizeof value);
    return value;
  }

  const std::byte* at_ = nullptr;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  [[nodiscard]] std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }
  /// The next N bytes, which stay to be taken.
  template <std::size_t N>
  [[nodiscard]] Header<N> peek() const {
    return left() >= N ? Header<N>(at_) : Header<N>();
  }
  template <std::size_t N>
  [[nodiscard]] Header<N> take() {
    const Header<N> header = peek<N>();
    if (header) at_ += N;
    return header;
  }
  /// False, and nothing is skipped, when there are fewer.
  [[nodiscard]] bool skip(std::size_t count) {
    if (left() < count) return false;
    at_ += count;
    return true;
  }
  /// A reader of the next `count` bytes alone, or of as many as are left; they are taken.
  [[nodiscard]] Reader split(std::size_t count) {
    const std::size_t most = std::min(count, left());
    const Reader part({at_, most});
    at_ += most;
    return part;
  }

 private:
  const std::byte* at_;
  const std::byte* end_;
};

}  // namespace weir
