/// Rows of text in columns as wide as they must be, for a terminal. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace weir::gateway {

/// ECMA-48, 8.3.117 (SGR).
namespace style {
inline constexpr std::string_view kBold = "\033[1m";
inline constexpr std::string_view kDim = "\033[2m";
inline constexpr std::string_view kRed = "\033[31m";
inline constexpr std::string_view kGreen = "\033[32m";
inline constexpr std::string_view kYellow = "\033[33m";
inline constexpr std::string_view kPlain = "\033[0m";
}  // namespace style

struct Cell {
  std::string text;
  std::string_view colour = {};
};

class TextTable {
 public:
  TextTable(std::string indent, std::vector<std::string> heads);
  /// As many cells as heads. `below` goes on lines of their own under the row.
  void row(std::vector<Cell> cells, std::string below = {});
  [[nodiscard]] std::string print(bool colour) const;

 private:
  std::string indent_;
  std::vector<std::vector<Cell>> rows_;
  std::vector<std::string> after_;
};

}  // namespace weir::gateway
