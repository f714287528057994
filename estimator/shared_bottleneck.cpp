#include "estimator/shared_bottleneck.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "estimator/control_constants.hpp"
#include "estimator/way_out.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kSecond = 10;     ///< tenths
constexpr Duration kKnownAfter = 2s;     ///< what was sent so long ago has met its fate
constexpr std::int64_t kActive = 5;      ///< tenths with a queue sample: fewer tell nothing
constexpr std::int64_t kQueueUs = 3000;  ///< that is more than noise: what ends a probe
constexpr double kAlike = 0.6;           ///< likeness from which it is one queue
constexpr double kUnlike = 0.4;          ///< of all and of the peaks, up to which it is not
/// Of RTT: the low percentile of a few reads a queue too short, so that fewer do not prove its absence.
constexpr std::uint32_t kSamplesOfAbsence = 80;
constexpr double kLeastLosses = 10;
constexpr double kLeastExpected = 5;
/// chi-squared of one degree of freedom: up to the 99th percentile it is no difference, from 16 on (one in
/// 15 000) it is.
constexpr double kSame = 6.6;
constexpr double kDifferent = 16;
constexpr double kRatioApart = 3;     ///< and so much more is lost at one than at the other
constexpr double kForget = 0.9;       ///< a second of evidence: what was before it counts so much
constexpr double kFinding = 2.5;      ///< seconds in common that make a finding
constexpr Duration kLeastTime = 4s;   ///< since the first of them
constexpr double kShareToJoin = 0.8;  ///< of all the seconds
constexpr double kShareToStay = 0.5;
constexpr Duration kExpiry = 10min;
constexpr Duration kBarLeast = 30s;
constexpr Duration kBarMost = 10min;
constexpr double kForgetStray = 0.7;  ///< a second in which its group lost anything

}  // namespace

SharedBottleneck::SharedBottleneck(std::size_t sites)
    : sites_(sites), pairs_(sites * (sites - std::min<std::size_t>(sites, 1)) / 2) {}

SharedBottleneck::Tenth& SharedBottleneck::tenth(std::size_t site, TimePoint sent) {
  const std::int64_t number = sent.time_since_epoch() / kCohortLength;
  Tenth& found = sites_[site].tenths[static_cast<std::size_t>(number) % kTenths];
  if (found.number != number) found = Tenth{.number = number};
  return found;
}

void SharedBottleneck::add(std::size_t site, const SiteMeasurement& m) {
  if (!m.valid) return;
  if (const auto queue = queue_on_the_way_out(m)) {
    Tenth& t = tenth(site, queue->sent_to);
    const std::int64_t us = std::chrono::duration_cast<std::chrono::microseconds>(queue->q).count();
    t.queue_us = std::max({t.queue_us, us, std::int64_t{0}});
    t.samples += queue->samples;
  }
  for (const Cohort& c : m.mature) {
    Tenth& t = tenth(site, c.begin);
    t.segments += c.segments;
    t.lost += c.lost_beyond;
  }
}

void SharedBottleneck::judge(TimePoint now) {
  strays_.clear();
  if (sites_.size() < 2) return;
  const std::int64_t known = (now - kKnownAfter).time_since_epoch() / kCohortLength;
  if (!weighed_ || known - *weighed_ > static_cast<std::int64_t>(kTenths) / 2) weighed_ = known;
  if (known - *weighed_ < kSecond) return;
  weigh_second(*weighed_, now);
  *weighed_ += kSecond;
  regroup(now);
}

void SharedBottleneck::bar(std::size_t site, TimePoint now) {
  Site& s = sites_[site];
  s.bar = std::clamp<Duration>(2 * s.bar, kBarLeast, kBarMost);
  s.barred_until = now + s.bar;
  s.recent_own = s.recent_others = Second{};
  for (std::size_t other = 0; other < sites_.size(); ++other) {
    if (other != site) pair(site, other) = Evidence{};
  }
  regroup(now);
}

