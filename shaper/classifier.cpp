#include "shaper/classifier.hpp"

#include <cerrno>
#include <system_error>

#include <fmt/format.h>

#include "shaper/classifier_pins.hpp"
#include "shaper/classifier_port.hpp"
#include "shaper/classifier_program.hpp"
#include "shaper/classifier_tables.hpp"

namespace weir::shaper {
namespace {

/// A new build of the program is a change as much as a new policy is.
std::uint64_t content_of(const ClassifierTables& tables) {
  static const std::uint64_t program = content_hash(embedded_classifier_object(), 0);
  return content_hash(tables, program);
}

Arrivals arrivals_of(const weir_arrivals& counted) {
  return {.packets = counted.packets, .bytes = Bytes(counted.bytes)};
}

/// clsact is missing and may be made. Throws when another qdisc has its place.
bool lacks_clsact(const ClassifierPort& port) {
  const auto kind = port.hook_qdisc();
  if (!kind.empty() && kind != "clsact")
    fail_classifier(EEXIST, "use clsact on " + port.name() + ", where qdisc '" + kind + "' has its place");
  return kind.empty();
}

std::size_t subnets_of(const Policy& policy) {
  std::size_t sum = 0;
  for (const SitePolicy& site : policy.sites) sum += site.subnets.size();
  return sum;
}

std::size_t rules_of(const ClassifierTables& tables) {
  return tables.rule_verdicts.size();
}

}  // namespace

struct Classifier::Impl {
  Impl(std::string name, const std::filesystem::path& bpf_dir)
      : interface(std::move(name)), pins(bpf_dir, interface), held(pins.find()) {}

  /// What is held was made for the interface that has this name now.
  [[nodiscard]] bool holds(const ClassifierPort& port) const {
    return held && held->about.port_index == port.index();
  }
  [[nodiscard]] bool holds(const ClassifierPort& port, std::uint64_t content) const {
    return holds(port) && held->about.content == content;
  }
  [[nodiscard]] bool runs_on(const std::optional<SeenFilter>& filter) const {
    return filter && filter->program_id == held->about.program_id;
  }

  /// The filter runs `objects` from here on. Whether clsact is ours is noted, in the pinned map, before it is
  /// made: a crash in between must not leave a qdisc that nobody owns up to.
  static std::size_t put_in_force(const ClassifierPort& port, PinnedClassifier& objects) {
    std::size_t writes = 1;
    if (!port.our_filter() && lacks_clsact(port)) {
      objects.about.made_clsact = 1;
      objects.write_about();
      if (!port.create_clsact()) {
        objects.about.made_clsact = 0;
        objects.write_about();
      }
      writes += 2;
    }
    port.attach(objects.program);
    return writes;
  }

  std::size_t install(const ClassifierPort& port, const ClassifierTables& tables, std::uint64_t content) {
    auto program = load_program(tables, port.index());
    const auto program_writes = program.writes;
    auto next = ClassifierPins::describe(std::move(program),
                                         {.content = content,
                                          .namespace_cookie = network_namespace_cookie(),
                                          .port_index = port.index(),
                                          .made_clsact = holds(port) ? held->about.made_clsact : 0});
    constexpr std::size_t kPinWrites = 4;  // the note and three names
    // Names first, filter last: whoever starts after a crash in between finds the new program and need only
    // attach it.
    try {
      pins.pin(next);
      const auto writes = put_in_force(port, next);
      held = std::move(next);
      return program_writes + kPinWrites + writes;
    } catch (...) {
      restore_names();
      throw;
    }
  }

  void restore_names() const {
    try {
      if (held) {
        pins.pin(*held);
      } else {
        pins.unpin();
      }
    } catch (const std::system_error&) {
      // The first failure is the one to report; names that do not fit the filter are mended by the next load.
    }
  }

