#include "shaper/plan.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "config/site_classes.hpp"
#include "shaper/leaf_parameters.hpp"

namespace weir::shaper {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kEthernetHeader = 14;
constexpr std::uint8_t kElsewherePriority = 3;
// HTB gives siblings of one priority turns of `quantum` bytes. A whole site's worth is ten frames a round, so
// that a round stays short, and a class has at least one frame of it.
constexpr double kFramesPerRound = 10.0;

// Left over in every parent, so that classes on their way out (1 byte/s each until their queues are empty)
// never push the sum of guarantees over the parent's.
Rate transition_reserve(Rate parent) {
  return std::min(kLeastGuarantee, whole_bytes(parent * 0.1));
}

Bytes frame_bytes(const KernelFacts& facts, const LinkLayer& link) {
  return Bytes(facts.mtu + kEthernetHeader + static_cast<std::uint32_t>(std::max<int>(link.overhead, 0)));
}

// At least two frames, so that one can always be sent while the next is being dequeued; else 1 ms, long
// enough for the scheduler's timer (592 of 622 Mbit/s measured) and short enough not to overflow a small
// bucket downstream.
Ticks burst_ticks(Rate rate, Bytes frame) {
  return ticks_for(std::max(rate.in(1ms), Bytes(2 * frame.count())), rate);
}

void keep_flows_of(const LeafParameters& standing, LeafSpec& leaf) {
  const auto* const made = std::get_if<FqCodel>(&standing);
  auto* const wanted = std::get_if<FqCodel>(&leaf.parameters);
  if (made != nullptr && wanted != nullptr && !leaf.flows_matter) wanted->flows = made->flows;
}

class TreeBuilder {
 public:
  TreeBuilder(const Policy& policy, const KernelFacts& facts, const ClassIds& ids)
      : policy_(policy), facts_(facts), ids_(ids), frame_(frame_bytes(facts, policy.wan.link_layer)) {
    // A class's overhead is unsigned in the kernel (u16 added to an unsigned length): what is to be taken off
    // goes into a size table on the root.
    tree_.root.size_overhead = std::min<std::int32_t>(policy.wan.link_layer.overhead, 0);
    for (const auto& site : policy.sites) leaves_ += number_of_leaves(policy, site);
    leaves_ += 2;
  }

  Tree build(std::span<const Rate> shaped) {
    const Rate port = whole_bytes(policy_.wan.rate);
    add({.handle = kPortClass, .parent = kRoot, .htb = htb(port, port)});
    const auto [control, elsewhere] = built_in_guarantees(port);
    add_built_in(kControlClass, "control", control, policy_.control, 0);
    add_built_in(kElsewhereClass, "elsewhere", elsewhere, policy_.elsewhere, kElsewherePriority);
    const auto rates = rates_of_sites(shaped);
    for (std::size_t s = 0; s < policy_.sites.size(); ++s) add_site(s, rates[s]);
    tree_.ids = ids_;
    return std::move(tree_);
  }

  std::vector<ReplannedClass> rebuild(const Tree& before, std::span<const Rate> shaped) {
    std::vector<ReplannedClass> changed;
    const auto rates = rates_of_sites(shaped);
    std::size_t first = kBuiltInClasses;
    for (std::size_t s = 0; s < policy_.sites.size(); ++s) {
      const std::size_t count = 1 + ids_.classes.at(s).size();
      if (first + count > before.classes.size() || before.classes[first].handle != ids_.site.at(s))
        throw std::invalid_argument("replan: the tree is not of this policy");
      if (before.classes[first].htb != htb(rates[s].guarantee, rates[s].ceil)) {
        tree_.classes.clear();
        add_site(s, rates[s]);
        for (std::size_t i = 0; i < count; ++i) note_change(before.classes[first + i], i, first, changed);
      }
      first += count;
    }
    return changed;
  }

 private:
  static constexpr std::size_t kBuiltInClasses = 3;  ///< the port, control and elsewhere stand first
  struct Rates {
    Rate guarantee;
    Rate ceil;
  };

