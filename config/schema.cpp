#include "config/schema.hpp"

#include <boost/json.hpp>

#include "config/policy_keys.hpp"
#include "config/spelling.hpp"

namespace weir {
namespace {

namespace json = boost::json;

constexpr const char* kNamePattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$";
// Units in capitals are units: without (?i), which JSON Schema's regular expressions (ECMA-262) do not have.
constexpr const char* kRatePattern = "^[0-9]+(\\.[0-9]+)?[KkMmGg]?[Bb][Ii][Tt]$";
constexpr const char* kSharePattern = "^[0-9]+(\\.[0-9]+)?(%|[KkMmGg]?[Bb][Ii][Tt])$";
constexpr const char* kTimePattern = "^[0-9]+(\\.[0-9]+)?([Uu]|[Mm])?[Ss]$";
constexpr const char* kRangePattern = "^[0-9]+-[0-9]+$";

json::object pattern(const char* regular_expression) {
  return {{"type", "string"}, {"pattern", regular_expression}};
}

json::object any_of(std::initializer_list<json::object> alternatives) {
  json::array all;
  for (const json::object& one : alternatives) all.emplace_back(one);
  return {{"anyOf", std::move(all)}};
}

/// In quotes as well, as YAML makes no difference to the reader.
json::object integer(std::int64_t least, std::int64_t most) {
  return any_of({json::object{{"type", "integer"}, {"minimum", least}, {"maximum", most}},
                 pattern(least < 0 ? "^-?[0-9]+$" : "^[0-9]+$")});
}

json::object one_of(std::span<const std::string_view> words) {
  json::array all;
  for (const std::string_view word : words) all.emplace_back(word);
  return {{"enum", std::move(all)}};
}

/// An editor proposes the words of the list; in capitals they are the same.
json::object names_of(std::span<const NamedNumber> numbers) {
  json::array all;
  std::string in_any_case = "^(";
  for (const NamedNumber& number : numbers) {
    all.emplace_back(number.name);
    if (in_any_case.size() > 2) in_any_case += '|';
    for (const char c : number.name) {
      const bool is_letter = c >= 'a' && c <= 'z';
      in_any_case +=
          is_letter ? std::string{'[', static_cast<char>(c - 'a' + 'A'), c, ']'} : std::string(1, c);
    }
  }
  in_any_case += ")$";
  return any_of({json::object{{"enum", std::move(all)}}, pattern(in_any_case.c_str())});
}

/// A list, or one value in its place.
json::object one_or_list(const json::object& item) {
  return any_of({item, json::object{{"type", "array"}, {"items", item}, {"minItems", 1}}});
}

/// YAML takes 7 for a number: as a name or text it is fine.
json::object plain() {
  return {{"type", json::array{"string", "number"}}};
}

json::object reference(const KeyTable& table) {
  const std::string where(table.where);
  json::object whole{{"$ref", "#/$defs/" + (where.empty() ? "policy file" : where)}};
  return table.or_word ? any_of({std::move(whole), one_of(table.keys.front().words)}) : whole;
}

json::object value_of(const PolicyKey& key) {
  switch (key.kind) {
    case ValueKind::rate:
      return pattern(kRatePattern);
    case ValueKind::share:
      return pattern(kSharePattern);
    case ValueKind::time:
      return pattern(kTimePattern);
    case ValueKind::flag:
      return {{"type", "boolean"}};
    case ValueKind::integer:
      return integer(key.least, key.most);
    case ValueKind::name:
      return any_of({pattern(kNamePattern), integer(0, INT64_MAX), json::object{{"type", "number"}}});
    case ValueKind::text:
      return plain();
    case ValueKind::dscp:
      return any_of({names_of(dscp_names()), integer(0, 63)});
    case ValueKind::protocol:
      return any_of({names_of(protocol_names()), integer(0, 255)});
    case ValueKind::ports:
      return any_of({integer(1, 65'535), pattern(kRangePattern)});
    case ValueKind::vlan:
      return any_of({integer(1, 4'094), pattern(kRangePattern), json::object{{"const", "untagged"}}});
    case ValueKind::fwmark:
      return any_of({integer(1, UINT32_MAX), pattern("^(0x)?[0-9A-Fa-f]+$")});
    case ValueKind::word:
      return one_of(key.words);
    case ValueKind::mapping:
      return reference(*key.table);
    case ValueKind::named:
      return {{"type", "object"},
              {"propertyNames", json::object{{"pattern", kNamePattern}}},
              {"additionalProperties", key.table != nullptr ? reference(*key.table) : one_or_list(plain())}};
  }
  return {};
}

json::object property(const PolicyKey& key) {
  json::object schema = key.list ? one_or_list(value_of(key)) : value_of(key);
  std::string meaning(key.meaning);
  if (!key.fallback.empty()) meaning += " (default: " + std::string(key.fallback) + ")";
  schema["description"] = meaning;
  return schema;
}

json::object definition(const KeyTable& table) {
  json::object properties;
  json::array required;
  for (const PolicyKey& key : table.keys) {
    properties[key.name] = property(key);
    // An included file holds a part of the whole.
    if (key.required && !table.where.empty()) required.emplace_back(key.name);
  }
  json::object schema{
      {"type", "object"}, {"additionalProperties", false}, {"properties", std::move(properties)}};
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

}  // namespace

std::string policy_schema() {
  json::object schema{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                      {"title", "Weir's policy file"}};
  json::object definitions;
  for (const KeyTable* table : key_tables()) {
    if (table->where.empty()) {
      for (auto& [name, value] : definition(*table)) schema[name] = value;
    } else {
      definitions[table->where] = definition(*table);
    }
  }
  schema["$defs"] = std::move(definitions);
  return json::serialize(schema);
}

}  // namespace weir
