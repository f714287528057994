/// For std::visit: one lambda for each alternative of a variant.
#pragma once

namespace weir {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;  // clang before 17 deduces no aggregate

}  // namespace weir
