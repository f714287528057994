/// How far what one remote host tells of a path is borne out by what the others tell.
///
/// A remote host writes its own ACKs: it can tell losses and marks that never were, and the site would be
/// slowed down for all. But whatever loses on the path that a site shares loses from each remote in
/// proportion to what is sent there, since our own queues interleave them. So each event of loss of remote i,
/// which has the share s of the bytes, is one step of a sequential test (Wald, 1947; Page's CUSUM, 1954)
/// between "it loses as the others do" and "it loses 16 times as often", under which a share of
/// u = 16 s / (1 - s + 16 s) of the events is its own:
///
///   its own event:     W <- W + ln(u / s)                W > 4.5: what it tells is not counted
///   of another remote: W <- max(0, W + ln((1 - u) / (1 - s)))
///
/// A remote of 5 % is not believed from its third lonely event on, one of 25 % from the fourth, one that is
/// all of the site never: there the ratio of the two is 1. docs/CONTROLLER.md, "Forged feedback".
///
/// Pure, fixed memory (half a kilobyte); one owner. Of a packet that tells nothing it costs nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "config/address.hpp"
#include "config/units.hpp"

namespace weir {

/// An IPv4 host, or the /64 of an IPv6 one: a host may take as many addresses of that as it likes.
using RemoteKey = std::uint64_t;
inline constexpr RemoteKey kNobody = 0;  ///< not known: always believed

[[nodiscard]] RemoteKey remote_key(const IpAddress& address);

/// What the remotes of one path have of the bytes, over about the last half second.
///
/// The heaviest of them by space-saving (Metwally and others, 2005): a share is never told too small, and too
/// large by a sixteenth at the most.
class RemoteShares {
 public:
  /// One of the packets that left, chosen whosever it was.
  void sampled(RemoteKey remote, Bytes bytes);
  void close_tick();
  /// 0 .. 1.
  [[nodiscard]] double of(RemoteKey remote) const;
  /// One of two that have nine tenths of the bytes together (host-to-host replication): these are the site,
  /// and nobody is left whose word would weigh more.
  [[nodiscard]] bool is_the_site(RemoteKey remote) const;

 private:
  struct Remote {
    RemoteKey key = kNobody;
    double bytes = 0.0;
  };
  std::array<Remote, 16> remotes_{};
  std::size_t known_ = 0;
  double all_ = 0.0;
};

/// One kind of events that remotes tell of: losses, or marks.
class Corroboration {
 public:
  /// What `remote` tells within `event` of one another is one event.
  explicit Corroboration(Duration event) : event_(event) {}

  /// It tells of one that befell what was sent at `sent`. False: it is not to be counted.
  [[nodiscard]] bool hears(RemoteKey remote, TimePoint sent, const RemoteShares& shares);
  /// The same without anything that is told.
  [[nodiscard]] bool believes(RemoteKey remote, const RemoteShares& shares) const;
  /// What was told long ago weighs less.
  void close_tick();

 private:
  struct Remote {
    RemoteKey key = kNobody;
    double score = 0.0;   ///< W
    double relief = 0.0;  ///< what an event of another one adds, of its share at its own last event
    TimePoint last;       ///< begin of its last event
  };
  [[nodiscard]] Remote& reach(RemoteKey remote);

  Duration event_;
  std::array<Remote, 16> remotes_{};
};

}  // namespace weir
