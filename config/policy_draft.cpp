#include "config/policy_draft.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "config/prefix_reader.hpp"

namespace weir {
namespace {

/// The name of the class set of a site that names no policy, unless the file has a policy of that name.
constexpr const char* kDefaultPolicy = "default";
/// include: in what is included.
constexpr std::size_t kMostIncludeDepth = 8;
/// A packet of 1500 bytes takes as long at 12 Mbit/s: no queue is measured finer.
constexpr Duration kLeastLatency = std::chrono::milliseconds(1);
/// Who waits longer has no goal.
constexpr Duration kMostLatency = std::chrono::seconds(1);
constexpr Duration kLeastDepth = std::chrono::milliseconds(1);
constexpr Duration kMostDepth = std::chrono::seconds(10);
constexpr Duration kLeastTarget = std::chrono::microseconds(100);

/// Walks the tree; one method for each mapping that a policy is made of.
class DraftReader {
 public:
  DraftReader(SourceFiles& files, Problems& problems)
      : files_(files), problems_(problems), read_(files, problems), lists_(read_, files) {}

  PolicyDraft policy() {
    PolicyDraft draft;
    const auto first = top_level(0);
    if (!first) return draft;
    include((*first)["include"], 1);
    for (const std::string_view key : {"wan", "sites"}) {
      if (given_[key].empty()) read_.report_missing(*first, key);
    }
    lists_.set_groups(read_.named_nodes(given_["groups"], "group"));
    if (const Field field = single("wan")) wan(field, draft);
    if (const Field field = single("lan")) {
      draft.lan_given = true;
      lan(field, draft);
    }
    for (const Field& field : given_["sites"]) {
      for (const YamlNode* node : read_.items(field)) site(*node, draft);
    }
    for (const auto& policy : read_.named_nodes(given_["policies"], "policy")) {
      draft.class_sets.push_back(class_set(policy.name, policy.at, *policy.node));
    }
    lists_.read_all_groups();
    if (const Field field = single("control")) draft.control = built_in(field, keys::control);
    if (const Field field = single("elsewhere")) draft.elsewhere = built_in(field, keys::elsewhere);
    if (const Field field = single("api")) api(field, draft.api);
    if (const Field field = single("recording")) recording(field, draft.recording);
    if (const auto kind = read_.gro(single("gro"))) draft.gro = *kind;
    return draft;
  }

 private:
  /// Takes what a file says at its top level to what the files before it said.
  std::optional<Fields> top_level(std::size_t file) {
    const auto root = files_.document(file);
    if (const auto* unreadable = std::get_if<Problem>(&root)) {
      problems_.push_back(*unreadable);
      return std::nullopt;
    }
    auto fields = read_.fields(*std::get<const YamlNode*>(root), keys::top);
    if (!fields) return fields;
    for (const PolicyKey& key : keys::top.keys) {
      if (const Field field = (*fields)[key.name]) given_[key.name].push_back(field);
    }
    return fields;
  }

  void include(const Field& field, std::size_t depth) {
    for (const YamlNode* item : read_.scalars(field)) {
      if (depth > kMostIncludeDepth) {
        read_.report(item->at,
                     "files include one another more than " + std::to_string(kMostIncludeDepth) + " deep",
                     "include this file higher up");
        continue;
      }
      const std::filesystem::path path = files_.resolved(item->text, item->at.file);
      if (item->text.find_first_of("*?[") == std::string::npos) {
        include_file(path, *item, depth);
      } else {  // a folder may be empty yet
        const auto found = files_.matching(path);
        if (const int* error = std::get_if<int>(&found)) {
          const Problem unread = cannot_read(path, *error);
          read_.report(item->at, unread.message, unread.mend);
          continue;
        }
        for (const auto& match : std::get<std::vector<std::filesystem::path>>(found))
          include_file(match, *item, depth);
      }
    }
  }

  void include_file(const std::filesystem::path& path, const YamlNode& by, std::size_t depth) {
    const auto opened = files_.open(path);
    if (const auto* problem = std::get_if<Problem>(&opened)) {
      return read_.report(by.at, problem->message, problem->mend);
    }
    const std::size_t file = std::get<std::size_t>(opened);
    const auto [first, fresh] = included_.emplace(file, by.at);
    if (file == 0 || !fresh) {
      return read_.report(
          by.at,
          path.string() + (file == 0 ? " is the file that includes all others"
                                     : " is included twice, first " + files_.on_line(first->second)),
          "include each file once");
    }
    if (const auto fields = top_level(file)) include((*fields)["include"], depth + 1);
  }

