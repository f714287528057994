/// From one thread to another without either ever waiting for the other: bounded, the oldest gives way.
#pragma once

#include <cstdint>
#include <deque>
#include <iterator>
#include <mutex>
#include <utility>
#include <vector>

namespace weir::gateway {

template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  struct Taken {
    std::vector<T> items;       ///< oldest first
    std::uint64_t dropped = 0;  ///< thrown away since the last take_all
  };

  /// True: the consumer has not been woken since it last took everything, so wake it.
  [[nodiscard]] bool push(T item) {
    const std::lock_guard lock(mutex_);
    if (items_.size() == capacity_) {
      items_.pop_front();
      ++dropped_;
    }
    items_.push_back(std::move(item));
    return !std::exchange(woken_, true);
  }

  [[nodiscard]] Taken take_all() {
    const std::lock_guard lock(mutex_);
    woken_ = false;
    Taken taken{.items = {std::make_move_iterator(items_.begin()), std::make_move_iterator(items_.end())},
                .dropped = std::exchange(dropped_, 0)};
    items_.clear();
    return taken;
  }

 private:
  std::mutex mutex_;
  std::size_t capacity_;
  std::deque<T> items_;
  std::uint64_t dropped_ = 0;
  bool woken_ = false;
};

}  // namespace weir::gateway
