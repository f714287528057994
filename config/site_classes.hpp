/// The classes that one site has on the port: those of its policy, or each of its subnets and what is within.
///
///     site                                     site
///     +- voice        (policy's classes,       +- 10.20.1.0/24        (each_subnet)
///     +- bulk          inner ones before       |  +- 10.20.1.0/24/voice   (with a policy)
///        +- backup     their own)              +- 10.20.2.0/24
///
/// Shaper and gateway number them in this order. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/policy.hpp"

namespace weir {

struct SiteClass {
  std::string name;                   ///< unique within the site
  const ClassPolicy* policy;          ///< the Policy's own
  std::optional<std::size_t> parent;  ///< index of the class around it, always a lower one; none: the site
  bool inner = false;
};

/// Which classes the packets of some subnets are for.
struct SiteBranch {
  std::vector<Prefix> subnets;
  std::optional<std::size_t> class_set;  ///< its rules choose among them; none: there is one
  std::size_t first = 0;                 ///< index of the set's first class, or of the one
};

struct SiteClasses {
  std::vector<SiteClass> classes;
  std::vector<SiteBranch> branches;
};

/// Refers to the policy: no longer than it lives.
[[nodiscard]] SiteClasses classes_of(const Policy& policy, const SitePolicy& site);
/// What a class is guaranteed, as a share of the site's rate or a fixed rate; zero without a guarantee.
[[nodiscard]] RateOrShare guarantee_of_site(const std::vector<SiteClass>& classes, std::size_t index);
/// The policy's name; "each subnet" of a site whose subnets are single classes.
[[nodiscard]] std::string policy_name(const Policy& policy, const SitePolicy& site);
/// How many of them packets wait in.
[[nodiscard]] std::size_t number_of_leaves(const Policy& policy, const SitePolicy& site);
/// How many classes that are, the site's own left out.
[[nodiscard]] std::size_t number_of_classes(const Policy& policy, const SitePolicy& site);

}  // namespace weir
