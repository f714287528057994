/// Every key that a policy file may hold, by the mapping it stands in: what the reader, the JSON Schema, the
/// manual page and the test that holds docs/CONFIGURATION.md complete have in common. Internal to config/.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace weir {

/// How a value is written.
enum class ValueKind : std::uint8_t {
  rate,      ///< "45mbit"
  share,     ///< "5%" or a rate
  time,      ///< "20ms"
  flag,      ///< true, false
  integer,   ///< within [least, most]
  name,      ///< letters, digits, '-', '_', '.'
  text,      ///< any single value
  dscp,      ///< "ef", 46
  protocol,  ///< "tcp", 6
  ports,     ///< 22, "5000-5010"
  vlan,      ///< 100, "200-210", "untagged"
  fwmark,    ///< 16, "0x10"
  word,      ///< one of `words`
  mapping,   ///< of the keys in `table`
  named,     ///< a mapping of the operator's own names, to values of `table` or else to lists of prefixes
};

struct KeyTable;

struct PolicyKey {
  std::string_view name;
  ValueKind kind;
  std::string_view example;     ///< a value that is right there, for mends
  std::string_view meaning;     ///< one line
  std::string_view fallback{};  ///< what is there without the key; empty: nothing
  bool list = false;            ///< one value or a list of them
  bool required = false;
  const KeyTable* table = nullptr;
  std::span<const std::string_view> words{};
  std::int64_t least = 0;  ///< of an integer
  std::int64_t most = 0;
};

struct KeyTable {
  std::string_view where;  ///< "sites[].rate"; empty for the top level
  std::string_view what;   ///< "a site's rate", for messages
  std::span<const PolicyKey> keys;
  bool or_word = false;  ///< where a mapping may be, the value of its first key alone may stand
};

namespace keys {
extern const KeyTable top, wan, link_layer, lan, site, site_rate, each_subnet, policy, traffic_class, leaf,
    match, control, elsewhere, api, recording, inbound;
}  // namespace keys

/// All of the above.
[[nodiscard]] std::span<const KeyTable* const> key_tables();

}  // namespace weir
