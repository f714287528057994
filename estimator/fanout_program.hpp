/// Which of several taps gets a frame: a classic BPF program for PACKET_FANOUT_CBPF, the same number for both
/// directions of a connection.
///
/// Pure. The kernel's own hash (PACKET_FANOUT_HASH) is symmetric too, but of the outer ports of a VXLAN,
/// which differ by direction and tear the connections in it apart. This one looks into one tunnel, as the
/// estimator does: into IP, GRE and VXLAN behind Ethernet, up to three tags in the frame, or PPPoE. What
/// counts are addresses XORed, and of TCP and UDP the ports XORed. What it does not understand goes to the
/// first tap. docs/ESTIMATOR.md, "Several cores", says what follows from that.
#pragma once

#include <cstdint>
#include <vector>

#include <linux/filter.h>

namespace weir {

/// For Ethernet ports. `seed`: random, so that strangers cannot choose connections that all meet in one tap.
[[nodiscard]] std::vector<sock_filter> fanout_program(std::uint32_t seed);

}  // namespace weir
