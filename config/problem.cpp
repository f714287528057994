#include "config/problem.hpp"

#include <algorithm>
#include <tuple>

#include "config/utf8.hpp"

namespace weir {
namespace {

/// A list of ten thousand subnets on one line must not fill the screen: at most this much of a line, around
/// the caret.
constexpr std::size_t kExcerpt = 120;
constexpr std::size_t kLeadIn =
    60;  ///< of it, what stands before the caret at most, unless the line ends soon
constexpr std::string_view kIndent = "    ";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::vector<std::string_view> lines_of(std::string_view text) {
  // Columns are counted behind a byte order mark.
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<std::string_view> lines;
  while (true) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + 1);
  }
}

/// The second and later bytes of a UTF-8 character take no column on the screen.
constexpr bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
}

/// What is shown of a line: a terminal must not obey what a file holds, and what goes on into JSON must be
/// UTF-8. One '?' for each control character, also for those of ISO 6429 above ASCII (U+0080 to U+009F, in
/// UTF-8 the byte C2 and a second one), so that columns stay, and for each byte that is no UTF-8.
std::string printable(std::string_view line) {
  std::string shown;
  shown.reserve(line.size());
  while (!line.empty()) {
    const auto byte = static_cast<unsigned char>(line.front());
    const std::size_t length = utf8_length(line);
    const bool control = (byte < 0x20 && byte != '\t') || byte == 0x7F ||
                         (length == 2 && byte == 0xC2 && static_cast<unsigned char>(line[1]) <= 0x9F);
    if (length == 0 || control) {
      shown.push_back('?');
    } else {
      shown.append(line.substr(0, length));
    }
    line.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return shown;
}

void append_line_and_caret(std::string& out, std::string_view line, std::size_t column) {
  const std::size_t caret = std::min(column == 0 ? 0 : column - 1, line.size());
  const std::size_t last_begin = line.size() > kExcerpt ? line.size() - kExcerpt : 0;
  std::size_t begin = std::min(caret > kLeadIn ? caret - kLeadIn : 0, last_begin);
  while (begin < caret && is_continuation(line[begin])) ++begin;
  std::size_t end = std::min(line.size(), begin + kExcerpt);
  while (end < line.size() && is_continuation(line[end])) ++end;

  const std::string_view before = begin > 0 ? "..." : "";
  const std::string_view after = end < line.size() ? "..." : "";
  out.append(kIndent)
      .append(before)
      .append(printable(line.substr(begin, end - begin)))
      .append(after)
      .append("\n");
  out.append(kIndent).append(before.size(), ' ');
  for (const char c : printable(line.substr(begin, caret - begin))) {
    // A tab is repeated, so that the caret stands under its character whatever the tab stops are.
    if (!is_continuation(c)) out.push_back(c == '\t' ? '\t' : ' ');
  }
  out.append("^\n");
}

}  // namespace

std::string render(const Problems& problems, std::span<const PolicyFile> files) {
  std::vector<const Problem*> in_order;
  in_order.reserve(problems.size());
  for (const Problem& problem : problems) in_order.push_back(&problem);
  std::stable_sort(in_order.begin(), in_order.end(), [](const Problem* a, const Problem* b) {
    return std::tie(a->file, a->line, a->column) < std::tie(b->file, b->line, b->column);
  });

  std::string out;
  std::vector<std::string_view> lines;
  const PolicyFile* file = nullptr;
  for (const Problem* problem : in_order) {
    if (const PolicyFile* of = &files[std::min(problem->file, files.size() - 1)]; of != file) {
      file = of;
      lines = lines_of(file->text);
    }
    out.append(file->path.string());
    if (problem->line > 0) {
      out.append(":")
          .append(std::to_string(problem->line))
          .append(":")
          .append(std::to_string(problem->column));
    }
    out.append(": ").append(problem->message).append("\n");
    if (problem->line > 0 && problem->line <= lines.size()) {
      append_line_and_caret(out, lines[problem->line - 1], problem->column);
    }
    if (!problem->mend.empty()) out.append("  mend: ").append(problem->mend).append("\n");
  }
  return out;
}

std::string render(const Problems& problems, std::string_view file, std::string_view text) {
  const PolicyFile only{.path = file, .text = std::string(text)};
  return render(problems, std::span(&only, 1));
}

}  // namespace weir
