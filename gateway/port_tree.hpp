/// One port's queue tree as the daemon keeps it: put in force, looked at, mended, counted.
///
/// Decides nothing: what is wanted comes with each call. Not thread-safe. No call throws for what the kernel
/// does; what it refuses is told as an event and stands in the status.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gateway/clock.hpp"
#include "gateway/event_log.hpp"
#include "gateway/meter.hpp"
#include "gateway/port.hpp"
#include "gateway/status.hpp"

namespace weir::gateway {

class PortTree {
 public:
  /// `port` and `events` must outlive it.
  PortTree(Port& port, EventLog& events) : port_(port), events_(events) {}

  /// Makes the tree hold this. On a fault a part of it may stand: restore() what did.
  [[nodiscard]] shaper::ApplyReport apply(const Policy& policy, std::span<const Rate> rates,
                                          const Instant& now);
  /// Writes the tree anew. True: it holds this.
  bool restore(const Policy& policy, std::span<const Rate> rates, const Instant& now);
  /// Looks whether the tree stands, and restores it where it does not. True: it was written anew.
  /// `suspicion`: why it may not, for people.
  bool look(const Policy& policy, std::span<const Rate> rates, const std::string& suspicion,
            const Instant& now);
  /// The same where it has not been looked at for a while, or `troubled`; and reads the classes.
  bool every_second(const Policy& policy, std::span<const Rate> rates, bool troubled, const Instant& now);
  /// Takes the tree away.
  [[nodiscard]] shaper::ApplyReport clear();

  [[nodiscard]] const ShaperStatus& status() const { return status_; }
  [[nodiscard]] const std::vector<ClassStatus>& classes() const { return classes_; }

 private:
  void tell_restored(const Policy& policy, const std::string& how, const Instant& now);
  /// Says it once, loudly, when plain FIFOs had to take fq_codel's place.
  void note_leaves(const Policy& policy, bool fifo, const Instant& now);
  [[nodiscard]] shaper::ApplyReport try_to_apply(const Policy& policy, std::span<const Rate> rates);
  void read_classes(TimePoint now);

  Port& port_;
  EventLog& events_;
  ShaperStatus status_;
  bool ever_applied_ = false;
  std::vector<ClassStatus> classes_;
  std::map<std::uint32_t, RateMeter> class_meters_;
  std::optional<TimePoint> classes_read_;
  std::optional<TimePoint> place_checked_;
};

}  // namespace weir::gateway
