/// What the checks of a draft have in common. Internal to config/policy_checks and config/class_checks.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "config/policy_draft.hpp"

namespace weir {

/// HTB's minor numbers are 16 bits; the port, control, elsewhere and some spare ones are not for sites.
inline constexpr std::size_t kMostClasses = 65'500;
/// linux/pkt_sched.h TC_HTB_MAXDEPTH, of which the port and the site are two.
inline constexpr std::size_t kMostClassLevels = 6;

/// "'voice'", or "without a name".
[[nodiscard]] std::string name_of(const std::optional<Placed<std::string>>& name);
/// "site 'coast'", or "what comes from site 'coast'".
[[nodiscard]] std::string described(const SiteDraft& site);
/// What every rate within it has to fit into, as the file calls it: "floor", or "rate" where it stands still.
[[nodiscard]] inline std::string least_rate_of(const SiteDraft& site) {
  return site.inbound && !site.adapt.value_or(true) ? "rate" : "floor";
}
/// Rates in sums: exact spelling would show bits nobody wrote.
[[nodiscard]] std::string about(double bps);
[[nodiscard]] std::string spelled(const RateOrShare& value);
[[nodiscard]] inline double bps_of(Rate rate) {
  return static_cast<double>(rate.bps());
}

class DraftChecker {
 public:
  DraftChecker(const PolicyDraft& draft, const SourceFiles& files, Problems& problems);

 protected:
  void report(Place at, std::string message, std::string mend);
  /// `names` maps each name met so far to its place.
  void report_if_repeated(std::unordered_map<std::string_view, Place>& names, const Placed<std::string>& name,
                          std::string_view what);
  [[nodiscard]] const ClassSetDraft* set_named(std::string_view name) const;
  /// The class set of a site, or of its subnets; nullptr for the built-in one, for none and for a name that
  /// does not exist.
  [[nodiscard]] const ClassSetDraft* set_of(const SiteDraft& site) const;

  /// All that has classes on a port: sites, then those shaped inbound.
  template <class Action>
  void for_each_site(Action&& action) const {
    for (const SiteDraft& site : draft_.sites) action(site);
    for (const SiteDraft& site : draft_.inbound) action(site);
  }

  const PolicyDraft& draft_;
  const SourceFiles& files_;
  Problems& problems_;

 private:
  std::unordered_map<std::string_view, std::size_t> set_by_name_;
};

/// The part of check_draft() that is about class sets.
void check_class_sets(const PolicyDraft& draft, const SourceFiles& files, Problems& problems);

}  // namespace weir