  /// The class at `index` of the site that was just built, if it is another than it was.
  void note_change(const ClassSpec& before, std::size_t index, std::size_t first,
                   std::vector<ReplannedClass>& changed) {
    ClassSpec& now = tree_.classes.at(index);
    if (before.leaf && now.leaf) keep_flows_of(before.leaf->parameters, *now.leaf);
    const bool same_leaf = !now.leaf || (before.leaf && before.leaf->parameters == now.leaf->parameters);
    if (now.htb == before.htb && same_leaf) return;
    changed.push_back({.index = first + index,
                       .htb = now.htb,
                       .leaf = now.leaf ? std::optional(now.leaf->parameters) : std::nullopt});
  }

  [[nodiscard]] std::vector<Rates> rates_of_sites(std::span<const Rate> shaped) const {
    const Rate port = whole_bytes(policy_.wan.rate);
    const auto [control, elsewhere] = built_in_guarantees(port);
    std::vector<Rate> ceils;
    std::vector<Rate> floors;
    for (std::size_t s = 0; s < policy_.sites.size(); ++s) {
      ceils.push_back(whole_bytes(std::clamp(shaped[s], kLeastGuarantee, std::max(port, kLeastGuarantee))));
      floors.push_back(policy_.sites[s].rate.floor);
    }
    const Rate free = port - transition_reserve(port) - control - elsewhere;
    const auto guarantees = site_guarantees(ceils, floors, free);
    std::vector<Rates> rates;
    for (std::size_t s = 0; s < ceils.size(); ++s)
      rates.push_back({.guarantee = guarantees[s], .ceil = ceils[s]});
    return rates;
  }

  [[nodiscard]] HtbClass htb(Rate rate, Rate ceil) const {
    const auto& link = policy_.wan.link_layer;
    return {
        .rate = rate,
        .ceil = ceil,
        .burst = burst_ticks(rate, frame_),
        .cburst = burst_ticks(ceil, frame_),
        .quantum = static_cast<std::uint32_t>(frame_.count()),
        .link_layer = link.kind == LinkLayer::Kind::atm ? LinkLayer::Kind::atm : LinkLayer::Kind::ethernet,
        .overhead = static_cast<std::uint16_t>(std::max<int>(link.overhead, 0)),
        .mpu = link.mpu};
  }

  // The policy's reader sees to it that these and the floors fit into the port. Should they not, whatever the
  // reason, the two do not eat more than half of it.
  [[nodiscard]] std::pair<Rate, Rate> built_in_guarantees(Rate port) const {
    const Rate spendable = port - transition_reserve(port);
    const std::vector<Wish> wishes{{.wanted = resolve(policy_.control.guarantee, port), .priority = 0},
                                   {.wanted = resolve(policy_.elsewhere.guarantee, port), .priority = 1}};
    Rate floors;
    for (const auto& site : policy_.sites) floors = floors + site.rate.floor;
    const Rate beside_floors = spendable > floors ? spendable - floors : Rate();
    const auto granted = grant(wishes, std::max(beside_floors, whole_bytes(spendable * 0.5)));
    return {granted[0], granted[1]};
  }

  void add_built_in(Handle handle, std::string name, Rate guarantee, const BuiltInClass& cls,
                    std::uint8_t priority) {
    const Rate port = tree_.classes.front().htb.rate;
    const Rate ceil = std::max(std::min(whole_bytes(resolve(cls.ceiling, port)), port), guarantee);
    ClassSpec spec{
        .handle = handle, .parent = kPortClass, .htb = htb(guarantee, ceil), .name = std::move(name)};
    spec.htb.priority = priority;
    add_leaf_class(std::move(spec), LeafPolicy{});
  }

