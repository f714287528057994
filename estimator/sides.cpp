#include "estimator/sides.hpp"

#include <algorithm>

namespace weir {
namespace {

constexpr std::size_t kHostsRemembered = 4096;
constexpr std::size_t kInsideShown = 16;
/// One end is nearer when its answers take less than a third of the other's, by more than hosts take to
/// think.
constexpr int kNearnessFactor = 3;
constexpr Duration kNearnessMargin = std::chrono::milliseconds(1);

[[nodiscard]] bool is_nearer(Duration a, Duration b) {
  return a * kNearnessFactor < b && b - a > kNearnessMargin;
}

[[nodiscard]] IpAddress masked(const IpAddress& address, int bits) {
  IpAddress out = address;
  for (std::size_t i = 0; i < out.bytes.size(); ++i) {
    const int keep = std::clamp(bits - static_cast<int>(i) * 8, 0, 8);
    out.bytes[i] = static_cast<std::uint8_t>(out.bytes[i] & (0xff00U >> keep));
  }
  return out;
}

/// RFC 1918, 6598 (shared), 3927 and 4291 (link-local), 4193 (unique local).
[[nodiscard]] bool is_private(const IpAddress& a) {
  const auto& b = a.bytes;
  if (a.family == Family::v6) return (b[0] & 0xfe) == 0xfc || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80);
  return b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168) ||
         (b[0] == 100 && (b[1] & 0xc0) == 64) || (b[0] == 169 && b[1] == 254);
}

}  // namespace

std::string_view to_string(SideBasis basis) {
  switch (basis) {
    case SideBasis::configured:
      return "configured";
    case SideBasis::private_address:
      return "private address";
    case SideBasis::nearness:
      return "answers soonest";
    case SideBasis::first_syn:
      return "opened the connections";
    case SideBasis::commonest:
      return "seen most";
  }
  return "unknown";
}

Sides::Sides(const std::vector<std::vector<Prefix>>& sites, const std::vector<Prefix>& inside)
    : inside_(inside), elsewhere_(static_cast<std::uint32_t>(sites.size())), hosts_(kHostsRemembered) {
  for (std::size_t site = 0; site < sites.size(); ++site) {
    for (const Prefix& prefix : sites[site]) add(prefix, static_cast<std::uint32_t>(site));
  }
  std::sort(lengths_.begin(), lengths_.end(),
            [](const Length& a, const Length& b) { return a.bits > b.bits; });
}

void Sides::add(const Prefix& prefix, std::uint32_t site) {
  auto length = std::find_if(lengths_.begin(), lengths_.end(), [&](const Length& l) {
    return l.family == prefix.address.family && l.bits == prefix.length;
  });
  if (length == lengths_.end()) {
    lengths_.push_back({.family = prefix.address.family, .bits = prefix.length, .prefixes = {}});
    length = lengths_.end() - 1;
  }
  length->prefixes.emplace(masked(prefix.address, prefix.length), site);
}

Sides::Match Sides::longest_match(const IpAddress& address) const {
  for (const Length& length : lengths_) {
    if (length.family != address.family) continue;
    const auto found = length.prefixes.find(masked(address, length.bits));
    if (found != length.prefixes.end()) return {.site = found->second, .bits = length.bits};
  }
  return {};
}

bool Sides::is_inside(const IpAddress& address) const {
  return std::any_of(inside_.begin(), inside_.end(), [&](const Prefix& p) { return p.contains(address); });
}

std::optional<Placement> Sides::configured(const IpAddress& source, const IpAddress& destination) const {
  const Match from = longest_match(source);
  const Match to = longest_match(destination);
  if (to.bits > from.bits) return Placement{.site = to.site, .source_inside = true};
  if (from.bits > to.bits) return Placement{.site = from.site, .source_inside = false};
  const bool source_inside = is_inside(source);
  if (source_inside == is_inside(destination)) return std::nullopt;
  return Placement{.site = from.bits >= 0 ? from.site : elsewhere_, .source_inside = source_inside};
}