SharedBottleneck::Losses SharedBottleneck::losses(std::size_t site, TimePoint from, TimePoint to) const {
  Losses sum;
  const std::int64_t first = from.time_since_epoch() / kCohortLength;
  const std::int64_t end = to.time_since_epoch() / kCohortLength;
  for (const Tenth& t : sites_[site].tenths) {
    if (t.number < first || t.number >= end) continue;
    sum.segments += t.segments;
    sum.lost += t.lost;
  }
  return sum;
}

SharedBottleneck::Second SharedBottleneck::second_of(std::size_t site, std::int64_t first) const {
  Second s;
  for (std::int64_t i = 0; i < kSecond; ++i) {
    const Tenth& t = sites_[site].tenths[static_cast<std::size_t>(first + i) % kTenths];
    const bool there = t.number == first + i;
    const std::int64_t us = there ? t.queue_us : -1;
    s.queue_us[static_cast<std::size_t>(i)] = us;
    s.most_us = std::max(s.most_us, us);
    if (us >= 0) ++s.seen;
    if (!there) continue;
    s.samples += t.samples;
    s.segments += t.segments;
    s.lost += t.lost;
    if (t.lost > 0) ++s.lossy;
  }
  return s;
}

SharedBottleneck::Verdict SharedBottleneck::compare_queues(const Second& a, const Second& b) {
  if (a.seen < kActive || b.seen < kActive || std::max(a.most_us, b.most_us) < kQueueUs) return Verdict::none;
  double least = 0;
  double most = 0;
  for (std::size_t i = 0; i < a.queue_us.size(); ++i) {
    if (a.queue_us[i] < 0 || b.queue_us[i] < 0) continue;
    least += static_cast<double>(std::min(a.queue_us[i], b.queue_us[i]));
    most += static_cast<double>(std::max(a.queue_us[i], b.queue_us[i]));
  }
  if (most <= 0) return Verdict::none;
  const double likeness = least / most;
  const Second& lower = a.most_us < b.most_us ? a : b;
  const double of_peak =
      static_cast<double>(lower.most_us) / static_cast<double>(std::max(a.most_us, b.most_us));
  if (likeness >= kAlike || (likeness >= kUnlike && of_peak >= kAlike)) return Verdict::common;
  const bool apart = likeness <= kUnlike && of_peak <= kUnlike && lower.samples >= kSamplesOfAbsence;
  return apart ? Verdict::apart : Verdict::none;
}

SharedBottleneck::Verdict SharedBottleneck::compare_losses(const Second& a, const Second& b) {
  const double lost = a.lost + b.lost;
  const double segments = a.segments + b.segments;
  if (lost < kLeastLosses || lost >= segments) return Verdict::none;
  const double p = lost / segments;
  if (std::min(a.segments, b.segments) * p < kLeastExpected) return Verdict::none;
  const auto deviation = [p](const Second& s) {
    const double expected = s.segments * p;
    return (s.lost - expected) * (s.lost - expected) / (expected * (1 - p));
  };
  const double bursts = std::max(1.0, lost / std::max(1.0, a.lossy + b.lossy));
  const double chi2 = (deviation(a) + deviation(b)) / bursts;
  if (chi2 <= kSame) return a.lossy > 1 && b.lossy > 1 ? Verdict::common : Verdict::none;
  const double of_a = a.lost / a.segments;
  const double of_b = b.lost / b.segments;
  const bool apart = chi2 >= kDifferent && std::max(of_a, of_b) >= kRatioApart * std::min(of_a, of_b);
  return apart ? Verdict::apart : Verdict::none;
}

void SharedBottleneck::weigh_second(std::int64_t first, TimePoint now) {
  std::vector<Second> seconds;
  seconds.reserve(sites_.size());
  for (std::size_t i = 0; i < sites_.size(); ++i) seconds.push_back(second_of(i, first));
  for (std::size_t b = 1; b < sites_.size(); ++b) {
    for (std::size_t a = 0; a < b; ++a) {
      const Verdict queues = compare_queues(seconds[a], seconds[b]);
      const Verdict losses = compare_losses(seconds[a], seconds[b]);
      if (queues == Verdict::none && losses == Verdict::none) continue;
      const bool apart = queues == Verdict::apart || losses == Verdict::apart;
      Evidence& e = pair(a, b);
      if (now - e.last > kExpiry) e = Evidence{.first = now, .last = now};
      e.common = e.common * kForget + (apart ? 0 : 1);
      e.apart = e.apart * kForget + (apart ? 1 : 0);
      if (apart) continue;
      if (e.common == 1.0) e.first = now;
      e.last = now;
    }
  }
  find_strays(seconds);
}

