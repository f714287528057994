/// A file's whole text.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <variant>

namespace weir::gateway {

/// Why a file cannot be read, in words.
struct Unreadable {
  std::string why;
};

/// At most `most` bytes and one more, by which a larger file shows. Never waits, as for a FIFO's writer it
/// would.
[[nodiscard]] std::variant<std::string, Unreadable> read_whole(const std::filesystem::path& path,
                                                               std::size_t most);

}  // namespace weir::gateway