Placement Sides::infer(const IpAddress& source, const Host& from, const IpAddress& destination,
                       const Host& to, bool opened_by_source) {
  if (from.answered > Duration::zero() && to.answered > Duration::zero()) {
    if (is_nearer(from.answered, to.answered)) return {.source_inside = true, .basis = SideBasis::nearness};
    if (is_nearer(to.answered, from.answered)) return {.source_inside = false, .basis = SideBasis::nearness};
  }
  const bool source_private = is_private(source);
  if (source_private != is_private(destination)) {
    return {.source_inside = source_private, .basis = SideBasis::private_address};
  }
  if (opened_by_source) return {.source_inside = true, .basis = SideBasis::first_syn};
  return {.source_inside = from.packets >= to.packets, .basis = SideBasis::commonest};
}

Placement Sides::place(const IpAddress& source, const IpAddress& destination, bool opened_by_source,
                       TimePoint now) {
  if (const auto known = configured(source, destination)) return *known;
  // Copies: reaching the second host may evict the first.
  Host from = hosts_.reach(source, now);
  Host to = hosts_.reach(destination, now);
  ++from.packets;
  ++to.packets;
  Placement placement = infer(source, from, destination, to, opened_by_source);
  placement.site = site_of_both(source);
  Host& ours = placement.source_inside ? from : to;
  ++ours.inside;
  ours.basis = placement.basis;
  hosts_.reach(source, now) = from;
  hosts_.reach(destination, now) = to;
  return placement;
}

Placement Sides::place_frame(const IpAddress& source, const IpAddress& destination) {
  if (const auto known = configured(source, destination)) return *known;
  const Host* from = hosts_.find(source);
  const Host* to = hosts_.find(destination);
  Placement placement =
      infer(source, from != nullptr ? *from : Host{}, destination, to != nullptr ? *to : Host{}, false);
  placement.site = site_of_both(source);
  return placement;
}

bool Sides::claims(const IpAddress& source, const IpAddress& destination) const {
  return longest_match(source).bits >= 0 || longest_match(destination).bits >= 0;
}

std::uint32_t Sides::site_of_both(const IpAddress& address) const {
  const Match match = longest_match(address);
  return match.bits >= 0 ? match.site : elsewhere_;
}

std::optional<bool> Sides::host_answered(const IpAddress& host, const IpAddress& other, Duration rtt,
                                         TimePoint now) {
  Host here = hosts_.reach(host, now);
  if (here.answered == Duration::zero() || rtt < here.answered) here.answered = rtt;
  Host there = hosts_.reach(other, now);
  const Placement placement = infer(host, here, other, there, false);
  const bool decided = placement.basis == SideBasis::nearness;
  if (decided) {
    Host& near = placement.source_inside ? here : there;
    Host& far = placement.source_inside ? there : here;
    near.inside = std::max(near.packets, near.inside + 1);
    near.basis = SideBasis::nearness;
    far.inside = 0;
  }
  hosts_.reach(host, now) = here;
  hosts_.reach(other, now) = there;
  return decided ? std::optional(placement.source_inside) : std::nullopt;
}

SideFinding Sides::finding() const {
  SideFinding finding;
  struct Candidate {
    IpAddress address;
    Host host;
  };
  std::vector<Candidate> candidates;
  hosts_.for_each([&](const IpAddress& address, const Host& host) {
    if (host.inside * 2 > host.packets) candidates.push_back({address, host});
  });
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.host.inside > b.host.inside; });
  if (candidates.empty()) return finding;
  finding.basis = candidates.front().host.basis;
  for (const Candidate& c : candidates) {
    if (finding.inside.size() == kInsideShown) break;
    finding.inside.push_back(c.address);
  }
  return finding;
}

}  // namespace weir
