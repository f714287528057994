// A connection between our side (10.1.0.1) and a host of site 0 (10.20.0.1), as the WAN port's tap sees it.
#pragma once

#include <functional>
#include <vector>

#include "packet_builder.hpp"

namespace weir::test {

inline EstimatorSettings one_site() {
  EstimatorSettings settings;
  settings.sites = {{prefix("10.20.0.0/16")}};
  return settings;
}

class Wire {
 public:
  explicit Wire(EstimatorSettings settings = one_site()) : estimator(std::move(settings)) {
    static_cast<void>(estimator.tick(at_ms(0), false));
  }

  void send(double ms, const TcpSpec& s) {
    const Packet frame = frame_of(s);
    estimator.on_frame(as_frame(frame, at_ms(ms)));
  }

  /// From our side to the far host.
  TcpSpec out(std::uint32_t seq, std::uint32_t payload) {
    TcpSpec s{.seq = base + seq, .ack = peer_base, .payload = payload, .ip_id = next_id++};
    return s;
  }
  /// From the far host to us: acknowledges our bytes up to `ack`.
  TcpSpec in(std::uint32_t ack, std::vector<SequenceRange> sack = {}) {
    for (SequenceRange& r : sack) r = {base + r.begin, base + r.end};
    return {.source = address("10.20.0.1"),
            .destination = address("10.1.0.1"),
            .source_port = 5001,
            .destination_port = 40000,
            .seq = peer_base,
            .ack = base + ack,
            .ip_id = next_id++,
            .sack = std::move(sack)};
  }
  void data(double ms, std::uint32_t seq, std::uint32_t payload = 1000) { send(ms, out(seq, payload)); }
  void ack(double ms, std::uint32_t number, std::vector<SequenceRange> sack = {}) {
    send(ms, in(number, std::move(sack)));
  }
  /// Three-way handshake; sequence 0 is then the first byte. `rtt` of the far side.
  void open(double ms, double rtt = 20.0, std::uint16_t mss = 1000) {
    TcpSpec syn = out(0, 0);
    syn.seq -= 1;
    syn.ack = 0;
    syn.flags = kTcpSyn;
    syn.mss = mss;
    send(ms, syn);
    TcpSpec answer = in(0);
    answer.seq -= 1;
    answer.flags = kTcpSyn | kTcpAck;
    answer.mss = mss;
    send(ms + rtt, answer);
    send(ms + rtt + 0.1, out(0, 0));
  }
  TickResult tick(double ms, bool lost = false) { return estimator.tick(at_ms(ms), lost); }
  /// Ticks every 100 ms up to `ms`; returns all cohorts of outbound site 0.
  std::vector<Cohort> cohorts_until(double ms) {
    std::vector<Cohort> all;
    for (; ticked + 100.0 <= ms;) {
      ticked += 100.0;
      const TickResult r = tick(ticked);
      all.insert(all.end(), r.outbound[0].mature.begin(), r.outbound[0].mature.end());
    }
    return all;
  }
  [[nodiscard]] const SegmentTotals& outbound() const { return estimator.totals().outbound; }
  [[nodiscard]] const SegmentTotals& inbound() const { return estimator.totals().inbound; }

  Estimator estimator;
  /// How a segment is packed.
  std::function<Packet(const TcpSpec&)> frame_of = [](const TcpSpec& s) {
    return Packet{.bytes = ethernet_frame(s), .length = 14 + ip_length(s)};
  };
  std::uint32_t base = 1'000'000;
  std::uint32_t peer_base = 5'000'000;
  std::uint16_t next_id = 1;
  double ticked = 0.0;
};

}  // namespace weir::test
