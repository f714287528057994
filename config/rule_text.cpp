#include "config/rule_text.hpp"

#include <cstddef>

#include "config/load.hpp"
#include "config/spelling.hpp"

namespace weir {
namespace {

constexpr std::size_t kShown = 4;

class Line {
 public:
  template <typename Values, typename Spell>
  void field(const char* name, const Values& values, Spell&& spell) {
    if (values.empty()) return;
    if (!text_.empty()) text_ += ", ";
    text_.append(name).append(": ");
    if (values.size() == 1) {
      text_ += spell(values.front());
      return;
    }
    text_ += '[';
    for (std::size_t i = 0; i < values.size() && i < kShown; ++i) {
      if (i > 0) text_ += ", ";
      text_ += spell(values[i]);
    }
    if (values.size() > kShown) text_ += ", ... " + std::to_string(values.size() - kShown) + " more";
    text_ += ']';
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

std::string dscp(std::uint8_t code_point) {
  const auto name = name_of_dscp(code_point);
  return name ? std::string(*name) : std::to_string(code_point);
}

template <typename Range>
std::string range(const Range& r) {
  return r.first == r.last ? std::to_string(r.first) : std::to_string(r.first) + "-" + std::to_string(r.last);
}

}  // namespace

std::string rule_to_string(const MatchRule& rule) {
  const auto prefix = [](const Prefix& p) { return p.to_string(); };
  Line line;
  line.field("dscp", rule.dscp, dscp);
  line.field("source", rule.source, prefix);
  line.field("destination", rule.destination, prefix);
  line.field("protocol", rule.protocol, protocol_to_string);
  line.field("port", rule.port, range<PortRange>);
  line.field("source_port", rule.source_port, range<PortRange>);
  line.field("destination_port", rule.destination_port, range<PortRange>);
  line.field("vlan", rule.vlan, [](const VlanRange& v) { return v.last == 0 ? "untagged" : range(v); });
  line.field("fwmark", rule.fwmark, [](std::uint32_t mark) { return std::to_string(mark); });
  return line.take();
}

}  // namespace weir
