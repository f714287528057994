#include "estimator/merged_observer.hpp"

#include <algorithm>
#include <utility>

#include "estimator/segment_totals.hpp"

namespace weir {
namespace {

constexpr std::size_t kInsideShown = 16;

void add_up(const EstimatorTotals& part, EstimatorTotals& totals) {
  totals.frames += part.frames;
  totals.tcp += part.tcp;
  totals.malformed += part.malformed;
  totals.opaque += part.opaque;
  totals.flows_evicted += part.flows_evicted;
  totals.one_in = std::max(totals.one_in, part.one_in);
  totals.unsampled += part.unsampled;
  totals.flows += part.flows;
  totals.flow_bytes += part.flow_bytes;
  totals.flows_refused += part.flows_refused;
  totals.one_way += part.one_way;
  add(part.outbound, totals.outbound);
  add(part.inbound, totals.inbound);
}

/// The busiest of each worker in turn: how busy they were is not told.
[[nodiscard]] SideFinding merged(const std::vector<const SideFinding*>& workers) {
  SideFinding all;
  std::size_t most = 0;
  for (const SideFinding* worker : workers) {
    if (most == 0) all.basis = worker->basis;
    most = std::max(most, worker->inside.size());
  }
  for (std::size_t i = 0; i < most; ++i) {
    for (const SideFinding* worker : workers) {
      if (i >= worker->inside.size() || all.inside.size() == kInsideShown) continue;
      const IpAddress& address = worker->inside[i];
      if (std::find(all.inside.begin(), all.inside.end(), address) == all.inside.end())
        all.inside.push_back(address);
    }
  }
  return all;
}

}  // namespace

MergedObserver::MergedObserver(const EstimatorSettings& settings, std::string source,
                               std::vector<std::string> site_names)
    : ticks_(settings.sites.size() + 1),
      sums_(settings, std::move(source), std::move(site_names)),
      accounts_(settings.sites.size() + 1, settings.keep_flows) {}

void MergedObserver::add(std::span<const ShareTick> workers) {
  std::vector<const TickResult*> results;
  for (const ShareTick& tick : workers) {
    results.push_back(&tick.result);
    began_ = began_ || tick.any_frame;
  }
  last_tick_ = ticks_.add(results);
  if (began_) sums_.add(last_tick_);
  if (workers.front().findings) take_findings(workers, last_tick_.outbound.front().at);
}

void MergedObserver::take_findings(std::span<const ShareTick> workers, TimePoint now) {
  totals_ = {};
  retransmission_delay_ = {};
  kernel_drops_ = 0;
  std::vector<const Accounts::Part*> accounts;
  std::vector<const SideFinding*> sides;
  for (const ShareTick& tick : workers) {
    const ShareFindings& part = *tick.findings;
    add_up(part.totals, totals_);
    for (std::size_t direction = 0; direction < retransmission_delay_.size(); ++direction) {
      retransmission_delay_[direction].merge(part.retransmission_delay[direction]);
    }
    kernel_drops_ += part.kernel_drops;
    accounts.push_back(&part.accounts);
    sides.push_back(&part.sides);
    if (!part.first) continue;
    last_ = first_ ? std::max(last_, part.last) : part.last;
    first_ = std::min(first_.value_or(*part.first), *part.first);
  }
  sides_ = merged(sides);
  accounts_.become_sum_of(accounts, now, ticks_.void_until());
}

EstimatorFindings MergedObserver::findings() const {
  return {.totals = totals_,
          .accounts = accounts_,
          .retransmission_delay = {&retransmission_delay_[0], &retransmission_delay_[1]},
          .sides = sides_,
          .first = first_,
          .last = last_,
          .kernel_drops = kernel_drops_};
}

Observation MergedObserver::summary() {
  sums_.ask_for_some_capacities(last_);
  return sums_.sum_up(findings());
}

Observation MergedObserver::finish() {
  sums_.ask_for_all_capacities(last_);
  return sums_.sum_up(findings());
}

}  // namespace weir
