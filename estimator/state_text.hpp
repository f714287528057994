/// Values as text and back, exactly: numbers and strings with a blank behind each, in the order in which a
/// type lists its members. What a recording keeps of a controller (SiteController::state) is written so.
///
/// A type takes part by a function `list(archive, value)` that names its members once, for both ways. It
/// should bind them by `auto& [a, b] = value`, which no longer compiles when a member is added and not
/// listed.
///
/// Pure. The text read is untrusted: nothing throws, numbers outside what any measurement can hold are
/// refused, so that the arithmetic behind them cannot overflow; memory is bounded by the text's length.
#pragma once

#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "config/units.hpp"
#include "estimator/measurement.hpp"

namespace weir::control {

// What a recording may hold: sums and products of a few of these stay far inside their types.
inline constexpr TimePoint kMostTime{
    Duration(std::int64_t{1} << 60U)};                            ///< 36 years; also the least, negated
inline constexpr Duration kMostDuration{std::int64_t{1} << 53U};  ///< 104 days
inline constexpr Duration kLeastTick = std::chrono::milliseconds(1);
inline constexpr Duration kMostTick = std::chrono::hours(24);
inline constexpr std::uint64_t kMostBps = 1'000'000'000'000'000;
inline constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 50U;
inline constexpr double kMostNumber = 1e15;
inline constexpr int kMostCount = 1'000'000;
inline constexpr std::size_t kMostRemembered = 4096;  ///< ticks or cohorts of 12 s: 120 in practice

[[nodiscard]] constexpr bool in_range(TimePoint t) {
  return t <= kMostTime && t >= TimePoint(-kMostTime.time_since_epoch());
}
[[nodiscard]] constexpr bool in_range(Duration d) {
  return d <= kMostDuration && d >= -kMostDuration;
}

class StateWriter {
 public:
  template <class... T>
  void operator()(T&... values) {
    (put(values), ...);
  }
  void require(bool) {}  // what is written was checked by being computed
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  template <class T>
  requires std::integral<T> || std::floating_point<T>
  void put(T value) {
    std::array<char, 32> digits{};
    // Of a floating number the shortest decimal that reads back the same.
    char* const end = [&] {
      if constexpr (std::same_as<T, bool>)
        return std::to_chars(digits.begin(), digits.end(), int{value}).ptr;
      else
        return std::to_chars(digits.begin(), digits.end(), value).ptr;
    }();
    text_.append(digits.begin(), end);
    text_ += ' ';
  }
  template <class T>
  requires std::is_enum_v<T>
  void put(T value) { put(static_cast<std::uint32_t>(value)); }
  void put(Rate value) { put(value.bps()); }
  void put(Bytes value) { put(value.count()); }
  void put(Duration value) { put(value.count()); }
  void put(TimePoint value) { put(value.time_since_epoch().count()); }
  void put(std::string& value) {
    put(value.size());
    text_ += value;
    text_ += ' ';
  }
  template <class T>
  void put(std::optional<T>& value) {
    put(value.has_value());
    if (value) put(*value);
  }
  template <class T>
  void put(std::deque<T>& values) {
    put(values.size());
    for (T& value : values) put(value);
  }
  /// Empty slots are the bulk of a quiet cohort: only their number is written.
  void put(std::vector<Slot>& slots) {
    put(slots.size());
    std::size_t written = 0;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (slots[i] == Slot{}) continue;
      put(i - written);
      put(slots[i].bytes), put(slots[i].sent), put(slots[i].delivered), put(slots[i].lost);
      written = i + 1;
    }
    put(slots.size() - written);
  }
  template <class... T>
  void put(std::variant<T...>& value) {
    put(value.index());
    std::visit([this](auto& held) { this->put(held); }, value);
  }
  template <class T>
  requires std::is_class_v<T>
  void put(T& value) { list(*this, value); }

  std::string text_;
};

class StateReader {
 public:
  explicit StateReader(std::string_view text) : rest_(text) {}
  template <class... T>
  void operator()(T&... values) {
    (get(values), ...);
  }
  void require(bool condition) { ok_ = ok_ && condition; }
  /// All was read, all of it was sound, and nothing is left over.
  [[nodiscard]] bool done() const { return ok_ && rest_.empty(); }

 private:
  template <class T>
  void number(T& value) {
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    const auto used = static_cast<std::size_t>(end - rest_.data());
    require(error == std::errc() && used < rest_.size() && rest_[used] == ' ');
    if (ok_) rest_.remove_prefix(used + 1);
    if (!ok_) value = {};
  }
  template <std::unsigned_integral T>
  void get(T& value) {
    number(value);
  }
  void get(int& value) {
    number(value);
    require(value >= 0 && value <= kMostCount);
  }
  void get(bool& value) {
    std::uint32_t digit = 0;
    number(digit);
    require(digit <= 1);
    value = digit == 1;
  }
  void get(double& value) {
    number(value);
    require(std::abs(value) <= kMostNumber);  // false for what is no number, too
    if (!ok_) value = 0;
  }
  template <class T>
  requires std::is_enum_v<T>
  void get(T& value) {
    std::uint32_t index = 0;
    number(index);
    require(index < count_of(T{}));
    value = ok_ ? static_cast<T>(index) : T{};
  }
  void get(Rate& value) {
    std::uint64_t bps = 0;
    number(bps);
    require(bps <= kMostBps);
    value = Rate::bps(bps);
  }
  void get(Bytes& value) {
    std::uint64_t count = 0;
    number(count);
    require(count <= kMostBytes);
    value = Bytes(count);
  }
  void get(Duration& value) {
    std::int64_t ns = 0;
    number(ns);
    value = Duration(ns);
    require(in_range(value));
  }
  void get(TimePoint& value) {
    std::int64_t ns = 0;
    number(ns);
    value = TimePoint(Duration(ns));
    require(in_range(value));
  }
  void get(std::string& value) {
    const std::size_t size = count(rest_.size());
    require(size < rest_.size() && rest_[size] == ' ');
    if (!ok_) return;
    value = rest_.substr(0, size);
    rest_.remove_prefix(size + 1);
  }
  template <class T>
  void get(std::optional<T>& value) {
    bool there = false;
    get(there);
    value.reset();
    if (there) get(value.emplace());
  }
  template <class T>
  void get(std::deque<T>& values) {
    values.clear();
    for (std::size_t left = count(kMostRemembered); left > 0 && ok_; --left) get(values.emplace_back());
  }
  void get(std::vector<Slot>& slots) {
    slots.assign(count(kSlotsPerCohort), Slot{});
    for (std::size_t i = count(slots.size()); i < slots.size() && ok_; ++i) {
      get(slots[i].bytes), get(slots[i].sent), get(slots[i].delivered), get(slots[i].lost);
      i += count(slots.size() - i - 1);
    }
  }
  template <class... T>
  void get(std::variant<T...>& value) {
    const std::size_t index = count(sizeof...(T) - 1);
    emplace(value, index, std::index_sequence_for<T...>());
    std::visit([this](auto& held) { this->get(held); }, value);
  }
  template <class... T, std::size_t... I>
  static void emplace(std::variant<T...>& value, std::size_t index, std::index_sequence<I...>) {
    ((index == I ? static_cast<void>(value.template emplace<I>()) : void()), ...);
  }
  template <class T>
  requires std::is_class_v<T>
  void get(T& value) { list(*this, value); }

  /// A number of things, at most `most`; 0 when the text is not sound.
  std::size_t count(std::size_t most) {
    std::uint64_t value = 0;
    number(value);
    require(value <= most);
    return ok_ ? static_cast<std::size_t>(value) : 0;
  }

  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace weir::control
