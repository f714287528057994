/// Text that is kept for long and seldom read, deflated (RFC 1950, by zlib) where that gains anything.
///
/// Immutable: any number of readers may share one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace weir::gateway {

class PackedText {
 public:
  enum class How : std::uint8_t { as_it_is, deflated };
  PackedText(std::string text, How how);

  /// Bytes of the text.
  [[nodiscard]] std::size_t size() const { return size_; }
  /// Bytes that it takes here.
  [[nodiscard]] std::size_t held() const { return bytes_.size(); }
  /// Refers to this text, or to `room`, which it is then unpacked into.
  [[nodiscard]] std::string_view read(std::string& room) const;

 private:
  std::string bytes_;  ///< the text itself where that is no longer
  std::size_t size_ = 0;
};

}  // namespace weir::gateway
