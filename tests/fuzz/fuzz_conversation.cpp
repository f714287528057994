/// Conversations that are almost right: five connections whose segments lie near where they should, with SACK
/// blocks, timestamps, tunnels, long silences and capture loss. Reaches what lies behind the parser, where
/// random bytes do not.
///
/// The input is a sequence of records of six bytes: what to do with which connection, how long after the one
/// before, payload, and how far sequence, acknowledgment and SACK blocks lie from where they should.
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "estimator/observation.hpp"

#include "../estimator/packet_builder.hpp"
#include "estimate_checks.hpp"

using namespace weir;
using namespace weir::fuzz;
using test::Bytes8;
using test::TcpSpec;

namespace {

constexpr std::size_t kRecord = 6;
constexpr std::size_t kConnections = 5;

enum Action : std::uint8_t { syn = 8, syn_ack, fin, rst, again, damaged, tick, lost };

/// Small numbers are likely, large ones possible: a mantissa and a power.
std::uint32_t spread(std::uint8_t byte) {
  constexpr std::array<std::uint32_t, 4> kUnits = {1, 100, 1000, 1460};
  return (byte & 0x3fU) * kUnits[byte >> 6U];
}
std::uint32_t offset(std::uint8_t byte) {
  constexpr std::array<std::uint32_t, 4> kUnits = {1, 1000, 1U << 16U, 1U << 25U};
  const auto steps = static_cast<std::int32_t>(byte & 0x3fU) - 32;
  return byte == 0 ? 0 : static_cast<std::uint32_t>(steps) * kUnits[byte >> 6U];
}
Duration pause(std::uint8_t byte) {
  return std::chrono::microseconds(std::uint64_t{byte & 31U} << (byte >> 5U) * 4U);
}

struct Side {
  std::uint32_t next = 0;
  std::uint16_t ip_id = 1;
};

class Conversations {
 public:
  Conversations() {
    for (std::size_t i = 0; i < kConnections; ++i) {
      sides_[i][0].next = 0xfffff000U + static_cast<std::uint32_t>(i) * 0x40000000U;
      sides_[i][1].next = 0x7ffff000U - static_cast<std::uint32_t>(i) * 0x10000000U;
    }
  }

  /// The frame that a record asks for; `length` becomes its bytes on the wire.
  Bytes8 frame_of(std::span<const std::uint8_t> r, TimePoint now, std::uint32_t& length) {
    const std::uint8_t action = r[0] >> 4U;
    const std::size_t which = (r[0] & 7U) % kConnections;
    const std::size_t from = r[0] >> 3U & 1U;
    Side& me = sides_[which][from];
    const Side& other = sides_[which][1 - from];
    if (action != again && action != damaged) {
      TcpSpec s = addressed(which, from);
      s.seq = me.next + offset(r[3]);
      s.ack = other.next + offset(r[4]);
      s.payload = action == syn_ack || action == rst ? 0 : spread(r[2]);
      s.ip_id = (r[5] & 0x40U) != 0 ? me.ip_id : ++me.ip_id;
      s.window = (r[5] & 0x80U) != 0 ? 0 : 1000;
      s.timestamps = (r[5] & 0x20U) != 0;
      s.tsval = clock_of(which, now, s.seq) + ((r[5] & 1U) != 0 ? offset(r[4]) : 0U);
      s.traffic_class = (r[5] & 0x1cU);
      s.flags = flags_of(action, r[5]);
      if (action == syn || action == syn_ack) s.mss = 1000;
      if (action >= 4 && action < syn) add_blocks(s, r, other.next);
      const std::uint32_t end =
          s.seq + s.payload + (action == syn || action == syn_ack || action == fin ? 1 : 0);
      if (at_or_before(me.next, end)) me.next = end;
      last_ = test::ethernet_frame(s);
      last_length_ = 14 + test::ip_length(s);
    }
    Bytes8 bytes = last_;
    if (action == damaged && !bytes.empty()) {
      bytes[r[2] % bytes.size()] ^= static_cast<std::byte>(r[3]);
      bytes.resize(bytes.size() - (r[4] & 0x80U ? r[4] % bytes.size() : 0));
    }
    length = last_length_;
    return bytes;
  }

 private:
  /// Three have clocks of the usual ticks, the others what is none.
  static std::uint32_t clock_of(std::size_t which, TimePoint now, std::uint32_t otherwise) {
    constexpr std::array<Duration, 3> kTicks = {std::chrono::milliseconds(1), std::chrono::milliseconds(10),
                                                std::chrono::microseconds(1)};
    if (which >= kTicks.size()) return otherwise;
    return 0xffffff00U + static_cast<std::uint32_t>(now.time_since_epoch() / kTicks[which]);
  }
  static TcpSpec addressed(std::size_t which, std::size_t from) {
    TcpSpec s;
    if (which == 4) {
      s.source = test::address("2001:db8:1::1");
      s.destination = test::address("2001:db8:20::1");
    }
    s.source_port = static_cast<std::uint16_t>(40000 + which);
    if (from == 1) {
      std::swap(s.source, s.destination);
      std::swap(s.source_port, s.destination_port);
    }
    return s;
  }
  static unsigned flags_of(std::uint8_t action, std::uint8_t options) {
    switch (action) {
      case syn:
        return kTcpSyn;
      case syn_ack:
        return kTcpSyn | kTcpAck;
      case fin:
        return kTcpFin | kTcpAck;
      case rst:
        return kTcpRst | kTcpAck;
      default:
        return kTcpAck | ((options & 1U) != 0 ? unsigned{kTcpEce} : 0U);
    }
  }
  /// One to four blocks around the acknowledgment, the first perhaps below it (a D-SACK).
  static void add_blocks(TcpSpec& s, std::span<const std::uint8_t> r, std::uint32_t sent) {
    std::uint32_t at = s.ack + offset(r[3]);
    for (unsigned i = 0; i <= (r[0] >> 4U & 3U); ++i) {
      const std::uint32_t size = spread(static_cast<std::uint8_t>(r[2] + i));
      s.sack.push_back({at, at + size});
      at = i % 2 == 0 ? at + 2 * size + 1 : sent - size;
    }
    if ((r[5] & 2U) == 0) s.payload = 0;
  }

  std::array<std::array<Side, 2>, kConnections> sides_;
  Bytes8 last_;
  std::uint32_t last_length_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  EstimatorSettings settings;
  settings.sites = {{*Prefix::parse("10.20.0.0/16")}, {*Prefix::parse("2001:db8:20::/48")}};
  settings.max_flows = (data[0] & 1U) != 0 ? 3 : 64;  // fewer than there are connections: some give way
  BothWays observer(settings);
  Conversations conversations;
  TimePoint now{std::chrono::seconds(1000)};
  for (std::size_t at = 1; at + kRecord <= size; at += kRecord) {
    const std::span record(data + at, kRecord);
    now += pause(record[1]);
    const std::uint8_t action = record[0] >> 4U;
    if (action == lost) observer.on_kernel_drops(1);
    if (action == tick || action == lost) {
      observer.on_time(now);
    } else {
      std::uint32_t length = 0;
      const Bytes8 bytes = conversations.frame_of(record, now, length);
      observer.on_frame(test::as_frame(bytes, now, length));
    }
    observer.check_tick();
  }
  observer.finish();
  return 0;
}