  /// A key that stands once in all files together.
  Field single(std::string_view key) {
    const std::vector<Field>& given = given_[key];
    for (std::size_t i = 1; i < given.size(); ++i) {
      read_.report(given[i].at(),
                   "'" + std::string(key) + "' stands in two files, first " + files_.on_line(given[0].at()),
                   "leave it in one of them");
    }
    return given.empty() ? Field{} : given[0];
  }

  Field required(const Fields& fields, std::string_view key) {
    const Field field = fields[key];
    if (!field) read_.report_missing(fields, key);
    return field;
  }

  /// A mapping under a key. A key without value has been reported already.
  std::optional<Fields> mapping(const Field& field, const KeyTable& table) {
    if (!field || field.value->kind == YamlNode::Kind::null) return std::nullopt;
    return read_.fields(*field.value, table);
  }

  template <typename T>
  static std::optional<Placed<T>> placed(const Field& field, std::optional<T> value) {
    if (!value) return std::nullopt;
    return Placed<T>{.value = *std::move(value), .at = field.at()};
  }

  void wan(const Field& field, PolicyDraft& draft) {
    const auto wan = mapping(field, keys::wan);
    if (!wan) return;
    const Field interface = required(*wan, "interface");
    draft.wan_interface = placed(interface, read_.interface(interface));
    const Field rate = required(*wan, "rate");
    draft.wan_rate = placed(rate, read_.rate(rate));
    if (const auto layer = mapping((*wan)["link_layer"], keys::link_layer)) {
      if (const auto kind = read_.link_kind((*layer)["kind"])) draft.link_layer.kind = *kind;
      if (const auto overhead = read_.integer((*layer)["overhead"])) {
        draft.link_layer.overhead = static_cast<std::int16_t>(*overhead);
      }
      if (const auto mpu = read_.integer((*layer)["mpu"])) {
        draft.link_layer.mpu = static_cast<std::uint16_t>(*mpu);
      }
    }
  }

  void lan(const Field& field, PolicyDraft& draft) {
    const auto lan = mapping(field, keys::lan);
    if (!lan) return;
    const Field interface = required(*lan, "interface");
    draft.lan_interface = placed(interface, read_.interface(interface));
    draft.lan_rate = placed((*lan)["rate"], read_.rate((*lan)["rate"]));
  }

  BuiltInDraft built_in(const Field& field, const KeyTable& table) {
    BuiltInDraft draft;
    const auto fields = mapping(field, table);
    if (!fields) return draft;
    draft.guarantee = placed((*fields)["guarantee"], read_.rate_or_share((*fields)["guarantee"]));
    draft.ceiling = placed((*fields)["ceiling"], read_.rate_or_share((*fields)["ceiling"]));
    return draft;
  }

  void api(const Field& field, ApiSettings& settings) {
    const auto api = mapping(field, keys::api);
    if (!api) return;
    if (auto path = read_.socket_path((*api)["socket"])) settings.socket = *std::move(path);
    settings.listen = read_.loopback_endpoint((*api)["listen"]);
  }

  void recording(const Field& field, RecordingSettings& settings) {
    const auto recording = mapping(field, keys::recording);
    if (!recording) return;
    if (const auto size = read_.integer((*recording)["mebibytes"]))
      settings.mebibytes = static_cast<std::uint64_t>(*size);
  }

