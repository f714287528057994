/// The packet classifier of one WAN port: a BPF program at clsact egress that gives each packet its HTB
/// class.
///
/// Holds descriptors only: what is in the kernel outlives it, and the next one with the same arguments finds
/// it. Needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON and a BPF file system. Not thread-safe; calls block for
/// the kernel's time (a load: some milliseconds, tens of them with 100 000 subnets). Errors:
/// std::system_error naming the attempt. How it works and what goes where: docs/CLASSIFIER.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/policy.hpp"
#include "config/units.hpp"
#include "shaper/arrivals.hpp"
#include "shaper/class_ids.hpp"
#include "shaper/packet_query.hpp"

namespace weir::shaper {

class Classifier {
 public:
  /// Finds what is pinned under `bpf_dir` for this interface of the current network namespace, or nothing.
  Classifier(std::string interface, const std::filesystem::path& bpf_dir);
  ~Classifier();
  Classifier(Classifier&&) noexcept;
  Classifier& operator=(Classifier&&) noexcept;

  /// Makes the port's filter hold this policy. The number of writes that took: 0 when it already did. Every
  /// packet is classified by the old policy or by the new one, none by a mixture. On an error the old one
  /// goes on serving.
  std::size_t load(const Policy& policy, const ClassIds& ids);
  /// Our filter is on the port and runs the program that this object holds.
  [[nodiscard]] bool attached() const;
  /// Removes our filter, our pins, and clsact if we made it and nothing else is on it. The number of things
  /// removed.
  std::size_t remove();
  /// What load would do, for people; empty when that is nothing. `as_tc`: as tc commands, as far as tc can.
  /// Writes nothing.
  [[nodiscard]] std::vector<std::string> plan(const Policy& policy, const ClassIds& ids, bool as_tc) const;

  /// What would become of this Ethernet frame, from the loaded program itself. nullopt: nothing is loaded, or
  /// no frame is that short.
  [[nodiscard]] std::optional<ClassifierAnswer> ask(std::span<const std::byte> frame,
                                                    std::uint32_t fwmark = 0) const;

  /// Since `policy`, which is the one last loaded, was: another one counts from zero. nullopt: nothing is
  /// loaded, or another policy.
  [[nodiscard]] std::optional<ArrivalCounters> arrivals(const Policy& policy) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::shaper