/// A member that alone loses much has met a limit of its own.
void SharedBottleneck::find_strays(std::span<const Second> seconds) {
  for (const std::size_t member : group_) {
    Second others;
    for (const std::size_t other : group_) {
      if (other != member) others.pool(seconds[other]);
    }
    const Second& own = seconds[member];
    if (own.lost + others.lost < 1) continue;
    Second& a = sites_[member].recent_own;
    Second& b = sites_[member].recent_others;
    a.fade(kForgetStray);
    b.fade(kForgetStray);
    a.pool(own);
    b.pool(others);
    const bool more = a.lost * b.segments > b.lost * a.segments;
    if (more && compare_losses(a, b) == Verdict::apart) strays_.push_back(member);
  }
}

bool SharedBottleneck::linked(std::size_t a, std::size_t b, bool member, TimePoint now) const {
  const Evidence& e = between(a, b);
  if (e.common <= 0 || now - e.last > kExpiry) return false;
  const double share = e.common / (e.common + e.apart);
  if (member) return share >= kShareToStay;
  return share >= kShareToJoin && e.common >= kFinding && now - e.first >= kLeastTime;
}

/// Takes out, one after the other, who has something in common with less than half of the others.
void SharedBottleneck::prune(std::vector<std::size_t>& set, TimePoint now) const {
  while (set.size() > 1) {
    std::size_t worst = 0;
    std::size_t fewest = set.size();
    for (std::size_t i = 0; i < set.size(); ++i) {
      const auto links = static_cast<std::size_t>(std::ranges::count_if(
          set, [&](std::size_t other) { return other != set[i] && linked(set[i], other, true, now); }));
      if (links < fewest) fewest = links, worst = i;
    }
    if (2 * fewest >= set.size() - 1) return;
    set.erase(set.begin() + static_cast<std::ptrdiff_t>(worst));
  }
  set.clear();
}

void SharedBottleneck::regroup(TimePoint now) {
  const auto barred = [&](std::size_t site) { return now < sites_[site].barred_until; };
  std::vector<std::size_t> set = group_;
  std::erase_if(set, barred);
  prune(set, now);
  if (set.empty()) {
    // Around the site that has most in common with others.
    for (std::size_t a = 0; a < sites_.size(); ++a) {
      if (barred(a)) continue;
      std::vector<std::size_t> around{a};
      for (std::size_t b = 0; b < sites_.size(); ++b) {
        if (b != a && !barred(b) && linked(a, b, false, now)) around.push_back(b);
      }
      prune(around, now);
      if (around.size() > set.size()) set = std::move(around);
    }
    std::ranges::sort(set);
  }
  for (std::size_t site = 0; !set.empty() && site < sites_.size(); ++site) {
    if (barred(site) || std::ranges::find(set, site) != set.end()) continue;
    std::size_t links = 0;
    std::size_t against = 0;
    for (const std::size_t member : set) {
      const Evidence& e = between(site, member);
      if (linked(site, member, false, now)) {
        ++links;
      } else if (e.common + e.apart >= 1.5) {
        ++against;
      }
    }
    if (links > 0 && links >= 2 * against) set.push_back(site);
  }
  std::ranges::sort(set);
  group_ = std::move(set);
}

SharedBottleneck::Evidence& SharedBottleneck::pair(std::size_t a, std::size_t b) {
  if (a > b) std::swap(a, b);
  return pairs_[b * (b - 1) / 2 + a];
}

const SharedBottleneck::Evidence& SharedBottleneck::between(std::size_t a, std::size_t b) const {
  if (a > b) std::swap(a, b);
  return pairs_[b * (b - 1) / 2 + a];
}

}  // namespace weir
