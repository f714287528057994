#include "shaper/classifier_program.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/mman.h>

// The object file as built, in this binary's read-only data: nothing to find, lose or mix up at run time.
asm(R"(
  .pushsection .rodata
  .balign 8
  .global weir_classifier_object_begin
  .global weir_classifier_object_end
weir_classifier_object_begin:
  .incbin ")" WEIR_CLASSIFIER_OBJECT R"("
weir_classifier_object_end:
  .popsection
)");
extern "C" {
extern const std::byte weir_classifier_object_begin[];
extern const std::byte weir_classifier_object_end[];
}

namespace weir::shaper {
namespace {

struct ObjectCloser {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, ObjectCloser>;

/// An opened object whose maps are sized, loaded and filled, in this order.
class Loader {
 public:
  Loader(const ClassifierTables& tables, unsigned port_index) : tables_(tables), object_(open()) {
    size_maps();
    set_constants(port_index);
  }

  ClassifierProgram load() {
    if (const int error = bpf_object__load(object_.get()); error != 0)
      fail_classifier(-error, LibbpfLog::with_tail("load the classifier program"));
    fill();
    ++writes_;
    const auto* program = bpf_object__find_program_by_name(object_.get(), kProgramName);
    return {.program = duplicate(bpf_program__fd(program)),
            .arrivals = duplicate(bpf_map__fd(map("arrivals"))),
            .writes = writes_};
  }

 private:
  static Object open() {
    const auto bytes = embedded_classifier_object();
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "weir");
    Object object(bpf_object__open_mem(bytes.data(), bytes.size(), &options));
    if (!object) fail_classifier(errno, LibbpfLog::with_tail("open the built-in classifier program"));
    return object;
  }

  static Descriptor duplicate(int fd) {
    Descriptor copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy) fail_classifier(errno, "keep a descriptor of the classifier program");
    return copy;
  }

  [[nodiscard]] bpf_map* map(const char* name) const {
    auto* found = bpf_object__find_map_by_name(object_.get(), name);
    if (found == nullptr)
      fail_classifier(ENOENT, std::string("find table ") + name + " in the built-in classifier program");
    return found;
  }

  void size(const char* name, std::size_t entries, std::size_t value_size) {
    const auto count = static_cast<std::uint32_t>(std::max<std::size_t>(entries, 1));
    if (const int error = bpf_map__set_max_entries(map(name), count); error != 0)
      fail_classifier(-error, std::string("size classifier table ") + name);
    // Beyond the kernel's largest block of memory a table lies in pages, which can be written to as they are;
    // a smaller one is better off in the block.
    constexpr std::size_t kLargestBlock = 32'768;
    if (bpf_map__type(map(name)) != BPF_MAP_TYPE_ARRAY || count * stride_of(value_size) <= kLargestBlock)
      return;
    if (const int error = bpf_map__set_map_flags(map(name), BPF_F_MMAPABLE); error != 0)
      fail_classifier(-error, std::string("size classifier table ") + name);
  }

  template <typename Value>
  void size_for(const char* name, const std::vector<Value>& values) {
    size(name, values.size(), sizeof(Value));
  }

  void size_maps() {
    const auto vector_bytes = static_cast<std::uint32_t>(tables_.words * sizeof(std::uint64_t));
    if (const int error = bpf_map__set_value_size(map("vectors"), vector_bytes); error != 0)
      fail_classifier(-error, "size classifier table vectors");
    size("vectors", tables_.vector_count(), vector_bytes);
    size_for("address_tables", tables_.addresses.tables);
    size_for("address_slots", tables_.addresses.slots);
    size_for("ranges4", tables_.addresses.ranges4);
    size_for("ranges6", tables_.addresses.ranges6);
    size_for("sites", tables_.sites);
    size_for("rule_verdicts", tables_.rule_verdicts);
    size_for("class_sets", tables_.class_sets);
    size_for("port_pages", tables_.port_pages);
    size("fwmarks", tables_.fwmarks.size(), sizeof(std::uint32_t));
    size("arrivals", tables_.arrival_slots, sizeof(weir_arrivals));
  }

  void set_constants(unsigned port_index) {
    const weir_constants constants{.control_handle = kControlClass,
                                   .elsewhere_handle = kElsewhereClass,
                                   .port_index = port_index,
                                   .words = tables_.words,
                                   .by_source = tables_.by_source ? 1U : 0U,
                                   .index_levels = tables_.addresses.index_levels,
                                   .search_steps = tables_.addresses.search_steps};
    if (const int error = bpf_map__set_initial_value(map(".rodata"), &constants, sizeof(constants));
        error != 0)
      fail_classifier(-error, "set the classifier program's constants");
  }

  /// An array's values lie so far apart (kernel/bpf/arraymap.c, array_map_alloc).
  static std::size_t stride_of(std::size_t value_size) { return (value_size + 7) / 8 * 8; }

  /// Hands the kernel entries, many at a time.
  void put_batches(const char* name, std::span<const std::byte> keys, std::size_t key_size,
                   std::span<const std::byte> values, std::size_t value_size) {
    constexpr std::size_t kAtOnce = 4096;
    const std::size_t entries = keys.size() / key_size;
    for (std::size_t done = 0; done < entries;) {
      auto count = static_cast<std::uint32_t>(std::min(kAtOnce, entries - done));
      const std::uint32_t wanted = count;
      if (bpf_map_update_batch(bpf_map__fd(map(name)), &keys[done * key_size], &values[done * value_size],
                               &count, nullptr) != 0 ||
          count != wanted)
        fail_classifier(errno, std::string("fill classifier table ") + name);
      done += count;
      ++writes_;
    }
  }

