/// From what the kernel shows to what it should show: ordered changes. Pure.
///
/// The order holds the guarantee invariant at every instant (the children's rates never exceed the parent's):
///
///     clear the way -> lower (children before parents) -> raise and create (parents before children) ->
///     leaves
///          ... the classifier is switched, the retired classes' queues run empty ...
///     -> remove the retired classes (children before parents)
#pragma once

#include <span>
#include <vector>

#include "shaper/change.hpp"

namespace weir::shaper {

/// Changes that may go to the kernel together; the next stage only after all of these are known to have
/// worked.
using Stage = std::vector<Change>;

struct ChangePlan {
  std::vector<Stage> stages;    ///< before the classifier is switched
  std::vector<Handle> retired;  ///< leaf classes that nobody wants any more: wait until they are empty
  std::vector<Stage> removal;   ///< then remove them and the inner classes above

  [[nodiscard]] bool empty() const { return stages.empty() && removal.empty(); }
  [[nodiscard]] std::size_t count() const;
};

/// `observed` must not be a foreign root unless it is to be replaced. Empty when the kernel is already so.
/// `desired` has been through keep_flows(): a queue with another number of flows is made anew.
[[nodiscard]] ChangePlan diff(Observed observed, const Tree& desired);

/// The classes that carrying out `changes` can have altered, those named and their parents, in order.
[[nodiscard]] std::vector<Handle> touched_by(const ChangePlan& changes);

/// `tree` with these of its classes alone (`handles` in order), for diff() against a reading of the same.
[[nodiscard]] Tree part_of(const Tree& tree, std::span<const Handle> handles);

/// diff() where nothing but rates differ (replan): one batch, found without looking at the kernel. The
/// indices are those of `before`.
[[nodiscard]] Stage rate_changes(const Tree& before, std::span<const ReplannedClass> changed);

}  // namespace weir::shaper
