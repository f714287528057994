// Any bytes give a Policy that keeps its promises or Problems that can be shown: never an exception, never a
// crash.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <variant>

#include "config/load.hpp"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void require_sound(const weir::Policy& policy) {
  double floors = 0;
  require(!policy.wan.interface.empty() && !policy.sites.empty());
  for (const weir::SitePolicy& site : policy.sites) {
    const weir::SiteRates& rate = site.rate;
    require(rate.floor > weir::Rate() && rate.floor <= rate.start && rate.start <= rate.ceiling);
    require(rate.ceiling <= policy.wan.rate);
    require(!site.subnets.empty() && site.class_set < policy.class_sets.size());
    for (const weir::Prefix& subnet : site.subnets)
      require(weir::Prefix::parse(subnet.to_string()) == subnet);
    floors += static_cast<double>(rate.floor.bps());
  }
  require(floors <= static_cast<double>(policy.wan.rate.bps()));
  for (const weir::ClassSet& set : policy.class_sets) {
    int defaults = 0;
    for (const weir::ClassPolicy& one : set.classes) {
      defaults += one.is_default ? 1 : 0;
      require(one.is_default || !one.match.empty());
      require(one.priority <= 7);
    }
    require(defaults == 1);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(data, data + size);
  const auto parsed = weir::parse_policy(text);
  if (const auto* policy = std::get_if<weir::Policy>(&parsed)) {
    require_sound(*policy);
    return 0;
  }
  const auto& problems = std::get<weir::Problems>(parsed);
  require(!problems.empty());
  for (const weir::Problem& problem : problems) require(!problem.message.empty() && !problem.mend.empty());
  require(!weir::render(problems, "policy.yaml", text).empty());
  return 0;
}
