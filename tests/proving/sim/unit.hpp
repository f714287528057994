/// A packet on its way through the simulated world.
#pragma once

#include <cstdint>
#include <optional>

#include <ns3/packet.h>
#include <ns3/simulator.h>

#include "config/units.hpp"
#include "estimator/sequence.hpp"

namespace weir::proving {

inline constexpr std::uint32_t kEthernetHeader = 14;

struct Unit {
  enum class Kind : std::uint8_t { tcp, udp, priority, ping };
  ns3::Ptr<ns3::Packet> packet;  ///< from its IP header on
  Kind kind = Kind::tcp;
  std::size_t load = 0;  ///< of the scenario; of a ping: the site
  bool back = false;     ///< from the far side to ours
  TimePoint born;
  std::size_t number = 0;                ///< of a priority packet
  std::size_t link = 0;                  ///< the next one to cross
  std::optional<SequenceRange> twice{};  ///< of a host's: what its D-SACK would tell

  [[nodiscard]] std::uint32_t bytes() const { return packet->GetSize() + kEthernetHeader; }
};

[[nodiscard]] inline TimePoint sim_now() {
  return TimePoint(Duration(ns3::Simulator::Now().GetNanoSeconds()));
}
[[nodiscard]] inline ns3::Time to_ns3(Duration d) {
  return ns3::NanoSeconds(static_cast<std::uint64_t>(std::max<std::int64_t>(d.count(), 0)));
}

}  // namespace weir::proving