  void add_site(std::size_t s, const Rates& own) {
    const auto& site = policy_.sites[s];
    add({.handle = ids_.site[s],
         .parent = kPortClass,
         .htb = htb(own.guarantee, own.ceil),
         .site = site.name});
    const auto classes = weir::classes_of(policy_, site).classes;
    std::map<std::optional<std::size_t>, std::vector<std::size_t>> children;
    for (std::size_t c = 0; c < classes.size(); ++c) children[classes[c].parent].push_back(c);

    std::vector<Rates> rates(classes.size());
    share_out(classes, children[std::nullopt], own, rates);
    for (std::size_t c = 0; c < classes.size(); ++c) {  // parents stand before their own
      if (classes[c].inner) share_out(classes, children[c], rates[c], rates);
      const ClassPolicy& cls = *classes[c].policy;
      const auto& parent = classes[c].parent;
      ClassSpec spec{.handle = ids_.classes[s][c],
                     .parent = parent ? ids_.classes[s][*parent] : ids_.site[s],
                     .htb = htb(rates[c].guarantee, rates[c].ceil),
                     .site = site.name,
                     .name = classes[c].name};
      if (classes[c].inner) {
        add(std::move(spec));
        continue;
      }
      spec.htb.priority = cls.priority;
      spec.htb.quantum = quantum(cls, parent ? rates[*parent].guarantee : own.guarantee);
      add_leaf_class(std::move(spec), cls.leaf);
    }
  }

  void share_out(const std::vector<SiteClass>& classes, const std::vector<std::size_t>& among,
                 const Rates& parent, std::vector<Rates>& rates) const {
    std::vector<Wish> wishes;
    wishes.reserve(among.size());
    for (const std::size_t c : among) {
      const ClassPolicy& cls = *classes[c].policy;
      wishes.push_back({.wanted = cls.guarantee ? resolve(*cls.guarantee, parent.guarantee) : Rate(),
                        .priority = cls.priority,
                        .brownout = cls.brownout});
    }
    const auto guarantees = grant(wishes, parent.guarantee - transition_reserve(parent.guarantee));
    for (std::size_t i = 0; i < among.size(); ++i) {
      const ClassPolicy& cls = *classes[among[i]].policy;
      rates[among[i]] = {.guarantee = guarantees[i], .ceil = class_ceiling(cls, guarantees[i], parent.ceil)};
    }
  }

  [[nodiscard]] static Rate class_ceiling(const ClassPolicy& cls, Rate guarantee, Rate parent_ceil) {
    return std::max(std::min(whole_bytes(resolve(cls.ceiling, parent_ceil)), parent_ceil), guarantee);
  }

  // From the share, not from the rate: a quantum that does not follow every rate change need not be written
  // with it.
  [[nodiscard]] std::uint32_t quantum(const ClassPolicy& cls, Rate parent_rate) const {
    double share = 0.0;
    if (cls.guarantee) {
      const auto* fraction = std::get_if<Share>(&*cls.guarantee);
      share = fraction != nullptr ? fraction->fraction : std::get<Rate>(*cls.guarantee) / parent_rate;
    }
    const double frames = std::clamp(std::round(share * kFramesPerRound), 1.0, kFramesPerRound);
    return static_cast<std::uint32_t>(frames * static_cast<double>(frame_.count()));
  }

  void add_leaf_class(ClassSpec spec, const LeafPolicy& leaf) {
    const bool fq =
        leaf.kind == LeafKind::fq_codel || (leaf.kind == LeafKind::automatic && facts_.has_fq_codel);
    if (leaf.kind == LeafKind::automatic && !facts_.has_fq_codel) tree_.degraded = true;
    const LeafSize size{
        .guarantee = spec.htb.rate, .ceil = spec.htb.ceil, .frame = frame_, .leaves_on_port = leaves_};
    spec.leaf = LeafSpec{.handle = make_handle(static_cast<std::uint16_t>(spec.handle & 0xffffU), 0),
                         .parent = spec.handle,
                         .parameters = fq ? LeafParameters(fq_codel_for(size, leaf))
                                          : LeafParameters(byte_fifo_for(size, leaf)),
                         .flows_matter = fq && leaf.flows.has_value()};
    add(std::move(spec));
  }

  void add(ClassSpec spec) { tree_.classes.push_back(std::move(spec)); }

  const Policy& policy_;
  const KernelFacts& facts_;
  const ClassIds& ids_;
  Bytes frame_;
  std::size_t leaves_ = 0;
  Tree tree_;
};

Rate sum(std::span<const Rate> rates) {
  return std::accumulate(rates.begin(), rates.end(), Rate());
}

}  // namespace

