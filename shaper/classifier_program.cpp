#include "shaper/classifier_program.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

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

  void size(const char* name, std::size_t entries) {
    const auto count = static_cast<std::uint32_t>(std::max<std::size_t>(entries, 1));
    if (const int error = bpf_map__set_max_entries(map(name), count); error != 0)
      fail_classifier(-error, std::string("size classifier table ") + name);
  }

  void size_maps() {
    const auto is_v4 = [](const auto& p) { return p.prefix.address.family == Family::v4; };
    const auto count_v4 = [&](const auto& prefixes) {
      return static_cast<std::size_t>(std::ranges::count_if(prefixes, is_v4));
    };
    size("site_prefixes4", count_v4(tables_.site_prefixes));
    size("site_prefixes6", tables_.site_prefixes.size() - count_v4(tables_.site_prefixes));
    size("rule_prefixes4", count_v4(tables_.rule_prefixes));
    size("rule_prefixes6", tables_.rule_prefixes.size() - count_v4(tables_.rule_prefixes));
    size("sites", tables_.sites.size());
    size("rule_verdicts", tables_.rule_verdicts.size());
    size("class_sets", tables_.class_sets.size());
    size("fwmarks", tables_.fwmarks.size());
    size("port_pages", tables_.port_pages.size());
    size("vectors", tables_.vector_count());
    size("arrivals", tables_.arrival_slots);
    const auto vector_bytes = static_cast<std::uint32_t>(tables_.words * sizeof(std::uint64_t));
    if (const int error = bpf_map__set_value_size(map("vectors"), vector_bytes); error != 0)
      fail_classifier(-error, "size classifier table vectors");
  }

  void set_constants(unsigned port_index) {
    const weir_constants constants{.control_handle = kControlClass,
                                   .elsewhere_handle = kElsewhereClass,
                                   .port_index = port_index,
                                   .words = tables_.words,
                                   .by_source = tables_.by_source ? 1U : 0U};
    if (const int error = bpf_map__set_initial_value(map(".rodata"), &constants, sizeof(constants));
        error != 0)
      fail_classifier(-error, "set the classifier program's constants");
  }

  /// Entries of one table, handed to the kernel many at a time.
  template <typename Key>
  class Entries {
   public:
    explicit Entries(std::size_t value_size) : value_size_(value_size) {}
    /// `value` has the table's size.
    void add(const Key& key, const void* value) {
      keys_.push_back(key);
      const auto* const bytes = static_cast<const std::byte*>(value);
      values_.insert(values_.end(), bytes, bytes + value_size_);
    }
    /// The number of system calls.
    [[nodiscard]] std::size_t put_into(int table, const char* name) const {
      constexpr std::size_t kAtOnce = 4096;
      std::size_t calls = 0;
      for (std::size_t done = 0; done < keys_.size();) {
        auto count = static_cast<std::uint32_t>(std::min(kAtOnce, keys_.size() - done));
        const std::uint32_t wanted = count;
        if (bpf_map_update_batch(table, &keys_[done], &values_[done * value_size_], &count, nullptr) != 0 ||
            count != wanted)
          fail_classifier(errno, std::string("fill classifier table ") + name);
        done += count;
        ++calls;
      }
      return calls;
    }

   private:
    std::size_t value_size_;
    std::vector<Key> keys_;
    std::vector<std::byte> values_;
  };

  template <typename Key>
  void put(const Entries<Key>& entries, const char* name) {
    writes_ += entries.put_into(bpf_map__fd(map(name)), name);
  }

  template <typename Value>
  void put_all(const char* name, const std::vector<Value>& values) {
    Entries<std::uint32_t> entries(sizeof(Value));
    for (std::uint32_t i = 0; i < values.size(); ++i) entries.add(i, &values[i]);
    put(entries, name);
  }

  template <typename Address>
  static void copy_address(Address& to, const IpAddress& from) {
    std::memcpy(&to, from.bytes.data(), sizeof(to));
  }

  void fill_site_prefixes() {
    Entries<weir_site_key4> v4(sizeof(std::uint32_t));
    Entries<weir_site_key6> v6(sizeof(std::uint32_t));
    for (const auto& [prefix, site] : tables_.site_prefixes) {
      if (prefix.address.family == Family::v4) {
        weir_site_key4 key{.prefix_length = prefix.length, .address = 0};
        copy_address(key.address, prefix.address);
        v4.add(key, &site);
      } else {
        weir_site_key6 key{.prefix_length = prefix.length, .address = {}};
        copy_address(key.address, prefix.address);
        v6.add(key, &site);
      }
    }
    put(v4, "site_prefixes4");
    put(v6, "site_prefixes6");
  }

  void fill_rule_prefixes() {
    Entries<weir_rule_key4> v4(sizeof(std::uint32_t));
    Entries<weir_rule_key6> v6(sizeof(std::uint32_t));
    for (const auto& [scope, prefix, vector] : tables_.rule_prefixes) {
      const auto length = static_cast<std::uint32_t>(WEIR_SCOPE_BITS) + prefix.length;
      if (prefix.address.family == Family::v4) {
        weir_rule_key4 key{.prefix_length = length, .scope = scope, .address = 0};
        copy_address(key.address, prefix.address);
        v4.add(key, &vector);
      } else {
        weir_rule_key6 key{.prefix_length = length, .scope = scope, .address = {}};
        copy_address(key.address, prefix.address);
        v6.add(key, &vector);
      }
    }
    put(v4, "rule_prefixes4");
    put(v6, "rule_prefixes6");
  }

  void fill() {
    fill_site_prefixes();
    fill_rule_prefixes();
    Entries<std::uint32_t> vectors(tables_.words * sizeof(std::uint64_t));
    for (std::uint32_t i = 0; i < tables_.vector_count(); ++i) vectors.add(i, tables_.vector(i).data());
    put(vectors, "vectors");
    Entries<weir_fwmark_key> marks(sizeof(std::uint32_t));
    for (const auto& [key, vector] : tables_.fwmarks) marks.add(key, &vector);
    put(marks, "fwmarks");
    put_all("sites", tables_.sites);
    put_all("rule_verdicts", tables_.rule_verdicts);
    put_all("class_sets", tables_.class_sets);
    put_all("port_pages", tables_.port_pages);
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
