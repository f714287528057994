#include "config/site_classes.hpp"

#include <algorithm>

namespace weir {
namespace {

void add_set(SiteClasses& to, const ClassSet& set, const std::string& before,
             std::optional<std::size_t> around) {
  const std::size_t first = to.classes.size();
  for (const ClassPolicy& one : set.classes) {
    to.classes.push_back({.name = before + one.name,
                          .policy = &one,
                          .parent = one.parent ? std::optional(first + *one.parent) : around,
                          .inner = one.inner});
  }
}

}  // namespace

SiteClasses classes_of(const Policy& policy, const SitePolicy& site) {
  SiteClasses all;
  all.classes.reserve(number_of_classes(policy, site));
  if (!site.each_subnet) {
    all.branches.push_back({.subnets = site.subnets, .class_set = site.class_set, .first = 0});
    add_set(all, policy.class_sets[site.class_set], "", std::nullopt);
    return all;
  }
  const EachSubnet& each = *site.each_subnet;
  for (const Prefix& subnet : site.subnets) {
    const std::string name = subnet.to_string();
    const std::size_t own = all.classes.size();
    all.classes.push_back(
        {.name = name, .policy = &each.shape, .parent = std::nullopt, .inner = each.shape.inner});
    if (each.class_set) {
      add_set(all, policy.class_sets[*each.class_set], name + "/", own);
      all.branches.push_back({.subnets = {subnet}, .class_set = each.class_set, .first = own + 1});
    } else {
      all.branches.push_back({.subnets = {subnet}, .class_set = std::nullopt, .first = own});
    }
  }
  return all;
}

RateOrShare guarantee_of_site(const std::vector<SiteClass>& classes, std::size_t index) {
  const SiteClass& one = classes[index];
  if (!one.policy->guarantee) return Rate();
  const auto* share = std::get_if<Share>(&*one.policy->guarantee);
  if (share == nullptr || !one.parent) return *one.policy->guarantee;
  const RateOrShare around = guarantee_of_site(classes, *one.parent);
  if (const auto* rate = std::get_if<Rate>(&around)) return *rate * share->fraction;
  return Share{std::get<Share>(around).fraction * share->fraction};
}

std::string policy_name(const Policy& policy, const SitePolicy& site) {
  if (!site.each_subnet) return policy.class_sets[site.class_set].name;
  return site.each_subnet->class_set ? policy.class_sets[*site.each_subnet->class_set].name : "each subnet";
}

std::size_t number_of_classes(const Policy& policy, const SitePolicy& site) {
  if (!site.each_subnet) return policy.class_sets[site.class_set].classes.size();
  const auto& set = site.each_subnet->class_set;
  return site.subnets.size() * (1 + (set ? policy.class_sets[*set].classes.size() : 0));
}

std::size_t number_of_leaves(const Policy& policy, const SitePolicy& site) {
  const auto in_set = [](const ClassSet& set) {
    return static_cast<std::size_t>(std::ranges::count(set.classes, false, &ClassPolicy::inner));
  };
  if (!site.each_subnet) return in_set(policy.class_sets[site.class_set]);
  const auto& set = site.each_subnet->class_set;
  return site.subnets.size() * (set ? in_set(policy.class_sets[*set]) : 1);
}

}  // namespace weir