  /// Writes an array's values through a mapping of it, a hundredth of the time: nobody else reads them yet.
  void put_mapped(const char* name, std::span<const std::byte> values, std::size_t value_size) {
    const std::size_t stride = stride_of(value_size);
    const std::size_t length = values.size() / value_size * stride;
    void* const mapping =
        ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map(name)), 0);
    if (mapping == MAP_FAILED) fail_classifier(errno, std::string("map classifier table ") + name);
    auto* to = static_cast<std::byte*>(mapping);
    for (std::size_t at = 0; at < values.size(); at += value_size, to += stride)
      std::memcpy(to, &values[at], value_size);
    ::munmap(mapping, length);
    ++writes_;
  }

  /// An array, from its first entry on.
  void put_array(const char* name, std::span<const std::byte> values, std::size_t value_size) {
    if ((bpf_map__map_flags(map(name)) & BPF_F_MMAPABLE) != 0) {
      put_mapped(name, values, value_size);
      return;
    }
    std::vector<std::uint32_t> keys(values.size() / value_size);
    std::iota(keys.begin(), keys.end(), 0U);
    put_batches(name, std::as_bytes(std::span(keys)), sizeof(std::uint32_t), values, value_size);
  }

  template <typename Value>
  void put_all(const char* name, const std::vector<Value>& values) {
    put_array(name, std::as_bytes(std::span(values)), sizeof(Value));
  }

  void fill() {
    put_all("address_tables", tables_.addresses.tables);
    put_all("address_slots", tables_.addresses.slots);
    put_all("ranges4", tables_.addresses.ranges4);
    put_all("ranges6", tables_.addresses.ranges6);
    put_array("vectors", std::as_bytes(std::span(tables_.vectors)), tables_.words * sizeof(std::uint64_t));
    put_all("sites", tables_.sites);
    put_all("rule_verdicts", tables_.rule_verdicts);
    put_all("class_sets", tables_.class_sets);
    put_all("port_pages", tables_.port_pages);
    std::vector<weir_fwmark_key> marks;
    std::vector<std::uint32_t> mark_vectors;
    for (const auto& [key, vector] : tables_.fwmarks) {
      marks.push_back(key);
      mark_vectors.push_back(vector);
    }
    put_batches("fwmarks", std::as_bytes(std::span(marks)), sizeof(weir_fwmark_key),
                std::as_bytes(std::span(mark_vectors)), sizeof(std::uint32_t));
  }

  const ClassifierTables& tables_;
  LibbpfLog log_;
  Object object_;
  std::size_t writes_ = 0;
};

}  // namespace

std::span<const std::byte> embedded_classifier_object() {
  return {weir_classifier_object_begin, weir_classifier_object_end};
}

ClassifierProgram load_program(const ClassifierTables& tables, unsigned port_index) {
  return Loader(tables, port_index).load();
}

std::uint32_t program_id(const Descriptor& program) {
  bpf_prog_info info{};
  std::uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(program.get(), &info, &length) != 0)
    fail_classifier(errno, "read the classifier program's id");
  return info.id;
}

std::optional<TrialRun> try_frame(const Descriptor& program, std::span<const std::byte> frame,
                                  unsigned repeat, std::uint32_t fwmark) {
  // The kernel takes at most about a page; every header that the program reads is in the first kilobyte.
  constexpr std::size_t kMostHeaders = 1024;
  frame = frame.first(std::min(frame.size(), kMostHeaders));
  __sk_buff before{};
  before.mark = fwmark;
  __sk_buff after{};
  std::vector<std::byte> left(frame.size());
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.data_in = frame.data();
  options.data_size_in = static_cast<std::uint32_t>(frame.size());
  options.data_out = left.data();
  options.data_size_out = static_cast<std::uint32_t>(left.size());
  options.ctx_in = &before;
  options.ctx_size_in = sizeof(before);
  options.ctx_out = &after;
  options.ctx_size_out = sizeof(after);
  options.repeat = static_cast<int>(repeat);
  if (bpf_prog_test_run_opts(program.get(), &options) != 0) {
    if (errno == EINVAL) return std::nullopt;
    fail_classifier(errno, "ask the classifier program about a frame");
  }
  left.resize(options.data_size_out);
  return TrialRun{.handle = after.priority,
                  .slot = after.cb[0],
                  .nanoseconds = options.duration,
                  .frame = std::move(left)};
}

std::vector<weir_arrivals> read_arrivals(const Descriptor& arrivals) {
  bpf_map_info info{};
  std::uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(arrivals.get(), &info, &length) != 0)
    fail_classifier(errno, "read the size of the arrival counters");
  constexpr std::uint32_t kAtOnce = 256;
  const auto processors = static_cast<std::size_t>(libbpf_num_possible_cpus());
  std::vector<weir_arrivals> sums(info.max_entries);
  std::vector<weir_arrivals> parts(processors * kAtOnce);
  std::vector<std::uint32_t> slots(kAtOnce);
  std::uint32_t position = 0;
  for (std::uint32_t read = 0; read < info.max_entries;) {
    std::uint32_t count = kAtOnce;
    const int error = bpf_map_lookup_batch(arrivals.get(), read == 0 ? nullptr : &position, &position,
                                           slots.data(), parts.data(), &count, nullptr);
    // The last ones come with ENOENT: there are none behind them.
    if ((error != 0 && errno != ENOENT) || count == 0) fail_classifier(errno, "read the arrival counters");
    for (std::uint32_t i = 0; i < count; ++i) {
      weir_arrivals& sum = sums.at(slots[i]);
      for (std::size_t p = 0; p < processors; ++p) {
        sum.packets += parts[i * processors + p].packets;
        sum.bytes += parts[i * processors + p].bytes;
      }
    }
    read += count;
  }
  return sums;
}

}  // namespace weir::shaper
