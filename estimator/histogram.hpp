/// A log-linear histogram of durations: 32 steps per octave from 1 us to 67 s, so any quantile is within 1.6
/// %.
///
/// Pure, fixed memory, an addition is a shift and an increment: it runs once per RTT sample, where a
/// logarithm (what Boost.Histogram's log axis does) would cost more than the rest of the sampling.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "config/units.hpp"

namespace weir {

class DurationHistogram {
 public:
  void add(Duration d, std::uint32_t weight = 1) {
    counts_[index_of(d)] += weight;
    total_ += weight;
  }
  void merge(const DurationHistogram& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    total_ += other.total_;
  }
  void clear() {
    counts_.fill(0);
    total_ = 0;
  }
  [[nodiscard]] std::uint64_t total() const { return total_; }

  /// The value that a `fraction` (0..1) of the weight does not exceed, interpolated within its step; zero
  /// when empty.
  [[nodiscard]] Duration quantile(double fraction) const {
    const double wanted = fraction * static_cast<double>(total_);
    double below = 0.0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] == 0) continue;
      const auto here = static_cast<double>(counts_[i]);
      if (below + here >= wanted) {
        const double part = here > 0.0 ? (wanted - below) / here : 0.0;
        const auto low = static_cast<double>(low_edge(i));
        const auto high = static_cast<double>(low_edge(i + 1));
        return Duration(static_cast<std::int64_t>(low + (high - low) * part));
      }
      below += here;
    }
    return Duration::zero();
  }

  /// A quarter of an octave: what lies at or above the end of the one before, and below `end`
  /// (Duration::max(): whatever is longer).
  struct Bin {
    Duration end{};
    std::uint64_t count = 0;
    bool operator==(const Bin&) const = default;
  };
  /// From the first to the last one with anything in it. Unlike bounds in round numbers these are exact: they
  /// fall on the edges of steps.
  [[nodiscard]] std::vector<Bin> bins() const {
    std::vector<Bin> bins;
    std::uint64_t seen = 0;
    for (std::size_t first = 0; first < counts_.size() && seen < total_; first += kStepsPerBin) {
      Bin bin;
      const std::size_t behind = std::min(first + kStepsPerBin, counts_.size());
      for (std::size_t i = first; i < behind; ++i) bin.count += counts_[i];
      const bool last = behind == counts_.size();
      bin.end = last ? Duration::max() : Duration(static_cast<std::int64_t>(low_edge(behind)));
      seen += bin.count;
      if (!bins.empty() || bin.count > 0) bins.push_back(bin);
    }
    return bins;
  }

 private:
  static constexpr std::size_t kStepsPerBin = 8;
  static constexpr unsigned kStepBits = 5;      // 32 steps per octave
  static constexpr unsigned kFirstOctave = 10;  // 2^10 ns: about one microsecond
  static constexpr unsigned kOctaves = 26;      // up to 2^36 ns: about 69 s
  static constexpr std::size_t kSteps = (kOctaves << kStepBits) + 1;

  [[nodiscard]] static std::size_t index_of(Duration d) {
    constexpr std::uint64_t kFirst = std::uint64_t{1} << kFirstOctave;
    constexpr std::uint64_t kBehind = std::uint64_t{1} << (kFirstOctave + kOctaves);
    const auto ns = static_cast<std::uint64_t>(d.count());
    if (ns - kFirst >= kBehind - kFirst) [[unlikely]]
      return d.count() < static_cast<std::int64_t>(kFirst) ? 0 : kSteps - 1;
    const std::size_t octave = 63U ^ static_cast<unsigned>(std::countl_zero(ns));
    // What is left of the value is its step, with the octave's own bit in front of it: one more octave.
    constexpr std::size_t kInFront = (std::size_t{kFirstOctave} + 1) << kStepBits;
    return (octave << kStepBits) + (ns >> (octave - kStepBits)) - kInFront;
  }
  [[nodiscard]] static std::uint64_t low_edge(std::size_t index) {
    const unsigned octave = static_cast<unsigned>(index >> kStepBits) + kFirstOctave;
    const std::uint64_t step = index & ((1U << kStepBits) - 1);
    return ((1ULL << kStepBits) + step) << (octave - kStepBits);
  }

  std::array<std::uint32_t, kSteps> counts_{};
  std::uint64_t total_ = 0;
};

}  // namespace weir
