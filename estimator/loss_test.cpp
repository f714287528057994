#include "estimator/loss_test.hpp"

#include <algorithm>
#include <cmath>

#include "estimator/control_constants.hpp"

namespace weir::control {

namespace {

/// One end of Wilson's interval: z's sign says which.
double wilson_end(double k, double n, double z) {
  const double p = k / n;
  const double z2 = z * z;
  const double centre = p + z2 / (2 * n);
  const double spread = z * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return std::clamp((centre + spread) / (1 + z2 / n), 0.0, 1.0);
}

}  // namespace

double wilson_upper(double k, double n, double z) {
  return n <= 0 ? 1.0 : wilson_end(k, n, z);
}

double wilson_lower(double k, double n, double z) {
  return n <= 0 ? 0.0 : wilson_end(k, n, -z);
}

double poisson_tail(std::uint64_t k, double mean) {
  if (mean > 100) {  // near enough normal, and exp(-mean) would underflow
    return 0.5 * std::erfc((static_cast<double>(k) - 0.5 - mean) / std::sqrt(2 * mean));
  }
  double term = std::exp(-mean);
  double below = 0.0;
  // With a mean of 100 at most, what comes after 1000 terms is too little to be added.
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(k, 1000); ++i) {
    below += term;
    term *= mean / static_cast<double>(i + 1);
  }
  return std::max(0.0, 1.0 - below);
}

double LossTest::harmless() const {
  return std::max(floor_, kHarmlessLoss);
}

double LossTest::dispersion() const {
  return std::max(dispersion_, losses_ / events_);
}

void LossTest::add(std::uint64_t lost, std::uint64_t segments, std::uint64_t events) {
  const double p0 = std::min(harmless(), 0.5);
  const double p1 = std::min(p0 + std::max(kCongestionLoss, p0), 0.99);
  const auto k = static_cast<double>(std::min(lost, segments));
  const auto rest = static_cast<double>(segments) - k;
  const double step = k * std::log(p1 / p0) + rest * std::log((1 - p1) / (1 - p0));
  // What is forgotten goes back to the beginning: one event of ten.
  losses_ = kInitialDispersion + kLossEventMemory * (losses_ - kInitialDispersion) + k;
  events_ = 1.0 + kLossEventMemory * (events_ - 1.0) + static_cast<double>(std::min(events, lost));
  evidence_ = std::max(0.0, evidence_ + step / dispersion());
}

void LossTest::learn(std::uint64_t lost, std::uint64_t segments, TimePoint now) {
  if (segments == 0) return;
  if (quiet_.cohorts == 0) quiet_.since = now;
  const auto k = static_cast<double>(lost);
  quiet_.cohorts += 1;
  quiet_.sum += k;
  quiet_.square += k * k;
  if (now - quiet_.since < kDispersionWindow) return;
  if (quiet_.sum >= kDispersionLosses) {
    const double mean = quiet_.sum / quiet_.cohorts;
    const double variance = quiet_.square / quiet_.cohorts - mean * mean;
    dispersion_ = std::max(1.0, variance / mean);
  }
  quiet_ = {};
}

void LossTest::set_floor(double ratio, TimePoint now) {
  floor_ = std::clamp(ratio, 0.0, 0.5);
  floor_learnt_ = now;
  evidence_ = 0.0;
}

void LossTest::expire(TimePoint now) {
  if (floor_ > 0 && now - floor_learnt_ > kFloorLifetime) floor_ = 0.0;
}

void LossTest::remember(double floor, TimePoint floor_learnt, double dispersion) {
  floor_ = std::clamp(floor, 0.0, 0.5);
  floor_learnt_ = floor_learnt;
  dispersion_ = std::max(1.0, dispersion);
}

bool LossTest::fires() const {
  return evidence_ > kLossThreshold;
}

}  // namespace weir::control