  void site(const YamlNode& node, PolicyDraft& policy) {
    SiteDraft& draft = policy.sites.emplace_back();
    draft.at = node.at;
    const auto fields = read_.fields(node, keys::site);
    if (!fields) return;
    const Field name = required(*fields, "name");
    draft.name = placed(name, read_.name(name));
    draft.subnets = lists_.prefixes(required(*fields, "subnets"));
    classes_of_site(*fields, draft);
    if (const auto rate = mapping(required(*fields, "rate"), keys::site_rate)) {
      const Field floor = required(*rate, "floor");
      draft.floor = placed(floor, read_.rate(floor));
      draft.ceiling = placed((*rate)["ceiling"], read_.rate((*rate)["ceiling"]));
      draft.ceiling_given = static_cast<bool>((*rate)["ceiling"]);
      draft.start = placed((*rate)["start"], read_.rate((*rate)["start"]));
      draft.adapt = read_.flag((*rate)["adapt"]);
    }
    if (const auto inbound = mapping((*fields)["inbound"], keys::inbound))
      policy.inbound.push_back(inbound_of(draft, *inbound));
  }

  SiteDraft inbound_of(const SiteDraft& site, const Fields& fields) {
    SiteDraft draft;
    draft.at = fields.at();
    draft.inbound = true;
    draft.name = site.name;
    draft.subnets = site.subnets;
    classes_of_site(fields, draft);
    const Field rate = required(fields, "rate");
    const Field floor = fields["floor"];
    draft.ceiling = placed(rate, read_.rate(rate));
    draft.ceiling_given = true;
    draft.adapt = static_cast<bool>(floor);
    draft.floor = floor ? placed(floor, read_.rate(floor)) : draft.ceiling;
    draft.start = placed(fields["start"], read_.rate(fields["start"]));
    return draft;
  }

  /// What is said of a site's packets, and may be said anew of those that come from it.
  void classes_of_site(const Fields& fields, SiteDraft& draft) {
    draft.policy = placed(fields["policy"], read_.text(fields["policy"]));
    draft.set_dscp = read_.dscp(fields["set_dscp"]);
    if (const auto each = mapping(fields["each_subnet"], keys::each_subnet)) {
      ClassDraft shape;
      shape.at = each->at();
      rates(*each, shape);
      draft.each_subnet = std::move(shape);
      draft.policy_of_subnets = placed((*each)["policy"], read_.text((*each)["policy"]));
    }
  }

  ClassSetDraft class_set(const std::string& name, Place at, const YamlNode& node) {
    ClassSetDraft draft{.name = name, .at = at, .classes = {}, .brownout = {}};
    const auto fields = read_.fields(node, keys::policy);
    if (fields) {
      classes(required(*fields, "classes"), draft, std::nullopt);
      for (const YamlNode* item : read_.scalars((*fields)["brownout"])) {
        draft.brownout.push_back({.value = item->text, .at = item->at});
      }
    }
    if (draft.classes.empty()) draft.whole = false;  // why has been reported
    return draft;
  }

  void classes(const Field& field, ClassSetDraft& set, std::optional<std::size_t> parent) {
    for (const YamlNode* item : read_.items(field)) {
      const auto fields = read_.fields(*item, keys::traffic_class);
      if (!fields) {
        set.whole = false;
        continue;
      }
      const std::size_t index = set.classes.size();
      ClassDraft& one = set.classes.emplace_back(traffic_class(*fields));
      one.parent = parent;
      one.depth = parent ? set.classes[*parent].depth + 1 : 0;
      const Field inside = (*fields)["classes"];
      one.inner = static_cast<bool>(inside);
      // The tree of the file is no deeper than kMostYamlDepth: so is this recursion.
      classes(inside, set, index);
    }
  }

  ClassDraft traffic_class(const Fields& fields) {
    ClassDraft draft;
    draft.at = fields.at();
    const Field name = required(fields, "name");
    draft.name = placed(name, read_.name(name));
    const Field match = fields["match"];
    draft.match_given = static_cast<bool>(match);
    for (const YamlNode* entry : read_.items(match)) draft.match.push_back(match_entry(*entry));
    const Field is_default = fields["default"];
    draft.default_given = static_cast<bool>(is_default);
    draft.is_default = placed(is_default, read_.flag(is_default));
    draft.latency = placed(fields["latency"], read_.duration(fields["latency"], kLeastLatency, kMostLatency));
    draft.set_dscp = placed(fields["set_dscp"], read_.dscp(fields["set_dscp"]));
    rates(fields, draft);
    return draft;
  }

