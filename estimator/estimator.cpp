#include "estimator/estimator.hpp"

#include <utility>

#include "estimator/estimator_impl.hpp"

namespace weir {
namespace {

using namespace std::chrono_literals;

/// Cohorts end this much before ticks: the answers of near hosts are in by then, and the cohort is ripe a
/// tick sooner.
constexpr Duration kCohortsEndBeforeTicks = 20ms;

}  // namespace

void Estimator::on_frames(std::span<const Frame> frames) {
  impl_->take(frames);
}

Estimator::Estimator(EstimatorSettings settings) : impl_(std::make_unique<Impl>(std::move(settings))) {}
Estimator::~Estimator() = default;
Estimator::Estimator(Estimator&&) noexcept = default;
Estimator& Estimator::operator=(Estimator&&) noexcept = default;

void Estimator::Impl::begin_at(TimePoint first) {
  if (epoch) return;
  epoch = first;
  last_tick = first;
}

PathWindow& Estimator::Impl::make_window(std::uint32_t path) {
  auto& slot = windows[path];
  slot = std::make_unique<PathWindow>(direction_of(path), *epoch);
  slot->follow_one_in(totals.one_in);
  if (settings.corroborate && direction_of(path) == Direction::outbound) slot->corroborate();
  return *slot;
}

// -- ticks --

TickResult Estimator::tick(TimePoint now, bool capture_lost) {
  Impl& my = *impl_;
  my.work_off();
  my.begin_at(now - kCohortsEndBeforeTicks);
  capture_lost = std::exchange(my.follows_fewer, false) || capture_lost;
  if (capture_lost) {
    const bool adjoins = my.gap.end >= my.last_tick;
    my.gap = {.begin = adjoins ? my.gap.begin : my.last_tick, .end = now};
    if (my.accounts) my.accounts->capture_lost();
  }
  my.flows.expire(now, [&my](Flow& flow) { my.forget(flow); });

  TickResult result;
  const auto close_all = [&](Direction direction, std::vector<SiteMeasurement>& closed,
                             std::vector<PathPart>& parts) {
    const std::size_t sites = my.settings.sites.size() + 1;
    closed.reserve(sites);
    if (my.settings.in_parts) parts.resize(sites);
    for (std::uint32_t site = 0; site < sites; ++site) {
      if (const auto& window = my.windows[Impl::path_number(direction, site)]) {
        closed.push_back(
            window->close_tick(now, capture_lost, my.settings.in_parts ? &parts[site] : nullptr));
        closed.back().interval = now - my.last_tick;  // also of a path that was silent until now
      } else {
        SiteMeasurement silent;
        silent.at = now;
        silent.interval = now - my.last_tick;
        silent.valid = !capture_lost;
        silent.one_in = my.totals.one_in;
        closed.push_back(std::move(silent));
      }
    }
  };
  close_all(Direction::outbound, result.outbound, result.outbound_parts);
  close_all(Direction::inbound, result.inbound, result.inbound_parts);
  result.way_in.resize(my.ways_in.size());
  for (std::size_t site = 0; site < my.ways_in.size(); ++site) {
    auto& way_in = my.ways_in[site];
    if (!way_in) {
      result.way_in[site].at = now;
      result.way_in[site].interval = now - my.last_tick;
      result.way_in[site].valid = false;
      continue;
    }
    result.way_in[site] = way_in->close_tick(result.inbound[site], result.outbound[site]);
    // What was lost on the way here comes again a round trip later, of the path's and not of ours.
    const auto path = Impl::path_number(Direction::inbound, static_cast<std::uint32_t>(site));
    if (const auto& window = my.windows[path]) window->wait_for_holes(way_in->longest_round_trip());
  }
  my.last_tick = now;
  return result;
}

void Estimator::follow(const FlowSample& sample) {
  Impl& my = *impl_;
  if (sample == my.chosen) return;
  my.work_off();
  my.follows_fewer = my.follows_fewer || sample.one_in > my.chosen.one_in;
  my.chosen = sample;
  my.totals.one_in = sample.one_in;
  my.flows.follow(sample);
  for (const auto& window : my.windows) {
    if (window) window->follow_one_in(sample.one_in);
  }
}

const EstimatorTotals& Estimator::totals() const {
  Impl& my = *impl_;
  my.work_off();
  my.totals.flows = my.flows.size();
  my.totals.flows_evicted = my.flows.evicted();
  my.totals.flow_bytes = my.flows.bytes_held() + my.clocks.bytes_held() + my.echoes.bytes_held();
  my.totals.set_aside = 0;
  for (const auto& window : my.windows) my.totals.set_aside += window ? window->set_aside() : 0;
  const auto segments = [&my](Direction direction) {
    return my.accounts ? my.accounts->segments(direction) : my.segments[static_cast<std::size_t>(direction)];
  };
  my.totals.outbound = segments(Direction::outbound);
  my.totals.inbound = segments(Direction::inbound);
  return my.totals;
}

RttTotals Estimator::rtt_totals(Direction direction) const {
  const Impl& my = *impl_;
  impl_->work_off();
  return rtt_totals_of(my.accounts ? my.accounts->rtt(direction)
                                   : my.rtt[static_cast<std::size_t>(direction)]);
}

DelayTotals Estimator::retransmission_delay(Direction direction) const {
  return delay_totals_of(retransmission_delay_sums(direction));
}

const DurationSums& Estimator::retransmission_delay_sums(Direction direction) const {
  impl_->work_off();
  return impl_->retransmission_delay[static_cast<std::size_t>(direction)];
}

SideFinding Estimator::sides() const {
  impl_->work_off();
  return impl_->sides.finding();
}

const Accounts* Estimator::accounts() const {
  impl_->work_off();
  return impl_->accounts.get();
}

Accounts* Estimator::accounts() {
  impl_->work_off();
  return impl_->accounts.get();
}

}  // namespace weir
