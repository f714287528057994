#include "estimator/corroboration.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace weir {
namespace {

/// A tick: about the last half second counts, as long as a burst takes to come back as losses.
constexpr double kShareMemory = 0.8;
/// So much of everybody was sent besides: a handful of samples proves no share.
constexpr double kUnseenBytes = 1500.0;
constexpr double kLeastShare = 0.02;
constexpr double kTheSite = 0.9;

/// What is held against a remote: that it loses so many times as often as the others.
constexpr double kTimesAsOften = 16.0;
constexpr double kDisbelieved = 4.5;  ///< W; of those who lose as the others do one in 33 events comes so far
constexpr double kMostScore = 3 * kDisbelieved;
/// A tick: halves in a minute. Two events a minute move no rate.
constexpr double kScoreMemory = 0.99885;

}  // namespace

RemoteKey remote_key(const IpAddress& address) {
  // Multicast networks send no ACKs: their numbers are free.
  constexpr RemoteKey kV4 = 0xffff'ffff'0000'0000;
  std::uint64_t first = 0;
  std::memcpy(&first, address.bytes.data(), sizeof first);
  if (address.family == Family::v6) return first != kNobody ? first : 1;
  std::uint32_t host = 0;
  std::memcpy(&host, address.bytes.data(), sizeof host);
  return kV4 | host;
}

// -- shares --

void RemoteShares::sampled(RemoteKey remote, Bytes bytes) {
  const auto weight = static_cast<double>(bytes.count());
  all_ += weight;
  Remote* least = remotes_.data();
  for (std::size_t i = 0; i < known_; ++i) {
    Remote& r = remotes_[i];
    if (r.key == remote) {
      r.bytes += weight;
      return;
    }
    if (r.bytes < least->bytes) least = &r;
  }
  if (known_ < remotes_.size()) {
    remotes_[known_++] = {remote, weight};
  } else {
    *least = {remote, least->bytes + weight};
  }
}

void RemoteShares::close_tick() {
  all_ *= kShareMemory;
  for (Remote& r : remotes_) r.bytes *= kShareMemory;
  if (all_ < 1.0) *this = {};
}

double RemoteShares::of(RemoteKey remote) const {
  double bytes = 0.0;
  double least = known_ < remotes_.size() ? 0.0 : all_;
  for (std::size_t i = 0; i < known_; ++i) {
    least = std::min(least, remotes_[i].bytes);
    if (remotes_[i].key == remote) bytes = remotes_[i].bytes;
  }
  return (std::max(bytes, least) + kUnseenBytes) / (all_ + kUnseenBytes);
}

bool RemoteShares::is_the_site(RemoteKey remote) const {
  const Remote none;
  const Remote* first = &none;
  const Remote* second = &none;
  for (std::size_t i = 0; i < known_; ++i) {
    const Remote* const r = &remotes_[i];
    if (r->bytes > first->bytes) {
      second = first;
      first = r;
    } else if (r->bytes > second->bytes) {
      second = r;
    }
  }
  if (first->bytes + second->bytes < kTheSite * all_) return false;
  return remote == first->key || remote == second->key;
}

// -- events --

/// One that nothing is held against gives its place up first.
Corroboration::Remote& Corroboration::reach(RemoteKey remote) {
  Remote* out = remotes_.data();
  for (Remote& r : remotes_) {
    if (r.key == remote) return r;
    if (r.score < out->score || (r.score == out->score && r.last < out->last)) out = &r;
  }
  *out = {.key = remote, .last = TimePoint::min() + 2 * event_};
  return *out;
}

bool Corroboration::hears(RemoteKey remote, TimePoint sent, const RemoteShares& shares) {
  if (remote == kNobody) return true;
  Remote& own = reach(remote);
  const bool is_the_site = shares.is_the_site(remote);
  // Told late, of what was sent before the last one: part of it, or of one that was heard of.
  if (sent >= own.last + event_) {
    own.last = sent;
    for (Remote& r : remotes_) {
      if (&r != &own) r.score = std::max(0.0, r.score + r.relief);
    }
    const double s = std::clamp(shares.of(remote), kLeastShare, 1.0);
    const double u = kTimesAsOften * s / (1.0 - s + kTimesAsOften * s);
    own.relief = s < 1.0 ? std::log((1.0 - u) / (1.0 - s)) : -kMostScore;
    own.score = is_the_site ? 0.0 : std::min(kMostScore, own.score + std::log(u / s));
  }
  return is_the_site || own.score <= kDisbelieved;
}

bool Corroboration::believes(RemoteKey remote, const RemoteShares& shares) const {
  const auto* const known = std::find_if(
      remotes_.begin(), remotes_.end(), [&](const Remote& r) { return r.key == remote && r.key != kNobody; });
  return known == remotes_.end() || known->score <= kDisbelieved || shares.is_the_site(remote);
}

void Corroboration::close_tick() {
  for (Remote& r : remotes_) r.score *= kScoreMemory;
}

}  // namespace weir
