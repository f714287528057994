#include "config/suggest.hpp"

#include <algorithm>
#include <array>

namespace weir {
namespace {

constexpr std::size_t kLongestWord = 64;

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b, std::size_t most) {
  const std::size_t difference = a.size() > b.size() ? a.size() - b.size() : b.size() - a.size();
  if (difference > most || a.size() > kLongestWord || b.size() > kLongestWord) return most + 1;

  // Three rows of the usual table: a swap of neighbours looks two rows back.
  using Row = std::array<std::size_t, kLongestWord + 1>;
  Row before_last{};
  Row last{};
  Row current{};
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = lower(a[i - 1]) == lower(b[j - 1]);
      current[j] = std::min({last[j] + 1, current[j - 1] + 1, last[j - 1] + (same ? 0U : 1U)});
      if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1])) {
        current[j] = std::min(current[j], before_last[j - 2] + 1);
      }
    }
    before_last = last;
    last = current;
  }
  return std::min(last[b.size()], most + 1);
}

NearestName::NearestName(std::string_view misspelt)
    // One slip in a short word, three in a long one: more is another word.
    : misspelt_(misspelt), least_(std::clamp<std::size_t>(misspelt.size() / 3, 1, 3) + 1) {}

void NearestName::offer(std::string_view candidate) {
  const std::size_t distance = edit_distance(misspelt_, candidate, least_);
  if (distance < least_) {
    least_ = distance;
    best_ = candidate;
  }
}

}  // namespace weir
