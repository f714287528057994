#include "proving/sim/box.hpp"

#include <algorithm>
#include <utility>

#include <ns3/fq-codel-queue-disc.h>
#include <ns3/ipv4-header.h>
#include <ns3/ipv4-queue-disc-item.h>
#include <ns3/uinteger.h>

namespace weir::proving {
namespace {

constexpr double kMtuBits = 8.0 * 1514;
constexpr Duration kBurst = std::chrono::milliseconds(1);
constexpr std::size_t kPriorityPackets = 1000;

/// What ns-3's fq_codel holds; it may drop it.
class UnitItem final : public ns3::Ipv4QueueDiscItem {
 public:
  UnitItem(Unit unit, ns3::Ptr<ns3::Packet> payload, const ns3::Ipv4Header& header)
      : Ipv4QueueDiscItem(std::move(payload), ns3::Address(), 0x0800, header), unit_(std::move(unit)) {}
  [[nodiscard]] Unit& unit() { return unit_; }

 private:
  Unit unit_;
};

}  // namespace

SiteBox::SiteBox(Rate rate, std::function<void(Unit)> leaves) : rate_(rate), leaves_(std::move(leaves)) {
  const auto fair = ns3::CreateObject<ns3::FqCoDelQueueDisc>();
  fair->SetQuantum(1514);
  fair->Initialize();
  fair_ = fair;
}

void SiteBox::take(Unit unit) {
  if (unit.kind == Unit::Kind::priority) {
    if (priority_.size() < kPriorityPackets) priority_.push_back(std::move(unit));
  } else {
    ns3::Ptr<ns3::Packet> payload = unit.packet->Copy();
    ns3::Ipv4Header header;
    payload->RemoveHeader(header);
    unit.packet = nullptr;
    fair_->Enqueue(ns3::Create<UnitItem>(std::move(unit), payload, header));
  }
  send_what_may();
}

void SiteBox::set_rate(Rate rate) {
  fill();
  rate_ = rate;
  timer_.Cancel();
  send_what_may();
}

void SiteBox::fill() {
  const TimePoint now = sim_now();
  const double bps = static_cast<double>(rate_.bps());
  tokens_ += bps * seconds(now - filled_);
  filled_ = now;
  tokens_ = std::min(tokens_, std::max(2 * kMtuBits, bps * seconds(kBurst)));
}

std::optional<Unit> SiteBox::next() {
  if (!priority_.empty()) {
    Unit unit = std::move(priority_.front());
    priority_.pop_front();
    return unit;
  }
  const auto item = fair_->Dequeue();
  if (!item) return std::nullopt;
  item->AddHeader();
  Unit unit = std::move(static_cast<UnitItem&>(*item).unit());
  unit.packet = item->GetPacket();
  return unit;
}

void SiteBox::send_what_may() {
  fill();
  while (tokens_ >= 0.0) {
    std::optional<Unit> unit = next();
    if (!unit) return;
    tokens_ -= 8.0 * unit->bytes();
    sent_bytes_ += unit->bytes();
    leaves_(std::move(*unit));
  }
  wait_for_tokens();
}

void SiteBox::wait_for_tokens() {
  if (timer_.IsRunning() || !backlogged()) return;
  const double wait = -tokens_ / std::max(1.0, static_cast<double>(rate_.bps()));
  timer_ = ns3::Simulator::Schedule(to_ns3(from_seconds(wait) + std::chrono::nanoseconds(1)),
                                    &SiteBox::send_what_may, this);
}

}  // namespace weir::proving
