/// The product's units, each a type of its own: a rate is never confused with a byte count or a time.
///
/// One unit: every rate in Weir (floor, ceiling, shaped rate, capacity, sent, delivered) counts the bits that
/// HTB charges: the frame from its Ethernet header on, plus the link layer's overhead, per wire segment.
/// `LinkLayer::charged` is the one place that knows the conversion.
///
/// Pure, constexpr, no errors: arithmetic saturates at zero where a difference would go below it.
#pragma once

#include <algorithm>
#include <chrono>
#include <compare>
#include <cstdint>

namespace weir {

using Duration = std::chrono::nanoseconds;

/// The clock of everything that is measured. It has no now(): time is an argument everywhere but in gateway/,
/// which maps CLOCK_MONOTONIC (live) or the capture's own stamps (files) onto it.
struct WeirClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<WeirClock>;
};
using TimePoint = WeirClock::time_point;

[[nodiscard]] constexpr double seconds(Duration d) {
  return std::chrono::duration<double>(d).count();
}
[[nodiscard]] constexpr double milliseconds(Duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}
[[nodiscard]] constexpr Duration from_seconds(double s) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s));
}

/// A number of bytes.
class Bytes {
 public:
  constexpr Bytes() = default;
  constexpr explicit Bytes(std::uint64_t count) : count_(count) {}
  [[nodiscard]] constexpr std::uint64_t count() const { return count_; }
  [[nodiscard]] constexpr double bits() const { return static_cast<double>(count_) * 8.0; }
  constexpr auto operator<=>(const Bytes&) const = default;
  constexpr Bytes& operator+=(Bytes other) {
    count_ += other.count_;
    return *this;
  }
  friend constexpr Bytes operator+(Bytes a, Bytes b) { return Bytes(a.count_ + b.count_); }
  friend constexpr Bytes operator-(Bytes a, Bytes b) {
    return Bytes(a.count_ - std::min(a.count_, b.count_));
  }

 private:
  std::uint64_t count_ = 0;
};

/// Bits per second.
class Rate {
 public:
  constexpr Rate() = default;
  [[nodiscard]] static constexpr Rate bps(std::uint64_t v) { return Rate(v); }
  [[nodiscard]] static constexpr Rate kbps(std::uint64_t v) { return Rate(v * 1'000); }
  [[nodiscard]] static constexpr Rate mbps(std::uint64_t v) { return Rate(v * 1'000'000); }
  /// What `bytes` in `d` amount to; zero for a time that is not positive.
  [[nodiscard]] static constexpr Rate of(Bytes bytes, Duration d) {
    return d > Duration::zero() ? Rate(static_cast<std::uint64_t>(bytes.bits() / seconds(d))) : Rate();
  }
  [[nodiscard]] constexpr std::uint64_t bps() const { return bps_; }
  [[nodiscard]] constexpr double mbps() const { return static_cast<double>(bps_) / 1e6; }
  /// What tc and the kernel count in: whole bytes per second.
  [[nodiscard]] constexpr std::uint64_t bytes_per_second() const { return bps_ / 8; }
  /// The bytes that pass in `d` at this rate.
  [[nodiscard]] constexpr Bytes in(Duration d) const {
    return d > Duration::zero()
               ? Bytes(static_cast<std::uint64_t>(static_cast<double>(bps_) / 8.0 * seconds(d)))
               : Bytes();
  }
  /// The time that `bytes` take at this rate; zero for a zero rate.
  [[nodiscard]] constexpr Duration time_for(Bytes bytes) const {
    return bps_ == 0 ? Duration::zero() : from_seconds(bytes.bits() / static_cast<double>(bps_));
  }
  constexpr auto operator<=>(const Rate&) const = default;
  friend constexpr Rate operator+(Rate a, Rate b) { return Rate(a.bps_ + b.bps_); }
  friend constexpr Rate operator-(Rate a, Rate b) { return Rate(a.bps_ - std::min(a.bps_, b.bps_)); }
  friend constexpr Rate operator*(Rate a, double f) {
    const double v = static_cast<double>(a.bps_) * f;
    return Rate(v <= 0.0 ? 0 : v >= 1.8e19 ? UINT64_MAX : static_cast<std::uint64_t>(v));
  }
  friend constexpr Rate operator*(double f, Rate a) { return a * f; }
  /// a / b as a ratio; zero when b is zero.
  friend constexpr double operator/(Rate a, Rate b) {
    return b.bps_ == 0 ? 0.0 : static_cast<double>(a.bps_) / static_cast<double>(b.bps_);
  }

 private:
  constexpr explicit Rate(std::uint64_t v) : bps_(v) {}
  std::uint64_t bps_ = 0;
};

/// How the medium behind the WAN port frames a packet; the kernel charges HTB the same way
/// (net/sched/sch_api.c, struct tc_ratespec: overhead, mpu, linklayer).
struct LinkLayer {
  enum class Kind : std::uint8_t { ethernet, atm, ppp };
  Kind kind = Kind::ethernet;
  std::int16_t overhead =
      0;                  ///< bytes added to each wire segment (may be negative: PPP has no Ethernet header)
  std::uint16_t mpu = 0;  ///< least charged bytes of one segment

  auto operator<=>(const LinkLayer&) const = default;

  /// Charged bytes of `segments` wire segments that together hold `frame_bytes` from their Ethernet headers
  /// on.
  [[nodiscard]] constexpr Bytes charged(std::uint64_t frame_bytes, std::uint64_t segments = 1) const {
    const auto with_overhead =
        static_cast<std::int64_t>(frame_bytes) + overhead * static_cast<std::int64_t>(segments);
    auto bytes = std::max(with_overhead, static_cast<std::int64_t>(mpu * segments));
    if (kind == Kind::atm) bytes = (bytes + 47) / 48 * 53;  // 48 payload bytes ride in each 53-byte cell
    return Bytes(static_cast<std::uint64_t>(std::max<std::int64_t>(bytes, 0)));
  }
};

}  // namespace weir
