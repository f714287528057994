#include "config/overloaded.hpp"
#include "shaper/change.hpp"

namespace weir::shaper {
namespace {

std::string bits(Rate rate) {
  return std::to_string(rate.bps()) + "bit";
}

// Operators read "45mbit", or with the digits that matter: "46.104mbit".
std::string readable(Rate rate) {
  struct Unit {
    std::uint64_t size;
    const char* name;
  };
  for (const auto& [size, name] :
       {Unit{1'000'000'000, "gbit"}, Unit{1'000'000, "mbit"}, Unit{1'000, "kbit"}}) {
    if (rate.bps() < size) continue;
    std::string digits = std::to_string(rate.bps() / (size / 1000));
    std::string whole = digits.substr(0, digits.size() - 3);
    std::string part = digits.substr(digits.size() - 3);
    part.erase(part.find_last_not_of('0') + 1);
    if (!part.empty()) whole.append(".").append(part);
    return whole.append(name);
  }
  return std::to_string(rate.bps()) + "bit";
}

std::string rates(const HtbClass& htb) {
  return "guarantee " + readable(htb.rate) + ", ceiling " + readable(htb.ceil);
}

std::string link_layer_words(const HtbClass& htb) {
  std::string words;
  if (htb.overhead != 0) words += " overhead " + std::to_string(htb.overhead);
  if (htb.mpu != 0) words += " mpu " + std::to_string(htb.mpu);
  return words + (htb.link_layer == LinkLayer::Kind::atm ? " linklayer atm" : " linklayer ethernet");
}

std::string leaf_words(const LeafParameters& leaf) {
  return std::visit(
      Overloaded{[](const FqCodel& fq) {
                   return "fq_codel limit " + std::to_string(fq.limit) + " flows " +
                          std::to_string(fq.flows) + " quantum " + std::to_string(fq.quantum) + " target " +
                          std::to_string(fq.target_us) + "us interval " + std::to_string(fq.interval_us) +
                          "us memory_limit " + std::to_string(fq.memory_limit.count()) +
                          (fq.ecn ? " ecn" : " noecn");
                 },
                 [](const ByteFifo& fifo) { return "bfifo limit " + std::to_string(fifo.limit.count()); }},
      leaf);
}

// `tc qdisc change` refuses the number of flows.
std::string leaf_change_words(const LeafParameters& leaf) {
  std::string words = leaf_words(leaf);
  if (const auto* fq = std::get_if<FqCodel>(&leaf)) {
    const std::string flows = " flows " + std::to_string(fq->flows);
    words.erase(words.find(flows), flows.size());
  }
  return words;
}

std::string size_table(const HtbRoot& root) {
  return root.size_overhead == 0 ? ""
                                 : " stab linklayer ethernet overhead " + std::to_string(root.size_overhead);
}

std::string named(Handle handle, const std::string& title) {
  return tc_name(handle) + (title.empty() ? "" : " (" + title + ")");
}

std::string class_title(const SetClass& c) {
  return c.handle == kPortClass ? "the whole port" : c.title;
}

}  // namespace

std::string describe(const Change& change) {
  return std::visit(
      Overloaded{
          [](const SetRoot& c) {
            if (c.how == SetRoot::How::modify) return "change the size table of root htb " + tc_name(kRoot);
            return "make root htb " + tc_name(kRoot) +
                   (c.how == SetRoot::How::replace ? " in place of " + c.instead_of : "");
          },
          [](const RemoveRoot&) { return "remove root htb " + tc_name(kRoot) + " with all its classes"; },
          [](const SetClass& c) {
            const char* verb = c.create                            ? "create"
                               : c.was && c.htb.rate < c.was->rate ? "lower"
                               : c.was && c.htb.rate > c.was->rate ? "raise"
                                                                   : "change";
            std::string text =
                std::string(verb) + " class " + named(c.handle, class_title(c)) + ": " + rates(c.htb);
            if (c.was) text += " (was " + rates(*c.was) + ")";
            return text;
          },
          [](const RemoveClass& c) { return "remove class " + tc_name(c.handle); },
          [](const SetLeaf& c) {
            return std::string(c.create ? "create" : "change") + " leaf of class " +
                   named(c.leaf.parent, c.title) + ": " + leaf_words(c.leaf.parameters);
          },
          [](const RemoveLeaf& c) {
            return "remove the queue " + tc_name(c.handle) + " of class " + tc_name(c.parent);
          }},
      change);
}

std::string tc_command(const Change& change, const std::string& interface) {
  const std::string on = " dev " + interface;
  return std::visit(
      Overloaded{[&](const SetRoot& c) {
                   const std::string at = on + " root handle " + tc_name(kRoot) + size_table(c.root);
                   if (c.how == SetRoot::How::modify) return "tc qdisc change" + at + " htb";
                   return std::string(c.how == SetRoot::How::add ? "tc qdisc add" : "tc qdisc replace") + at +
                          " htb default " + std::to_string(c.root.default_class);
                 },
                 [&](const RemoveRoot&) { return "tc qdisc del" + on + " root handle " + tc_name(kRoot); },
                 [&](const SetClass& c) {
                   return std::string(c.create ? "tc class add" : "tc class change") + on + " parent " +
                          tc_name(c.parent) + " classid " + tc_name(c.handle) + " htb rate " +
                          bits(c.htb.rate) + " ceil " + bits(c.htb.ceil) + " burst " +
                          std::to_string(burst_for(c.htb.burst, c.htb.rate).count()) + "b cburst " +
                          std::to_string(burst_for(c.htb.cburst, c.htb.ceil).count()) + "b quantum " +
                          std::to_string(c.htb.quantum) + " prio " + std::to_string(c.htb.priority) +
                          link_layer_words(c.htb);
                 },
                 [&](const RemoveClass& c) { return "tc class del" + on + " classid " + tc_name(c.handle); },
                 [&](const SetLeaf& c) {
                   return std::string(c.create ? "tc qdisc add" : "tc qdisc change") + on + " parent " +
                          tc_name(c.leaf.parent) + " handle " + tc_name(c.leaf.handle) + " " +
                          (c.create ? leaf_words(c.leaf.parameters) : leaf_change_words(c.leaf.parameters));
                 },
                 [&](const RemoveLeaf& c) {
                   return "tc qdisc del" + on + " parent " + tc_name(c.parent) + " handle " +
                          tc_name(c.handle);
                 }},
      change);
}

}  // namespace weir::shaper
