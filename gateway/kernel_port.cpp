#include <system_error>

#include <fmt/format.h>

#include "gateway/port.hpp"

namespace weir::gateway {
namespace {

class KernelPort final : public Port {
 public:
  explicit KernelPort(shaper::PortShaper& shaper) : shaper_(shaper) {}

  std::optional<std::vector<std::optional<Rate>>> adopted_rates(const Policy& policy) override {
    return shaper_.adopted_rates(policy);
  }
  shaper::ApplyReport apply(const Policy& policy, std::span<const Rate> shaped) override {
    return shaper_.apply(policy, shaped);
  }
  shaper::ApplyReport set_rates(std::span<const Rate> shaped) override { return shaper_.set_rates(shaped); }
  std::vector<shaper::SiteCounters> site_counters() override { return shaper_.site_counters(); }
  std::vector<shaper::ClassCounters> class_counters() override { return shaper_.class_counters(); }
  std::optional<shaper::Verdict> explain(const shaper::PacketQuery& query) override {
    return shaper_.explain(query);
  }
  std::optional<shaper::ArrivalCounters> arrivals() override { return shaper_.arrivals(); }
  bool in_place() override { return shaper_.in_place(); }
  shaper::ApplyReport clear() override { return shaper_.clear(); }

 private:
  shaper::PortShaper& shaper_;
};

}  // namespace

std::string describe(const shaper::KernelFault& fault) {
  std::string text = fault.attempt + ": " + std::generic_category().message(fault.error);
  if (!fault.hint.empty()) text += " (" + fault.hint + ")";
  return text;
}

std::string handle_text(shaper::Handle handle) {
  const unsigned minor = handle & 0xffffU;
  return minor == 0 ? fmt::format("{:x}:", handle >> 16U) : fmt::format("{:x}:{:x}", handle >> 16U, minor);
}

std::unique_ptr<Port> kernel_port(shaper::PortShaper& shaper) {
  return std::make_unique<KernelPort>(shaper);
}

}  // namespace weir::gateway