  /// What classes of a policy and those of each subnet have in common.
  void rates(const Fields& fields, ClassDraft& draft) {
    draft.guarantee = placed(fields["guarantee"], read_.rate_or_share(fields["guarantee"]));
    draft.guarantee_given = static_cast<bool>(fields["guarantee"]);
    draft.ceiling = placed(fields["ceiling"], read_.rate_or_share(fields["ceiling"]));
    if (const auto priority = read_.integer(fields["priority"])) {
      draft.priority = static_cast<std::uint8_t>(*priority);
    }
    if (const Field given = fields["leaf"]) {
      draft.leaf_at = given.at();
      leaf(given, draft.leaf);
    }
  }

  /// The name of a kind, or a mapping.
  void leaf(const Field& field, LeafPolicy& leaf) {
    if (field.value->kind != YamlNode::Kind::map) {
      leaf.kind = read_.leaf(field).value_or(leaf.kind);
      return;
    }
    const auto fields = mapping(field, keys::leaf);
    if (!fields) return;
    leaf.kind = read_.leaf((*fields)["kind"]).value_or(leaf.kind);
    leaf.depth = read_.duration((*fields)["depth"], kLeastDepth, kMostDepth);
    leaf.packets = number((*fields)["packets"]);
    leaf.target = read_.duration((*fields)["target"], kLeastTarget, kMostDepth);
    leaf.interval = read_.duration((*fields)["interval"], kLeastTarget, kMostDepth);
    leaf.flows = number((*fields)["flows"]);
    leaf.quantum = number((*fields)["quantum"]);
    leaf.ecn = read_.flag((*fields)["ecn"]);
  }

  std::optional<std::uint32_t> number(const Field& field) {
    const auto value = read_.integer(field);
    return value ? std::optional(static_cast<std::uint32_t>(*value)) : std::nullopt;
  }

  static std::vector<Prefix> values_of(const std::vector<Placed<Prefix>>& prefixes) {
    std::vector<Prefix> values;
    values.reserve(prefixes.size());
    for (const auto& prefix : prefixes) values.push_back(prefix.value);
    return values;
  }

  MatchDraft match_entry(const YamlNode& node) {
    MatchDraft draft;
    draft.at = node.at;
    const std::size_t problems_before = problems_.size();
    if (const auto fields = read_.fields(node, keys::match)) {
      draft.rule.dscp = read_.dscps((*fields)["dscp"]);
      draft.rule.source = values_of(lists_.prefixes((*fields)["source"]));
      draft.rule.destination = values_of(lists_.prefixes((*fields)["destination"]));
      draft.rule.protocol = read_.protocols((*fields)["protocol"]);
      draft.rule.port = read_.ports((*fields)["port"]);
      draft.rule.source_port = read_.ports((*fields)["source_port"]);
      draft.rule.destination_port = read_.ports((*fields)["destination_port"]);
      draft.rule.vlan = read_.vlans((*fields)["vlan"]);
      draft.rule.fwmark = read_.fwmarks((*fields)["fwmark"]);
    }
    draft.whole = problems_.size() == problems_before;
    return draft;
  }

