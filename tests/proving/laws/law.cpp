#include "proving/laws/law.hpp"

#include <array>
#include <stdexcept>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "proving/laws/bundler.hpp"
#include "proving/laws/cake_autorate.hpp"
#include "proving/laws/cake_ingress.hpp"
#include "proving/laws/no_shaper.hpp"
#include "proving/laws/oracle.hpp"
#include "proving/laws/static_rate.hpp"
#include "proving/laws/stormguard.hpp"
#include "proving/laws/weir_law.hpp"

namespace weir::proving {
namespace {

using Made = std::unique_ptr<Law>;

struct Entry {
  std::string_view name;
  Made (*make)(const LawSettings&, TimePoint);
};

constexpr std::array kLaws{
    Entry{"weir",
          [](const LawSettings& s, TimePoint now) -> Made { return std::make_unique<WeirLaw>(s, now); }},
    Entry{"weir-apart",
          [](const LawSettings& s, TimePoint now) -> Made { return std::make_unique<WeirLaw>(s, now); }},
    Entry{
        "weir-inbound",
        [](const LawSettings& s, TimePoint now) -> Made { return std::make_unique<WeirInboundLaw>(s, now); }},
    Entry{"none", [](const LawSettings&, TimePoint) -> Made { return std::make_unique<NoShaper>(); }},
    Entry{"static", [](const LawSettings& s, TimePoint) -> Made { return std::make_unique<StaticRate>(s); }},
    Entry{"oracle", [](const LawSettings&, TimePoint) -> Made { return std::make_unique<Oracle>(); }},
    Entry{"stormguard",
          [](const LawSettings& s, TimePoint now) -> Made {
            return std::make_unique<Stormguard>(0.5 * s.ceiling, s, now);
          }},
    Entry{"stormguard-tuned",
          [](const LawSettings& s, TimePoint now) -> Made {
            return std::make_unique<Stormguard>(s.floor, s, now);
          }},
    Entry{"bundler",
          [](const LawSettings& s, TimePoint now) -> Made {
            return std::make_unique<Bundler>(Bundler::Capacity::told, s, now);
          }},
    Entry{"bundler-estimated",
          [](const LawSettings& s, TimePoint now) -> Made {
            return std::make_unique<Bundler>(Bundler::Capacity::estimated, s, now);
          }},
    Entry{"cake-ingress",
          [](const LawSettings& s, TimePoint now) -> Made { return std::make_unique<CakeIngress>(s, now); }},
    Entry{"cake-autorate",
          [](const LawSettings& s, TimePoint now) -> Made {
            return std::make_unique<CakeAutorate>(CakeAutorate::kShipped, s, now);
          }},
    Entry{"cake-autorate-tuned",
          [](const LawSettings& s, TimePoint now) -> Made {
            return std::make_unique<CakeAutorate>(CakeAutorate::kTuned, s, now);
          }},
};

}  // namespace

const std::vector<std::string>& law_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Entry& entry : kLaws) all.emplace_back(entry.name);
    return all;
  }();
  return names;
}

std::unique_ptr<Law> make_law(std::string_view name, const LawSettings& settings, TimePoint now) {
  for (const Entry& entry : kLaws) {
    if (entry.name == name) return entry.make(settings, now);
  }
  throw std::invalid_argument(
      fmt::format("no control law is called \"{}\"; known: {}", name, fmt::join(law_names(), ", ")));
}

}  // namespace weir::proving
