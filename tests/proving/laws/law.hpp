/// A control law on trial: Weir's own or a peer's, driven by a harness (the simulator, the real-kernel lab)
/// that gives all of them the same site to shape and whatever each one's own design measures.
///
/// Pure: time is an argument; the same inputs give the same rates. Not thread-safe: one owner.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/units.hpp"
#include "estimator/controller.hpp"

namespace weir::proving {

/// An echo that crossed the path and came back; the reflectors are asked in turn.
struct PingReply {
  TimePoint at;
  Duration rtt{};
};

/// A packet that came out at the far end.
struct Arrival {
  TimePoint at;
  Bytes bytes;  ///< charged as everywhere (config/units.hpp)
};

/// What may be known at one instant. Each law looks at what its own design measures and at nothing else; only
/// the oracle looks at the truth.
struct LawInput {
  TimePoint now;
  Duration interval{};  ///< since the law was asked before
  const ControlInput* control =
      nullptr;                        ///< Weir's measurement of a tick that ended now; nullptr between ticks
  Rate capacity;                      ///< the truth at `now`
  Rate sent;                          ///< S over the interval
  Rate received;                      ///< R at the far end, over an interval that ended half a base RTT ago
  std::optional<Duration> rtt;        ///< newest sample of TCP, none yet: nullopt
  bool backlogged = false;            ///< our own queue holds packets
  std::span<const PingReply> pings;   ///< since the law was asked before
  std::span<const Arrival> arrivals;  ///< likewise
};

struct LawSettings {
  Rate floor;
  Rate ceiling;
  Rate start;
  Rate contract;  ///< what the provider guarantees
  std::optional<SiteMemory> memory =
      std::nullopt;  ///< of the same law before the daemon was started again, aged up to now
};

class Law {
 public:
  Law() = default;
  Law(const Law&) = delete;
  Law& operator=(const Law&) = delete;
  virtual ~Law() = default;

  /// How often it wants to be asked.
  [[nodiscard]] virtual Duration period() const = 0;
  /// Where its shaper stands by its own design: most limit what goes into the bottleneck; one limits what
  /// came out of it.
  [[nodiscard]] virtual bool behind_the_bottleneck() const { return false; }
  /// The rate from now on; nullopt: no shaping at all.
  [[nodiscard]] virtual std::optional<Rate> step(const LawInput& input) = 0;
  /// One sentence about the last change, where the law gives one.
  [[nodiscard]] virtual std::string_view reason() const { return {}; }
  /// What outlives it, where the law keeps anything.
  [[nodiscard]] virtual std::optional<SiteMemory> memory(TimePoint) const { return std::nullopt; }
};

/// The names that `make_law` knows; what stands behind each: docs/PROVING.md.
[[nodiscard]] const std::vector<std::string>& law_names();
/// Throws std::invalid_argument for an unknown name, saying which are known.
[[nodiscard]] std::unique_ptr<Law> make_law(std::string_view name, const LawSettings& settings,
                                            TimePoint now);

}  // namespace weir::proving
