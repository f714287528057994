#include "proving/path/link.hpp"

#include <cmath>

#include "config/overloaded.hpp"

namespace weir::proving {
namespace {

using namespace std::chrono_literals;

constexpr double kRedWeight = 0.002;
constexpr double kRedMost = 0.1;  // at the upper threshold; from there to twice it up to certainty
constexpr std::uint32_t kMtu = 1514;
/// What a link that has stopped for good is taken to need for the next packet.
constexpr Duration kNever = 1h;

}  // namespace

Link::Link(LinkSettings settings, std::uint64_t seed) : settings_(std::move(settings)), random_(seed) {}

double Link::bytes_of(const Depth& depth, TimePoint now) const {
  if (const auto* bytes = std::get_if<Bytes>(&depth)) return static_cast<double>(bytes->count());
  return settings_.capacity.at(now) / 8.0 * seconds(std::get<Duration>(depth));
}

std::optional<Outcome> Link::offer(const Item& item, TimePoint now) {
  if (lost_at_random(item, now)) return Outcome{item, now, Fate::at_random};
  return std::visit(
      Overloaded{[&](const Unlimited&) -> std::optional<Outcome> {
                   return Outcome{item, now, Fate::forwarded};
                 },
                 [&](const Policer& policer) -> std::optional<Outcome> {
                   return Outcome{item, now, passes(policer, item, now) ? Fate::forwarded : Fate::over_limit};
                 },
                 [&](const Buffer& buffer) -> std::optional<Outcome> {
                   if (!enters(buffer, item, now)) return Outcome{item, now, Fate::over_limit};
                   if (queue_.empty()) {
                     left_of_head_ = 8.0 * item.bytes;
                     served_until_ = now;
                   }
                   queue_.push_back({item, now});
                   waiting_bytes_ += item.bytes;
                   return std::nullopt;
                 }},
      settings_.limit);
}

bool Link::lost_at_random(const Item& item, TimePoint now) {
  const RandomLoss& loss = settings_.loss;
  const double ratio = loss.ratio.at(now);
  if (ratio <= 0.0) return in_burst_ = false;
  if (loss.below != 0 && item.bytes >= loss.below) return false;
  std::uniform_real_distribution<double> unit(0.0, 1.0);
  if (ratio >= 1.0) return in_burst_ = true;
  // Gilbert: a good state that loses nothing and a bad one that loses all, left with probability 1 / burst.
  // Runs are no shorter than chance alone makes them: with a burst of 1 every packet is a draw of its own.
  const double leaves_bad = std::min(1.0 / std::max(1.0, loss.burst), 1.0 - ratio);
  const double leaves_good = leaves_bad * ratio / (1.0 - ratio);
  in_burst_ = in_burst_ ? unit(random_) >= leaves_bad : unit(random_) < leaves_good;
  return in_burst_;
}

/// The bucket in bits; never less than a full packet, or none would ever pass.
double Link::most_tokens(const Policer& policer, TimePoint now) const {
  return 8.0 * std::max<double>(bytes_of(policer.bucket, now), kMtu);
}

/// From one jump of the capacity to the next: a bucket that is a length of time overflows at each one's own
/// depth.
void Link::fill(const Policer& policer, TimePoint now) {
  if (!bucket_begun_) {
    tokens_ = most_tokens(policer, now);
    bucket_begun_ = true;
  } else {
    while (filled_ < now) {
      const TimePoint end = std::min(now, settings_.capacity.next_jump(filled_).value_or(now));
      tokens_ += settings_.capacity.over(filled_, end);
      tokens_ = std::min(tokens_, most_tokens(policer, end - 1ns));
      filled_ = end;
    }
    tokens_ = std::min(tokens_, most_tokens(policer, now));
  }
  filled_ = now;
}

bool Link::passes(const Policer& policer, const Item& item, TimePoint now) {
  fill(policer, now);
  if (tokens_ < 8.0 * item.bytes) return false;
  tokens_ -= 8.0 * item.bytes;
  return true;
}

bool Link::enters(const Buffer& buffer, const Item& item, TimePoint now) {
  const double room = std::max<double>(bytes_of(buffer.depth, now), kMtu);
  if (static_cast<double>(waiting_bytes_ + item.bytes) > room) return false;
  const auto* red = std::get_if<Red>(&buffer.aqm);
  return red == nullptr || !red_hits(*red, now);
}

bool Link::red_hits(const Red& red, TimePoint now) {
  const double q = seconds(queue(now));
  if (queue_.empty()) {
    // The average falls as if small packets had come meanwhile, one every full packet's time.
    const double packets = settings_.capacity.over(std::min(red_idle_since_, now), now) / (8.0 * kMtu);
    red_average_ *= std::pow(1.0 - kRedWeight, std::clamp(packets, 0.0, 1e6));
  } else {
    red_average_ += kRedWeight * (q - red_average_);
  }
  const double least = seconds(red.least);
  const double most = seconds(red.most);
  if (red_average_ < least) {
    red_since_hit_ = -1;
    return false;
  }
  double p = 1.0;
  if (red_average_ < most) {
    p = kRedMost * (red_average_ - least) / (most - least);
  } else if (red_average_ < 2 * most) {
    p = kRedMost + (1.0 - kRedMost) * (red_average_ - most) / most;
  }
  // Spread evenly: hits come 1/p apart instead of at random.
  ++red_since_hit_;
  const double spread = p / std::max(1e-9, 1.0 - std::min(red_since_hit_ * p, 1.0 - 1e-9));
  if (std::uniform_real_distribution<double>(0.0, 1.0)(random_) >= spread) return false;
  red_since_hit_ = 0;
  return true;
}

/// RFC 8289, section 5: asked for every packet as it is about to leave.
bool Link::codel_hits(const CoDel& codel, const Waiting& head, TimePoint now) {
  const Duration sojourn = now - head.since;
  bool over = false;
  if (sojourn < codel.target || waiting_bytes_ - head.item.bytes <= kMtu) {
    codel_.above_since.reset();
  } else if (!codel_.above_since) {
    codel_.above_since = now;
  } else {
    over = now - *codel_.above_since >= codel.interval;
  }
  const auto law = [&](TimePoint from) {
    return from + from_seconds(seconds(codel.interval) / std::sqrt(static_cast<double>(codel_.count)));
  };
  if (codel_.dropping) {
    if (!over) {
      codel_.dropping = false;
      return false;
    }
    if (now < codel_.next) return false;
    ++codel_.count;
    codel_.next = law(codel_.next);
    return true;
  }
  if (!over) return false;
  const std::uint32_t delta = codel_.count - codel_.last_count;
  const bool recent = now - codel_.next < 16 * codel.interval;
  codel_.count = recent && delta > 1 ? delta : 1;
  codel_.last_count = codel_.count;
  codel_.dropping = true;
  codel_.next = law(now);
  return true;
}

Duration Link::queue(TimePoint now) const {
  if (queue_.empty()) return Duration::zero();
  const double behind_head = 8.0 * static_cast<double>(waiting_bytes_ - queue_.front().item.bytes);
  const auto empty = settings_.capacity.reaches(served_until_, left_of_head_ + behind_head);
  return empty ? std::max(*empty - now, Duration::zero()) : kNever;
}

std::optional<TimePoint> Link::next(TimePoint now) const {
  if (queue_.empty()) return std::nullopt;
  return std::max(now, settings_.capacity.reaches(served_until_, left_of_head_).value_or(now + kNever));
}

void Link::advance(TimePoint now, std::vector<Outcome>& out) {
  while (!queue_.empty()) {
    const auto done = settings_.capacity.reaches(served_until_, left_of_head_);
    if (!done || *done > now) return;
    // What the rounded-up nanosecond serves beyond this packet is the next one's.
    const double ahead = settings_.capacity.over(served_until_, *done) - left_of_head_;
    served_until_ = *done;
    const Item item = queue_.front().item;
    queue_.pop_front();
    waiting_bytes_ -= item.bytes;
    out.push_back({item, served_until_, Fate::forwarded});
    start_service(served_until_, out);
    left_of_head_ -= ahead;
  }
}

/// The next packet goes into service, unless CoDel takes it.
void Link::start_service(TimePoint now, std::vector<Outcome>& out) {
  const auto& buffer = std::get<Buffer>(settings_.limit);
  const auto* codel = std::get_if<CoDel>(&buffer.aqm);
  while (!queue_.empty()) {
    Waiting& head = queue_.front();
    if (codel != nullptr && codel_hits(*codel, head, now)) {
      if (buffer.ecn && head.item.ecn_capable) {
        out.push_back({head.item, now, Fate::marked});
      } else {
        out.push_back({head.item, now, Fate::over_limit});
        waiting_bytes_ -= head.item.bytes;
        queue_.pop_front();
        continue;
      }
    }
    left_of_head_ = 8.0 * head.item.bytes;
    return;
  }
  red_idle_since_ = now;
}

}  // namespace weir::proving
