/// Memory straight from the kernel: it goes back there when it is freed, whatever was allocated since.
///
/// Owned by a unique_ptr; std::bad_alloc when there is none. From kHugePage on it is aligned to that and asks
/// for transparent huge pages (Documentation/admin-guide/mm/transhuge.rst): a table of a million connections
/// is looked up all over, and each look-up would walk the page table otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include <sys/mman.h>

namespace weir {

inline constexpr std::size_t kHugePage = std::size_t{2} << 20U;

struct UnmapPages {
  std::size_t bytes = 0;
  void operator()(std::byte* pages) const { ::munmap(pages, bytes); }
};
using MappedPages = std::unique_ptr<std::byte[], UnmapPages>;

/// Zeros.
[[nodiscard]] inline MappedPages map_pages(std::size_t bytes) {
  const bool huge = bytes >= kHugePage;
  const std::size_t more = huge ? kHugePage : 0;
  void* const got = ::mmap(nullptr, bytes + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) throw std::bad_alloc();
  auto* const begin = static_cast<std::byte*>(got);
  if (!huge) return MappedPages(begin, UnmapPages{bytes});
  const std::size_t in_front = (kHugePage - reinterpret_cast<std::uintptr_t>(begin) % kHugePage) % kHugePage;
  if (in_front > 0) ::munmap(begin, in_front);
  if (in_front < more) ::munmap(begin + in_front + bytes, more - in_front);
  ::madvise(begin + in_front, bytes, MADV_HUGEPAGE);  // a wish: it works without
  return MappedPages(begin + in_front, UnmapPages{bytes});
}

}  // namespace weir
