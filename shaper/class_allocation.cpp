#include "shaper/class_allocation.hpp"

#include <stdexcept>
#include <vector>

#include "config/site_classes.hpp"

namespace weir::shaper {
namespace {

constexpr std::uint32_t kFirstMinor = 0x10;  // below: the port and the built-in classes
// A leaf's handle has its class's minor as major: leave out those that mean something else (our own root, the
// automatic handles of other people's qdiscs are avoided by the kernel itself) and the ingress block at the
// end.
constexpr std::uint32_t kLastMinor = 0xffef;

class Minors {
 public:
  Minors() : taken_(0x10000, false) {
    for (std::uint32_t m = 0; m < kFirstMinor; ++m) taken_[m] = true;
    for (std::uint32_t m = kLastMinor + 1; m <= 0xffff; ++m) taken_[m] = true;
    taken_[kMajor] = true;
  }
  [[nodiscard]] bool is_free(std::uint32_t minor) const { return !taken_[minor & 0xffffU]; }
  void take(std::uint32_t minor) { taken_[minor & 0xffffU] = true; }

  /// The first free minor at `from`, `from` + `step`, ...; else the lowest that is free.
  std::uint32_t take_free(std::uint32_t from, std::uint32_t step = 1) {
    for (std::uint32_t m = from; m <= kLastMinor; m += step) {
      if (is_free(m)) return take(m), m;
    }
    while (lowest_ <= kLastMinor && !is_free(lowest_)) ++lowest_;
    if (lowest_ <= kLastMinor) return take(lowest_), lowest_;
    throw std::length_error("more classes than one port can hold (65 500)");
  }

 private:
  std::vector<bool> taken_;
  std::uint32_t lowest_ = kFirstMinor;  // nothing below it is free: minors are never given back
};

// A handle read from a file may be anything: only ones that we could have given count.
bool plausible(Handle handle) {
  const std::uint32_t minor = handle & 0xffffU;
  return handle >> 16U == kMajor && minor >= kFirstMinor && minor <= kLastMinor && minor != kMajor;
}

/// HTB can neither move a class nor give one that holds packets classes of its own without losing them. So a
/// class that stands in another class than before, or has become an inner one, is another class, with another
/// handle: the old one is retired when nothing is left in it.
std::string remembered_as(const std::vector<SiteClass>& classes, std::size_t c) {
  const SiteClass& one = classes[c];
  return (one.parent ? remembered_as(classes, *one.parent) : "") + one.name + (one.inner ? "/" : "");
}

constexpr std::uint32_t next_round(std::uint32_t minor) {
  return (minor + 0x10U) & ~0xfU;
}

}  // namespace

ClassIds allocate_handles(const Policy& policy, const KnownHandles& known) {
  Minors minors;
  KnownHandles kept;
  for (const auto& [name, handle] : known) {
    if (!plausible(handle) || !minors.is_free(handle)) continue;  // a damaged file: two names with one handle
    minors.take(handle & 0xffffU);
    kept.emplace(name, handle);
  }
  const auto kept_minor = [&](const std::string& site, const std::string& name) -> std::uint32_t {
    const auto it = kept.find({site, name});
    return it == kept.end() ? 0 : it->second & 0xffffU;
  };

  ClassIds ids;
  std::uint32_t cursor = kFirstMinor;  // sites start at multiples of 0x10 so that tc's output is easy to read
  for (const auto& site : policy.sites) {
    std::uint32_t minor = kept_minor(site.name, "");
    if (minor == 0) minor = minors.take_free(cursor, 0x10);
    ids.site.push_back(make_handle(kMajor, static_cast<std::uint16_t>(minor)));
    auto& leaves = ids.classes.emplace_back();
    std::uint32_t last = minor;
    const auto classes = weir::classes_of(policy, site).classes;
    for (std::size_t c = 0; c < classes.size(); ++c) {
      std::uint32_t leaf = kept_minor(site.name, remembered_as(classes, c));
      if (leaf == 0) leaf = minors.take_free(last + 1);
      leaves.push_back(make_handle(kMajor, static_cast<std::uint16_t>(leaf)));
      last = leaf;
    }
    cursor = next_round(last);
  }
  return ids;
}

KnownHandles names_of(const Policy& policy, const ClassIds& ids) {
  KnownHandles known;
  for (std::size_t s = 0; s < policy.sites.size(); ++s) {
    const auto& site = policy.sites[s];
    known.emplace(std::pair{site.name, std::string()}, ids.site[s]);
    const auto classes = weir::classes_of(policy, site).classes;
    for (std::size_t c = 0; c < classes.size(); ++c) {
      known.emplace(std::pair{site.name, remembered_as(classes, c)}, ids.classes[s][c]);
    }
  }
  return known;
}

}  // namespace weir::shaper
