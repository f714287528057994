#include "gateway/packed_text.hpp"

#include <stdexcept>
#include <utility>

#include <zlib.h>

namespace weir::gateway {
namespace {

const Bytef* bytes_of(const std::string& text) {
  return static_cast<const Bytef*>(static_cast<const void*>(text.data()));
}
Bytef* bytes_of(std::string& text) {
  return static_cast<Bytef*>(static_cast<void*>(text.data()));
}

}  // namespace

PackedText::PackedText(std::string text, How how) : size_(text.size()) {
  if (how == How::deflated) {
    uLongf length = compressBound(text.size());
    bytes_.resize(length);
    // The fastest level: lines of the same fields shrink to a tenth by any.
    const int result = compress2(bytes_of(bytes_), &length, bytes_of(text), text.size(), Z_BEST_SPEED);
    if (result == Z_OK && length < size_) {
      bytes_.resize(length);
      bytes_.shrink_to_fit();
      return;
    }
  }
  bytes_ = std::move(text);
  if (how == How::deflated) bytes_.shrink_to_fit();  // kept for long; an answer that is sent at once is not
}

std::string_view PackedText::read(std::string& room) const {
  if (bytes_.size() == size_) return bytes_;
  room.resize(size_);
  uLongf length = size_;
  if (uncompress(bytes_of(room), &length, bytes_of(bytes_), bytes_.size()) != Z_OK || length != size_)
    throw std::logic_error("a text does not unpack to what was packed");
  return room;
}

}  // namespace weir::gateway
