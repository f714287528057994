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

/// Begins at a multiple of kHugePage when there is that much of it.
[[nodiscard]] inline MappedPages map_with(int protection, int flags, std::size_t bytes) {
  const std::size_t more = bytes >= kHugePage ? kHugePage : 0;
  void* const got = ::mmap(nullptr, bytes + more, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (got == MAP_FAILED) throw std::bad_alloc();
  auto* const begin = static_cast<std::byte*>(got);
  const std::size_t in_front =
      more > 0 ? (kHugePage - reinterpret_cast<std::uintptr_t>(begin) % kHugePage) % kHugePage : 0;
  if (in_front > 0) ::munmap(begin, in_front);
  if (in_front < more) ::munmap(begin + in_front + bytes, more - in_front);
  return MappedPages(begin + in_front, UnmapPages{bytes});
}

inline void wish_for_huge_pages(std::byte* pages, std::size_t bytes) {
  if (bytes >= kHugePage) ::madvise(pages, bytes, MADV_HUGEPAGE);  // it works without
}

/// Zeros.
[[nodiscard]] inline MappedPages map_pages(std::size_t bytes) {
  MappedPages pages = map_with(PROT_READ | PROT_WRITE, 0, bytes);
  wish_for_huge_pages(pages.get(), bytes);
  return pages;
}

/// Addresses without memory: to be opened part by part, in whole pages.
[[nodiscard]] inline MappedPages reserve_pages(std::size_t bytes) {
  return map_with(PROT_NONE, MAP_NORESERVE, bytes);
}
/// Zeros, of reserved pages.
inline void open_pages(std::byte* part, std::size_t bytes) {
  if (::mprotect(part, bytes, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  wish_for_huge_pages(part, bytes);
}
/// Gives the memory back, but not the addresses: who writes there again finds zeros.
inline void empty_pages(std::byte* part, std::size_t bytes) {
  ::madvise(part, bytes, MADV_DONTNEED);
}

}  // namespace weir
