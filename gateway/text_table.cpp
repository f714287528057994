#include "gateway/text_table.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace weir::gateway {
namespace {

/// Code points, not bytes: a site's name may be UTF-8.
std::size_t width(std::string_view utf8) {
  return static_cast<std::size_t>(
      std::ranges::count_if(utf8, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::string padded(const Cell& cell, std::size_t to, bool colour) {
  const std::string fill(to - width(cell.text) + 2, ' ');
  if (!colour || cell.colour.empty()) return cell.text + fill;
  return fmt::format("{}{}{}{}", cell.colour, cell.text, style::kPlain, fill);
}

}  // namespace

TextTable::TextTable(std::string indent, std::vector<std::string> heads) : indent_(std::move(indent)) {
  std::vector<Cell> cells;
  cells.reserve(heads.size());
  for (std::string& head : heads) cells.push_back({std::move(head), style::kBold});
  rows_.push_back(std::move(cells));
  after_.emplace_back();
}

void TextTable::row(std::vector<Cell> cells, std::string below) {
  rows_.push_back(std::move(cells));
  after_.push_back(std::move(below));
}

std::string TextTable::print(bool colour) const {
  std::vector<std::size_t> widths(rows_.front().size(), 0);
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i].text));
  }
  std::string out;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    out += indent_;
    for (std::size_t i = 0; i < rows_[r].size(); ++i) out += padded(rows_[r][i], widths[i], colour);
    while (out.ends_with(' ')) out.pop_back();
    out += '\n';
    out += after_[r];
  }
  return out;
}

}  // namespace weir::gateway
