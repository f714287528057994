/// "Did you mean ...?" Internal to config/.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace weir {

/// Fewest insertions, deletions, replacements and swaps of neighbours that make `b` of `a` (the optimal
/// string alignment distance), ASCII case ignored. `most` + 1 when it is more than `most`.
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b, std::size_t most);

/// How many comparisons may still be spent on guesses at what was meant: bounded, so that no file makes
/// reading it slow.
class GuessBudget {
 public:
  /// Whether so many are left; then they are spent.
  [[nodiscard]] bool spend(std::size_t comparisons) {
    if (comparisons > left_) return false;
    left_ -= comparisons;
    return true;
  }

 private:
  std::size_t left_ = 100'000;
};

/// Finds the candidate that a misspelt word was probably meant to be: offer() each, then best().
/// Words longer than any name are not compared, so that one comparison is bounded.
class NearestName {
 public:
  explicit NearestName(std::string_view misspelt);
  void offer(std::string_view candidate);
  [[nodiscard]] std::optional<std::string_view> best() const { return best_; }

 private:
  std::string_view misspelt_;
  std::size_t least_;
  std::optional<std::string_view> best_;
};

}  // namespace weir
