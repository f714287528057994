/// Every key that a policy file may hold, by the mapping it stands in. Internal to config/ and to the test
/// that holds docs/CONFIGURATION.md complete.
#pragma once

#include <span>
#include <string_view>

namespace weir {

struct PolicyKey {
  std::string_view name;
  std::string_view example;  ///< a value that is right there, for mends
};

struct KeyTable {
  std::string_view where;  ///< "sites[].rate"; empty for the top level
  std::string_view what;   ///< "a site's rate", for messages
  std::span<const PolicyKey> keys;
};

namespace keys {
extern const KeyTable top, wan, link_layer, lan, site, site_rate, each_subnet, policy, traffic_class, leaf,
    match, control, elsewhere, api, recording;
}  // namespace keys

/// All of the above.
[[nodiscard]] std::span<const KeyTable* const> key_tables();

}  // namespace weir
