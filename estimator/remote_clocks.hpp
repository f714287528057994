/// The clocks of the far ends of flows, for those that had RTT samples lately.
///
/// Pure, not thread-safe. A bounded table, four-way sets by flow, whose memory is taken with the first
/// sample; of a full set the clock that was asked longest ago gives way.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "estimator/remote_clock.hpp"

namespace weir {

class RemoteClocks {
 public:
  static constexpr std::size_t kMost = 8192;

  /// `flow` is the number of a flow, `end` (0 or 1) the one whose segments carry the clock.
  [[nodiscard]] std::optional<QueueSplit> split(std::uint32_t flow, unsigned end,
                                                const TimestampSample& sample) {
    if (sets_.empty()) sets_.resize(kMost / kWays);
    return reach(key_of(flow, end)).on_sample(sample);
  }
  [[nodiscard]] std::size_t bytes_held() const { return sets_.capacity() * sizeof(Set); }

 private:
  static constexpr std::size_t kWays = 4;
  struct Set {
    std::array<std::uint32_t, kWays> keys{};  ///< 0: nothing
    std::array<RemoteClock, kWays> clocks{};
  };
  static_assert(std::has_single_bit(kMost / kWays));

  /// Never 0: numbers of flows begin at 1.
  [[nodiscard]] static std::uint32_t key_of(std::uint32_t flow, unsigned end) { return flow << 1U | end; }
  /// Numbers are given in turn: neighbours lie apart by themselves.
  [[nodiscard]] static std::size_t place_of(std::uint32_t key) { return key & (kMost / kWays - 1); }
  [[nodiscard]] RemoteClock& reach(std::uint32_t key) {
    Set& set = sets_[place_of(key)];
    std::size_t oldest = 0;
    for (std::size_t i = 0; i < kWays; ++i) {
      if (set.keys[i] == key) return set.clocks[i];
      if (set.clocks[i].last() < set.clocks[oldest].last()) oldest = i;
    }
    set.keys[oldest] = key;
    set.clocks[oldest] = RemoteClock{};
    return set.clocks[oldest];
  }

  std::vector<Set> sets_;
};

}  // namespace weir