  SourceFiles& files_;
  Problems& problems_;
  ValueReader read_;
  PrefixReader lists_;
  std::map<std::string_view, std::vector<Field>> given_;  // at the top level of all files
  std::map<std::size_t, Place> included_;                 // file -> by whom
};

/// What a class of priority 0 may take when the file does not say: three times its guarantee, so that
/// mis-marked traffic, which goes first, cannot take the whole site.
RateOrShare ceiling_of_first_class(const RateOrShare& guarantee) {
  constexpr double kTimes = 3.0;
  if (const auto* rate = std::get_if<Rate>(&guarantee)) return *rate * kTimes;
  return Share{std::min(1.0, std::get<Share>(guarantee).fraction * kTimes)};
}

ClassPolicy finish(ClassDraft draft) {
  ClassPolicy policy;
  if (draft.name) policy.name = std::move(draft.name->value);
  policy.match.reserve(draft.match.size());
  for (MatchDraft& entry : draft.match) policy.match.push_back(std::move(entry.rule));
  policy.is_default = draft.is_default && draft.is_default->value;
  if (draft.guarantee) policy.guarantee = draft.guarantee->value;
  policy.priority = draft.priority.value_or(policy.priority);
  if (draft.ceiling) {
    policy.ceiling = draft.ceiling->value;
  } else if (policy.priority == 0 && policy.guarantee && !policy.name.empty()) {  // each subnet is no mark
    policy.ceiling = ceiling_of_first_class(*policy.guarantee);
  }
  policy.leaf = draft.leaf;
  if (draft.latency) policy.latency = draft.latency->value;
  if (draft.set_dscp) policy.set_dscp = draft.set_dscp->value;
  policy.parent = draft.parent;
  policy.inner = draft.inner;
  return policy;
}

void apply(const BuiltInDraft& draft, BuiltInClass& built_in) {
  if (draft.guarantee) built_in.guarantee = draft.guarantee->value;
  if (draft.ceiling) built_in.ceiling = draft.ceiling->value;
}

ClassSet default_class_set() {
  ClassPolicy everything;
  everything.name = "default";
  everything.is_default = true;
  return {.name = kDefaultPolicy, .classes = {everything}};
}

SitePolicy finish(SiteDraft draft, Rate port) {
  SitePolicy site;
  site.name = std::move(draft.name->value);
  site.subnets.reserve(draft.subnets.size());
  for (const auto& subnet : draft.subnets) site.subnets.push_back(subnet.value);
  site.rate.floor = draft.floor->value;
  site.rate.ceiling = draft.ceiling ? draft.ceiling->value : port;
  site.rate.start = draft.start ? draft.start->value : site.rate.floor;
  site.rate.adapt = draft.adapt.value_or(true);
  site.set_dscp = draft.set_dscp;
  return site;
}

}  // namespace

PolicyDraft read_draft(SourceFiles& files, Problems& problems) {
  return DraftReader(files, problems).policy();
}

Policy finish(PolicyDraft draft) {
  Policy policy;
  policy.wan = {.interface = std::move(draft.wan_interface->value),
                .rate = draft.wan_rate->value,
                .link_layer = draft.link_layer};
  if (draft.lan_interface) {
    policy.lan = LanPort{.interface = std::move(draft.lan_interface->value),
                         .rate = draft.lan_rate ? draft.lan_rate->value : policy.wan.rate};
  }
  apply(draft.control, policy.control);
  apply(draft.elsewhere, policy.elsewhere);
  policy.api = std::move(draft.api);
  policy.recording = draft.recording;
  policy.gro = draft.gro;

  std::unordered_map<std::string, std::size_t> set_by_name;
  for (ClassSetDraft& set : draft.class_sets) {
    set_by_name.emplace(set.name, policy.class_sets.size());
    ClassSet& finished = policy.class_sets.emplace_back(ClassSet{.name = std::move(set.name), .classes = {}});
    std::transform(set.classes.begin(), set.classes.end(), std::back_inserter(finished.classes),
                   [](ClassDraft& one) { return finish(std::move(one)); });
    std::unordered_map<std::string, std::uint32_t> ranks;
    for (std::uint32_t rank = 0; rank < set.brownout.size(); ++rank)
      ranks.emplace(set.brownout[rank].value, rank);
    for (ClassPolicy& one : finished.classes) {
      if (const auto rank = ranks.find(one.name); rank != ranks.end()) one.brownout = rank->second;
    }
  }
  const auto finish_site = [&](SiteDraft& one) {
    if (one.each_subnet) {
      EachSubnet each{.shape = finish(*std::move(one.each_subnet)), .class_set = {}};
      if (one.policy_of_subnets) each.class_set = set_by_name.at(one.policy_of_subnets->value);
      each.shape.inner = each.class_set.has_value();
      SitePolicy site = finish(std::move(one), policy.wan.rate);
      site.each_subnet = std::move(each);
      return site;
    }
    const std::string wanted = one.policy ? one.policy->value : kDefaultPolicy;
    const auto [set, missing] = set_by_name.emplace(wanted, policy.class_sets.size());
    if (missing) policy.class_sets.push_back(default_class_set());  // only for a site that names no policy
    SitePolicy site = finish(std::move(one), policy.wan.rate);
    site.class_set = set->second;
    return site;
  };
  std::ranges::transform(draft.sites, std::back_inserter(policy.sites), finish_site);
  std::ranges::transform(draft.inbound, std::back_inserter(policy.inbound), finish_site);
  return policy;
}

}  // namespace weir
