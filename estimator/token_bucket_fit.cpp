#include "estimator/token_bucket_fit.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace weir {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMostEntries = 8192;
/// Without losses the order within 8 ms matters only to buckets that hold no more than a short burst.
constexpr std::uint32_t kLongestSpan = 4;
constexpr std::size_t kMostCandidates = 64;
constexpr double kFinest = 1.0025;  ///< ratio of two rates that are told apart
constexpr int kFinestSteps = 8;
/// A wrong prediction weighs as much as so many right ones. More than three quarters must be right.
constexpr double kErrorWeight = 3.0;
constexpr std::uint32_t kLeastEvents = 8;
/// Of fewer segments a bucket is known to a segment, which is too coarse for a rate.
constexpr double kLeastBucketSegments = 8.0;
/// At a loss there was less than a segment's worth of tokens: on average half of one.
constexpr double kAtLoss = 0.5;
constexpr double kNearlyAsGood = 0.9;
constexpr double kRival = 0.5;  ///< a rate far from the best that explains this share of it leaves both open
constexpr double kLargestRatio = 1.2;  ///< of the rates that explain nearly as much
/// Above the best rate these are tried as well: the true one, where the bucket filled between all losses, and
/// those that it cannot be told from.
constexpr double kHighestRatio = 2000.0;
constexpr double kNear = 1.02;
constexpr double kFar = 1.2;

[[nodiscard]] Rate rate_of(double bytes_per_slot) {
  return Rate::bps(static_cast<std::uint64_t>(bytes_per_slot * 8.0 / seconds(kSlotLength)));
}

}  // namespace

void TokenBucketFit::add(const Cohort& cohort) {
  if (!epoch_) epoch_ = cohort.begin;
  if (cohort.begin < *epoch_) return;
  auto slot = (cohort.begin - *epoch_) / kSlotLength;
  if (slot + static_cast<std::int64_t>(kSlotsPerCohort) > std::numeric_limits<std::uint32_t>::max()) {
    clear();  // after 99 days
    epoch_ = cohort.begin;
    slot = 0;
  }
  if (!entries_.empty() && slot <= entries_.back().slot) clear();  // of another path: no bucket has both
  for (const Slot& s : cohort.slots) {
    if (s.bytes > 0) {
      append({.slot = static_cast<std::uint32_t>(slot),
              .bytes = s.bytes,
              .sent = s.sent,
              .delivered = s.delivered,
              .lost = s.lost});
    }
    ++slot;
  }
}

void TokenBucketFit::append(const Entry& entry) {
  if (!entries_.empty()) {
    Entry& last = entries_.back();
    const std::uint32_t span = entry.slot - last.slot + last.span;
    constexpr std::uint32_t most = std::numeric_limits<std::uint16_t>::max();
    if (last.lost == 0 && entry.lost == 0 && span <= kLongestSpan && last.sent + entry.sent <= most) {
      last.slot = entry.slot;
      last.bytes += entry.bytes;
      last.sent = static_cast<std::uint16_t>(last.sent + entry.sent);
      last.delivered = static_cast<std::uint16_t>(last.delivered + entry.delivered);
      last.span = static_cast<std::uint16_t>(span);
      return;
    }
  }
  entries_.push_back(entry);
  if (entries_.size() > kMostEntries) entries_.pop_front();
}

/// From a loss to a later one the bucket went from empty to empty: unless it was full in between, what passed
/// is the rate times the time. Empty: too few such pairs.
std::vector<double> TokenBucketFit::candidates(std::uint32_t apart) const {
  std::vector<double> rates;
  std::optional<std::uint32_t> since;
  double passed = 0.0;
  for (const Entry& e : entries_) {
    passed += e.passed();
    if (e.lost == 0 || (since && e.slot - *since < apart)) continue;
    if (since && passed > 0.0) rates.push_back(passed / (e.slot - *since));
    since = e.slot;
    passed = 0.0;
  }
  if (rates.size() < kLeastEvents) return {};
  std::sort(rates.begin(), rates.end());
  std::vector<double> distinct;
  for (const double rate : rates) {
    if (distinct.empty() || rate > distinct.back() * kFinest) distinct.push_back(rate);
  }
  if (distinct.size() <= kMostCandidates) return distinct;
  std::vector<double> some;
  for (std::size_t i = 0; i < kMostCandidates; ++i) {
    some.push_back(distinct[i * distinct.size() / kMostCandidates]);
  }
  return some;
}

/// The depth at which most losses find the bucket, were this its rate.
std::optional<double> TokenBucketFit::bucket_of(double rate) const {
  std::vector<double> depths;
  double depth = 0.0;
  std::uint32_t last = entries_.front().slot;
  for (const Entry& e : entries_) {
    depth = std::max(0.0, depth - rate * (e.slot - last)) + e.passed();
    last = e.slot;
    if (e.lost > 0) depths.push_back(depth);
  }
  if (depths.empty()) return std::nullopt;
  const auto middle = depths.begin() + static_cast<std::ptrdiff_t>(depths.size() / 2);
  std::nth_element(depths.begin(), middle, depths.end());
  return *middle;
}

