#include "estimator/site_memory_json.hpp"

#include "estimator/control_constants.hpp"

namespace weir {
namespace {

void require(LineReader& r, bool condition, std::string_view name) {
  if (!condition) r.blame(fmt::format("'{}' is out of range", name));
}
bool within(Duration d, Duration least, Duration most) {
  return d >= least && d <= most;
}

}  // namespace

void write_memory(LineWriter& w, const SiteMemory& memory) {
  w.member("mode", to_string(memory.mode));
  if (const auto& c = memory.capacity) w.array("capacity", c->rate, c->error_ppm, c->age);
  if (const auto& f = memory.loss_floor) w.array("loss_floor", f->ppm, f->age);
  w.member_unless("phi", memory.phi_thousandths, 1000U);
  if (memory.noise != Duration::zero() || memory.noise_deviation != Duration::zero())
    w.array("noise", memory.noise, memory.noise_deviation);
  if (memory.base) w.member("base", *memory.base);
  if (const auto& p = memory.probe) w.array("probe", p->wait, p->due_in);
}

SiteMemory read_memory(LineReader& r, const boost::json::object& from) {
  SiteMemory m;
  r.get(from, "mode", m.mode);
  // Blind is what a site is while nothing can be seen, not what its path is like.
  require(r, m.mode != PathMode::blind, "mode");
  if (const auto* found = from.if_contains("capacity")) {
    auto& c = m.capacity.emplace();
    r.get_all(*found, "capacity", c.rate, c.error_ppm, c.age);
    require(r,
            c.rate > Rate() && c.rate <= SiteMemory::kMostCapacity &&
                c.error_ppm <= SiteMemory::kMostErrorPpm && c.age >= Duration::zero(),
            "capacity");
  }
  if (const auto* found = from.if_contains("loss_floor")) {
    auto& f = m.loss_floor.emplace();
    r.get_all(*found, "loss_floor", f.ppm, f.age);
    require(r, f.ppm > 0 && f.ppm <= SiteMemory::kMostFloorPpm && f.age >= Duration::zero(), "loss_floor");
  }
  r.get_if_there(from, "phi", m.phi_thousandths);
  require(r, m.phi_thousandths >= 1000 && m.phi_thousandths <= SiteMemory::kMostPhi, "phi");
  if (const auto* found = from.if_contains("noise")) {
    r.get_all(*found, "noise", m.noise, m.noise_deviation);
    require(r,
            within(m.noise, Duration::zero(), SiteMemory::kMostNoise) &&
                within(m.noise_deviation, Duration::zero(), SiteMemory::kMostNoise),
            "noise");
  }
  r.get(from, "base", m.base);
  if (m.base) require(r, within(*m.base, Duration(1), SiteMemory::kMostBase), "base");
  if (const auto* found = from.if_contains("probe")) {
    auto& p = m.probe.emplace();
    r.get_all(*found, "probe", p.wait, p.due_in);
    require(r,
            within(p.wait, control::kProbeWaitLeast, SiteMemory::kMostProbeWait) &&
                within(p.due_in, Duration::zero(), SiteMemory::kMostProbeWait),
            "probe");
  }
  return m;
}

}  // namespace weir