std::vector<Rate> site_guarantees(std::span<const Rate> shaped, std::span<const Rate> floors,
                                  Rate available) {
  std::vector<Rate> least;
  for (std::size_t i = 0; i < shaped.size(); ++i)
    least.push_back(std::max(std::min(floors[i], shaped[i]), kLeastGuarantee));

  std::vector<Rate> rates(shaped.size());
  // Floors that fit into the port may not fit beside what is reserved for transitions: all give alike.
  if (sum(least) > available) {
    const double factor = available / sum(least);
    for (std::size_t i = 0; i < rates.size(); ++i) rates[i] = whole_bytes(least[i] * factor);
    return rates;
  }
  // Scale all alike; whoever would fall below its floor is given the floor, and the rest share what is left.
  // Each round settles at least one site, or is the last.
  std::vector<bool> at_floor(shaped.size(), false);
  for (;;) {
    Rate left = available;
    Rate wanted;
    for (std::size_t i = 0; i < rates.size(); ++i) {
      if (at_floor[i]) {
        left = left - least[i];
      } else {
        wanted = wanted + shaped[i];
      }
    }
    const double factor = wanted > left ? left / wanted : 1.0;
    bool settled = true;
    for (std::size_t i = 0; i < rates.size(); ++i) {
      if (at_floor[i]) continue;
      rates[i] = shaped[i] * factor;
      if (rates[i] < least[i]) {
        rates[i] = least[i];
        at_floor[i] = true;
        settled = false;
      }
    }
    if (settled) break;
  }
  for (auto& rate : rates) rate = whole_bytes(rate);
  return rates;
}

std::vector<Rate> grant(std::span<const Wish> wishes, Rate available) {
  if (wishes.empty()) return {};
  const Rate each =
      whole_bytes(std::min(kLeastGuarantee, available * (1.0 / static_cast<double>(wishes.size()))));
  std::vector<std::size_t> order(wishes.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(wishes[a].brownout, wishes[a].priority) <
           std::pair(wishes[b].brownout, wishes[b].priority);
  });

  std::vector<Rate> granted(wishes.size(), each);
  Rate left = available - Rate::bps(each.bps() * wishes.size());
  for (const std::size_t i : order) {
    const Rate more = std::min(whole_bytes(std::max(wishes[i].wanted, each)) - each, left);
    granted[i] = whole_bytes(each + more);
    left = left - more;
  }
  return granted;
}

Tree plan(const Policy& policy, std::span<const Rate> shaped, const KernelFacts& facts, const ClassIds& ids) {
  return TreeBuilder(policy, facts, ids).build(shaped);
}

std::vector<ReplannedClass> replan(const Tree& tree, const Policy& policy, std::span<const Rate> shaped,
                                   const KernelFacts& facts) {
  return TreeBuilder(policy, facts, tree.ids).rebuild(tree, shaped);
}

void take_over(const std::vector<ReplannedClass>& changed, Tree& tree) {
  for (const ReplannedClass& one : changed) {
    ClassSpec& spec = tree.classes.at(one.index);
    spec.htb = one.htb;
    if (spec.leaf && one.leaf) spec.leaf->parameters = *one.leaf;
  }
}

void keep_flows(const Observed& standing, Tree& tree) {
  if (!standing.can_become(tree.root)) return;
  for (ClassSpec& spec : tree.classes) {
    if (!spec.leaf) continue;
    const auto cls = standing.classes.find(spec.handle);
    const auto leaf = standing.leaves.find(spec.handle);
    if (cls == standing.classes.end() || leaf == standing.leaves.end()) continue;
    // What stands in a wrong place, or is a stranger's, is made anew.
    const bool stays = cls->second.parent == spec.parent && leaf->second.handle == spec.leaf->handle;
    if (stays && leaf->second.parameters) keep_flows_of(*leaf->second.parameters, *spec.leaf);
  }
}

std::optional<std::string> unsupported_leaf(const Policy& policy, const KernelFacts& facts) {
  if (facts.has_fq_codel) return std::nullopt;
  for (const auto& site : policy.sites) {
    for (const SiteClass& cls : weir::classes_of(policy, site).classes) {
      if (!cls.inner && cls.policy->leaf.kind == LeafKind::fq_codel) return site.name + "/" + cls.name;
    }
  }
  return std::nullopt;
}

}  // namespace weir::shaper