/// The most that passed above the rate between two losses (or before the first): all of the bucket, if it was
/// full then. Unlike the depths above it gathers no error of the rate.
Bytes TokenBucketFit::largest_burst(double rate) const {
  double largest = 0.0;
  double burst = 0.0;
  std::uint32_t last = entries_.front().slot;
  for (const Entry& e : entries_) {
    burst = std::max(0.0, burst - rate * (e.slot - last)) + e.passed();
    last = e.slot;
    if (e.lost == 0) continue;
    largest = std::max(largest, burst);
    burst = 0.0;
  }
  return Bytes(static_cast<std::uint64_t>(largest));
}

struct TokenBucketFit::Score {
  double right = 0.0;  ///< segments that the bucket had to drop, and that were lost
  double wrong = 0.0;  ///< segments that it had to drop and that passed, or the other way round
  double bucket = 0.0;
  std::uint32_t events = 0;
  [[nodiscard]] double value() const { return right - kErrorWeight * wrong; }
};

/// Runs the bucket over the segments, from the first loss on, which emptied it. What it *may* drop or pass,
/// by an order within a slot that nobody knows, is neither right nor wrong. Ends early where it cannot become
/// better than `to_beat` any more.
TokenBucketFit::Score TokenBucketFit::score(double rate, std::uint32_t apart, double to_beat) const {
  Score score;
  double lost_later = 0.0;
  for (const Entry& e : entries_) lost_later += e.lost;
  const std::optional<double> bucket = bucket_of(rate);
  if (!bucket) return score;
  score.bucket = *bucket;
  double tokens = 0.0;
  bool refilled = false;  // since the last loss: the next one tells the bucket's size then, not the rate
  std::optional<std::uint32_t> last;
  std::optional<std::uint32_t> last_event;
  for (const Entry& e : entries_) {
    if (!last) {
      if (e.lost > 0) last = e.slot;
      continue;
    }
    tokens += rate * (e.slot - *last);
    last = e.slot;
    refilled = refilled || tokens >= *bucket;
    tokens = std::min(tokens, *bucket);
    if (e.fates() == 0) {
      if (e.sent == 0) tokens = std::max(0.0, tokens - e.bytes);
      continue;
    }
    const double segment = e.segment();
    const double known = e.fates();
    const double lost = e.lost;
    lost_later -= lost;
    const double least = std::max(0.0, known - std::floor(tokens / segment + kAtLoss));
    const double most = std::max(0.0, known - std::floor(std::max(0.0, tokens - rate) / segment));
    const double expected = std::clamp(lost, least, std::max(least, most));
    tokens = std::max(0.0, tokens - (known - expected) * segment);
    score.wrong += std::abs(expected - lost);
    const double right = std::min(least, lost);
    score.right += right;
    if (right > 0.0 && !refilled && (!last_event || e.slot - *last_event >= apart)) {
      ++score.events;
      last_event = e.slot;
    }
    if (e.lost > 0) refilled = false;
    if (score.value() + lost_later < to_beat) break;
  }
  return score;
}

/// From the first loss on more was lost than passed: whoever says of every segment that it is lost is right
/// then, and no bucket shows its worth.
bool TokenBucketFit::is_nearly_silent() const {
  std::uint64_t lost = 0;
  std::uint64_t delivered = 0;
  for (const Entry& e : entries_) {
    lost += e.lost;
    if (lost > 0) delivered += e.delivered;
  }
  return lost > delivered;
}

std::optional<TokenBucketFit::Finding> TokenBucketFit::finding(Duration round_trip) const {
  if (is_nearly_silent()) return std::nullopt;
  const auto apart = static_cast<std::uint32_t>(std::max<Duration>(round_trip, kCohortLength) / kSlotLength);
  double best_rate = 0.0;
  Score best;  // worth nothing: a bucket must be right more often than that
  std::vector<std::pair<double, double>> tried;
  const auto attempt = [&](double rate) {
    const Score s = score(rate, apart, kRival * best.value());
    tried.emplace_back(rate, s.value());
    if (s.events < kLeastEvents || s.value() <= best.value()) return;
    best = s;
    best_rate = rate;
  };
  for (const double rate : candidates(apart)) attempt(rate);
  if (best_rate <= 0.0) return std::nullopt;
  const double around = best_rate;
  for (int step = -kFinestSteps; step <= kFinestSteps; ++step) attempt(around * std::pow(kFinest, step));
  // A bucket as small as the bursts drops the same segments at any rate that fills it in between.
  const double found = best_rate;
  double rate = found;
  while (rate < found * kHighestRatio) {
    attempt(rate);
    rate *= rate < 2.0 * found ? kNear : kFar;
  }
  double low = best_rate;
  double high = best_rate;
  for (const auto& [at, value] : tried) {
    const bool far = at > best_rate * kLargestRatio || at * kLargestRatio < best_rate;
    if (value < (far ? kRival : kNearlyAsGood) * best.value()) continue;
    low = std::min(low, at);
    high = std::max(high, at);
  }
  const auto last_loss =
      std::find_if(entries_.rbegin(), entries_.rend(), [](const Entry& e) { return e.lost > 0; });
  const double segment = last_loss->segment();
  const bool coarse = best.bucket < kLeastBucketSegments * segment || high >= low * kLargestRatio;
  return Finding{.rate = coarse ? std::nullopt : std::optional(rate_of(best_rate)),
                 .low = rate_of(low),
                 .high = rate_of(high),
                 .bucket = largest_burst(best_rate),
                 .events = best.events,
                 .newest = *epoch_ + last_loss->slot * kSlotLength};
}

}  // namespace weir
