/// Lists of address blocks: written out, by the name of a group, or in a file of their own. Internal to
/// config/.
///
///     subnets: [10.20.0.0/16, branches, "@lab.txt"]
///
/// What a name or a file stands for keeps its own place, so that problems point to where a block is written.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/source_files.hpp"
#include "config/suggest.hpp"
#include "config/value_reader.hpp"

namespace weir {

/// Blocks of all lists together, those of a group or file counted at each use.
inline constexpr std::size_t kMostPrefixes = 1'000'000;
/// Groups within groups.
inline constexpr std::size_t kMostGroupDepth = 32;

class PrefixReader {
 public:
  PrefixReader(ValueReader& read, SourceFiles& files) : read_(read), files_(files) {}

  /// The groups that lists may name from now on.
  void set_groups(std::vector<ValueReader::NamedNode> groups);
  /// Reads what no list has named: their faults are found as well.
  void read_all_groups();
  [[nodiscard]] std::vector<Placed<Prefix>> prefixes(const Field& field);

 private:
  using Prefixes = std::vector<Placed<Prefix>>;
  struct Group {
    Field field;
    enum class State : std::uint8_t { unread, being_read, read } state = State::unread;
    Prefixes prefixes;
  };

  void add_items(const Field& field, Prefixes& to);
  void add_item(const YamlNode& item, Prefixes& to);
  void add_group(const YamlNode& item, Group& group, Prefixes& to);
  void read_group(Group& group);
  void add_file(const YamlNode& item, Prefixes& to);
  void add_all(const Prefixes& from, Place at, Prefixes& to);
  [[nodiscard]] Prefixes read_list(std::size_t file);
  [[nodiscard]] bool add_prefix(std::string_view text, Place at, Prefixes& to);
  void report_no_prefix(std::string_view text, Place at, Prefix::Fault fault, const Prefix& mended);

  ValueReader& read_;
  SourceFiles& files_;
  std::map<std::string, Group> groups_;              // ordered, so that faults always come out alike
  std::unordered_map<std::size_t, Prefixes> lists_;  // by file
  std::size_t count_ = 0;
  std::size_t depth_ = 0;  // groups around the one that is being read
  GuessBudget guesses_;
};

}  // namespace weir