  std::string interface;
  ClassifierPins pins;
  std::optional<PinnedClassifier> held;
};

Classifier::Classifier(std::string interface, const std::filesystem::path& bpf_dir)
    : impl_(std::make_unique<Impl>(std::move(interface), bpf_dir)) {}
Classifier::~Classifier() = default;
Classifier::Classifier(Classifier&&) noexcept = default;
Classifier& Classifier::operator=(Classifier&&) noexcept = default;

std::size_t Classifier::load(const Policy& policy, const ClassIds& ids) {
  const auto tables = build_tables(policy, ids);
  const auto content = content_of(tables);
  const ClassifierPort port(impl_->interface);
  port.refuse_foreign_filter_in_our_place();
  const auto filter = port.our_filter();
  if (!impl_->holds(port, content)) return impl_->install(port, tables, content);
  if (impl_->runs_on(filter)) return 0;
  return Impl::put_in_force(port, *impl_->held);
}

bool Classifier::attached() const {
  const auto port = ClassifierPort::find(impl_->interface);
  if (!port || !impl_->holds(*port)) return false;
  for (const auto& filter : port->egress_filters())
    if (filter.priority == kFilterPriority && filter.handle == kFilterHandle) return impl_->runs_on(filter);
  return false;
}

std::size_t Classifier::remove() {
  std::size_t removed = 0;
  if (const auto port = ClassifierPort::find(impl_->interface)) {
    if (port->our_filter()) {
      port->detach();
      ++removed;
    }
    const bool ours = impl_->holds(*port) && impl_->held->about.made_clsact != 0;
    if (ours && port->hook_qdisc() == "clsact" && port->egress_filters().empty() &&
        port->ingress_filters().empty()) {
      port->delete_clsact();
      ++removed;
    }
  }
  if (impl_->held) removed += impl_->pins.unpin();
  impl_->held.reset();
  return removed;
}

std::vector<std::string> Classifier::plan(const Policy& policy, const ClassIds& ids, bool as_tc) const {
  const auto tables = build_tables(policy, ids);
  const ClassifierPort port(impl_->interface);
  port.refuse_foreign_filter_in_our_place();
  const auto filter = port.our_filter();
  const bool loaded = impl_->holds(port, content_of(tables));
  if (loaded && impl_->runs_on(filter)) return {};
  std::vector<std::string> steps;
  const auto path = impl_->pins.program_path().string();
  if (!loaded)
    steps.push_back(fmt::format("{}load classifier {}: {} sites, {} subnets, {} rules", as_tc ? "# " : "",
                                path, tables.sites.size(), subnets_of(policy), rules_of(tables)));
  if (!filter && lacks_clsact(port))
    steps.push_back(as_tc ? fmt::format("tc qdisc add dev {} clsact", port.name())
                          : fmt::format("create clsact on {}", port.name()));
  steps.push_back(
      as_tc ? fmt::format("tc filter replace dev {} egress protocol all pref {} handle {:#x} bpf "
                          "direct-action object-pinned {}",
                          port.name(), kFilterPriority, kFilterHandle, path)
            : fmt::format("{} the classifier at egress of {}", filter ? "replace" : "attach", port.name()));
  return steps;
}

std::optional<ClassifierAnswer> Classifier::ask(std::span<const std::byte> frame,
                                                std::uint32_t fwmark) const {
  if (!impl_->held) return std::nullopt;
  const auto run = try_frame(impl_->held->program, frame, 1, fwmark);
  if (!run) return std::nullopt;
  return ClassifierAnswer{.handle = run->handle, .slot = run->slot};
}

std::optional<ArrivalCounters> Classifier::arrivals(const Policy& policy) const {
  if (!impl_->held) return std::nullopt;
  const auto counted = read_arrivals(impl_->held->arrivals);
  const auto slots = arrival_slots(policy);
  if (counted.size() != slots.back()) return std::nullopt;
  ArrivalCounters counters{.elsewhere = arrivals_of(counted.at(WEIR_ARRIVALS_ELSEWHERE)),
                           .control = arrivals_of(counted.at(WEIR_ARRIVALS_CONTROL)),
                           .sites = {}};
  for (std::size_t s = 0; s + 1 < slots.size(); ++s) {
    SiteArrivals site{.otherwise = arrivals_of(counted[slots[s]]), .rules = {}};
    for (std::size_t at = slots[s] + 1; at < slots[s + 1]; ++at)
      site.rules.push_back(arrivals_of(counted[at]));
    counters.sites.push_back(std::move(site));
  }
  return counters;
}

}  // namespace weir::shaper
