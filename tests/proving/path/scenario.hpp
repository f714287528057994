/// A scenario of the proving ground: the path, what is sent over it, and how the box in front of it is set
/// up. docs/PROVING.md describes the YAML.
///
/// Plain values. `load_scenario` throws std::runtime_error naming file, line and fault.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/units.hpp"

#include "proving/path/link.hpp"

namespace weir::proving {

/// Something that sends all the time between two instants.
struct Load {
  enum class Kind : std::uint8_t { tcp, udp };
  enum class Way : std::uint8_t { out, back };
  Kind kind = Kind::tcp;
  Way way = Way::out;
  std::size_t site = 0;
  bool foreign = false;  ///< of another customer: past the box, through the shared links only
  std::uint32_t flows = 1;
  std::string congestion = "cubic";  ///< tcp: cubic, bbr, newreno
  Rate rate;                         ///< udp: of each flow
  std::uint32_t frame = 1514;        ///< udp: bytes
  bool priority = false;             ///< udp: EF, measured
  std::uint64_t bytes = 0;  ///< tcp: each connection ends after so many and the next begins; 0: never
  Duration pause{};         ///< tcp with bytes: mean time between the two
  Duration rtt = std::chrono::milliseconds(30);
  Duration from{};
  std::optional<Duration> until;
};

struct ScenarioLink {
  std::string name;
  LinkSettings settings{};
  std::optional<std::size_t> site{};  ///< its own bottleneck; nullopt: all share it
  bool back = false;                  ///< on the way back

  /// What `of` sends on the way out crosses it.
  [[nodiscard]] bool carries(std::size_t of) const { return !back && (!site || *site == of); }
};

struct SiteSetup {
  std::string name;
  Rate floor;
  Rate ceiling;
  Rate start;
  Rate contract;
};

/// Something done to the box.
struct BoxEvent {
  enum class Kind : std::uint8_t { restart };
  Duration at{};
  Kind kind{};
};

struct Scenario {
  std::string name;
  int number = 0;  ///< in docs/PROVING.md's table; 0: of none
  Duration length{};
  Duration warm_up{};  ///< not scored
  std::vector<SiteSetup> sites;
  std::vector<ScenarioLink> links;  ///< in the order in which packets meet them
  Schedule extra_delay{0.0};        ///< seconds, on the way out, behind the links
  Schedule jitter{0.0};             ///< seconds, uniform, order kept
  double reorder = 0.0;             ///< share of the packets that overtake up to 2 ms of the others
  double local_loss = 0.0;          ///< within the box, before the tap
  std::vector<Load> loads;
  std::vector<BoxEvent> events;
  double simulate_scale = 1.0;  ///< of all rates, where the simulator runs it and nobody says otherwise
};

/// What a site may have at an instant: the least of its links, less the UDP of others on shared ones, within
/// floor and ceiling.
[[nodiscard]] Rate available(const Scenario& scenario, std::size_t site, TimePoint now);
/// The same with every rate times `factor`; lengths, delays, numbers of flows and sizes in bytes stay.
[[nodiscard]] Scenario scaled(Scenario scenario, double factor);
[[nodiscard]] Scenario parse_scenario(std::string_view text, std::string_view file);
[[nodiscard]] Scenario load_scenario(const std::filesystem::path& path);

}  // namespace weir::proving
