#include "shaper/port_shaper.hpp"

#include <system_error>
#include <utility>

#include <net/if.h>

#include "shaper/classifier.hpp"
#include "shaper/netlink_kernel.hpp"
#include "shaper/reconciler.hpp"
#include "shaper/state_file.hpp"

namespace weir::shaper {
namespace {

// The name becomes part of paths: only what the kernel takes for an interface (net/core/dev.c,
// dev_valid_name).
const std::string& checked_name(const std::string& interface) {
  const bool usable = !interface.empty() && interface.size() < IFNAMSIZ && interface != "." &&
                      interface != ".." && interface.find_first_of("/: \t\n\v\f\r") == std::string::npos;
  if (!usable)
    throw std::system_error(EINVAL, std::generic_category(), "take \"" + interface + "\" for an interface");
  return interface;
}

class BpfClassifier final : public TrafficClassifier {
 public:
  BpfClassifier(std::string interface, std::filesystem::path bpf_dir)
      : interface_(std::move(interface)), bpf_dir_(std::move(bpf_dir)) {}

  std::size_t load(const Policy& policy, const ClassIds& ids) override {
    return classifier().load(policy, ids);
  }
  bool attached() override { return classifier().attached(); }
  std::size_t remove() override { return classifier().remove(); }
  std::vector<std::string> plan(const Policy& policy, const ClassIds& ids, bool as_tc) override {
    return classifier().plan(policy, ids, as_tc);
  }
  std::optional<ClassifierAnswer> ask(std::span<const std::byte> frame, std::uint32_t fwmark) override {
    return classifier().ask(frame, fwmark);
  }
  std::optional<ArrivalCounters> arrivals(const Policy& policy) override {
    return classifier().arrivals(policy);
  }

 private:
  // Opened on first use: a PortShaper may be made before its interface is there.
  Classifier& classifier() {
    if (!classifier_) classifier_.emplace(interface_, bpf_dir_);
    return *classifier_;
  }

  std::string interface_;
  std::filesystem::path bpf_dir_;
  std::optional<Classifier> classifier_;
};

}  // namespace

struct PortShaper::Impl {
  Impl(const std::string& interface, const Options& options)
      : store(options.state_dir / (checked_name(interface) + ".json")),
        classifier(interface, options.bpf_dir),
        reconciler(interface, options.replace_foreign, kernel, classifier, store) {
    if (!options.look_only) lock.emplace(options.state_dir / (interface + ".lock"));
  }

  std::optional<PortLock> lock;
  NetlinkKernel kernel;
  StateFile store;
  BpfClassifier classifier;
  Reconciler reconciler;
};

PortShaper::PortShaper(const std::string& interface, const Options& options)
    : impl_(std::make_unique<Impl>(interface, options)) {}
PortShaper::~PortShaper() = default;
PortShaper::PortShaper(PortShaper&&) noexcept = default;
PortShaper& PortShaper::operator=(PortShaper&&) noexcept = default;

std::optional<std::vector<std::optional<Rate>>> PortShaper::adopted_rates(const Policy& policy) {
  return impl_->reconciler.adopted_rates(policy);
}
ApplyReport PortShaper::apply(const Policy& policy, std::span<const Rate> shaped) {
  return impl_->reconciler.apply(policy, shaped);
}
std::vector<std::string> PortShaper::plan(const Policy& policy, std::span<const Rate> shaped, bool as_tc) {
  return impl_->reconciler.plan(policy, shaped, as_tc);
}
PortShaper::Size PortShaper::size(const Policy& policy, std::span<const Rate> shaped) {
  return impl_->reconciler.size(policy, shaped);
}
ApplyReport PortShaper::set_rates(std::span<const Rate> shaped) {
  return impl_->reconciler.set_rates(shaped);
}
ApplyReport PortShaper::clear() {
  return impl_->reconciler.clear();
}
std::vector<SiteCounters> PortShaper::site_counters() {
  return impl_->reconciler.site_counters();
}
std::vector<ClassCounters> PortShaper::class_counters() {
  return impl_->reconciler.class_counters();
}
std::optional<Verdict> PortShaper::explain(const PacketQuery& query) {
  return impl_->reconciler.explain(query);
}
std::optional<ArrivalCounters> PortShaper::arrivals() {
  return impl_->reconciler.arrivals();
}
bool PortShaper::in_place() {
  return impl_->reconciler.in_place();
}
std::uint32_t PortShaper::netlink_port() const {
  return impl_->kernel.port_id();
}

}  // namespace weir::shaper
