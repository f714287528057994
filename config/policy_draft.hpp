/// What a policy file says, value by value with its place, before the values are held against one another.
/// Internal to config/.
///
/// A value that is missing or was reported as faulty is nullopt, so that checks skip it and blame nothing
/// twice.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/policy.hpp"
#include "config/value_reader.hpp"

namespace weir {

struct MatchDraft {
  MatchRule rule;
  Place at;
  bool whole = true;  ///< false: something in it was reported; no conclusions from what is left
};

struct ClassDraft {
  Place at;
  std::optional<Placed<std::string>> name;
  std::vector<MatchDraft> match;
  bool match_given = false;
  std::optional<Placed<bool>> is_default;
  bool default_given = false;
  std::optional<Placed<RateOrShare>> guarantee;
  std::optional<Placed<RateOrShare>> ceiling;
  std::optional<std::uint8_t> priority;
  LeafPolicy leaf;
  std::optional<Place> leaf_at;
  bool guarantee_given = false;
  std::optional<Placed<Duration>> latency;
  std::optional<Placed<std::uint8_t>> set_dscp;
  std::optional<std::size_t> parent;  ///< the class that it stands in: index in the set
  std::size_t depth = 0;              ///< classes around it
  bool inner = false;
};

struct ClassSetDraft {
  std::string name;
  Place at;
  std::vector<ClassDraft> classes;  ///< inner ones before their own
  std::vector<Placed<std::string>> brownout;
  bool whole = true;  ///< false: some class could not be read at all
};

struct SiteDraft {
  Place at;
  std::optional<Placed<std::string>> name;
  std::vector<Placed<Prefix>> subnets;
  std::optional<Placed<Rate>> floor;
  std::optional<Placed<Rate>> ceiling;
  std::optional<Placed<Rate>> start;
  bool ceiling_given = false;
  std::optional<bool> adapt;
  std::optional<Placed<std::string>> policy;
  std::optional<ClassDraft> each_subnet;  ///< without name and match
  std::optional<Placed<std::string>> policy_of_subnets;
  std::optional<std::uint8_t> set_dscp;
  bool inbound = false;  ///< of what comes from the site; without adapt the floor is the ceiling
};

struct BuiltInDraft {
  std::optional<Placed<RateOrShare>> guarantee;
  std::optional<Placed<RateOrShare>> ceiling;
};

struct PolicyDraft {
  std::optional<Placed<std::string>> wan_interface;
  std::optional<Placed<Rate>> wan_rate;
  LinkLayer link_layer;
  std::optional<Placed<std::string>> lan_interface;
  std::optional<Placed<Rate>> lan_rate;
  bool lan_given = false;
  std::vector<ClassSetDraft> class_sets;
  std::vector<SiteDraft> sites;
  std::vector<SiteDraft> inbound;  ///< of those sites that have it
  BuiltInDraft control;
  BuiltInDraft elsewhere;
  ApiSettings api;
  RecordingSettings recording;
  GroPolicy gro = GroPolicy::bounded;
};

/// Reads the values of the first file and of what it includes; every fault of form goes to `problems`.
[[nodiscard]] PolicyDraft read_draft(SourceFiles& files, Problems& problems);

/// Holds the values against one another; every contradiction goes to `problems`.
void check_draft(const PolicyDraft& draft, const SourceFiles& files, Problems& problems);

/// The policy that a draft without problems means, with every default filled in.
[[nodiscard]] Policy finish(PolicyDraft draft);

}  // namespace weir
