#include "config/yaml_tree.hpp"

#include <algorithm>
#include <optional>
#include <sstream>
#include <unordered_map>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "config/utf8.hpp"

namespace weir {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

Place place_of(const YAML::Mark& mark) {
  if (mark.is_null()) return {};
  return {.line = static_cast<std::size_t>(mark.line) + 1,
          .column = static_cast<std::size_t>(mark.column) + 1};
}

Problem problem_at(Place at, std::string message, std::string mend) {
  return {.line = at.line, .column = at.column, .message = std::move(message), .mend = std::move(mend)};
}

// --- bytes ---

bool is_forbidden_control(unsigned char c) {
  return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F;
}

/// yaml-cpp guesses at other encodings, replaces bad bytes silently and takes byte 4 for the end of the file.
/// None of it may decide what a policy says, so only clean UTF-8 gets that far.
std::optional<Problem> first_bad_byte(std::string_view text) {
  Place at{.line = 1, .column = 1};
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return problem_at(at, "this is not UTF-8 text", "save the file in UTF-8");
    if (length == 1 && is_forbidden_control(static_cast<unsigned char>(text.front()))) {
      return problem_at(at, "a control character stands here", "remove it");
    }
    at = text.front() == '\n' ? Place{.line = at.line + 1, .column = 1}
                              : Place{.line = at.line, .column = at.column + length};
    text.remove_prefix(length);
  }
  return std::nullopt;
}

Problem too_many_nodes(Place at) {
  return problem_at(at,
                    "more than " + std::to_string(kMostYamlNodes) + " values, aliases counted at each use",
                    "write fewer, larger subnets, or fewer aliases");
}

/// yaml-cpp queues the tokens of a whole flow collection before it tells us anything of it, e.g. eight
/// million '['. Each of these characters begins a node, or stands in a comment or text where so many of them
/// make no sense.
bool holds_too_many_flow_indicators(std::string_view text) {
  const auto indicators =
      std::count_if(text.begin(), text.end(), [](char c) { return c == '[' || c == '{' || c == ','; });
  return static_cast<std::size_t>(indicators) > kMostYamlNodes;
}

// --- structure ---

/// Unwinds yaml-cpp's recursion when our own bounds say no; never leaves this file.
struct Refusal {
  Problem problem;
};

/// Builds the tree from yaml-cpp's events: one pass and no map look-ups, where YAML::Node would be quadratic,
/// and the nesting is known before yaml-cpp recurses into it.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::size_t file) : file_(file) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) {
      throw Refusal{problem_at(place_of(mark), "a second YAML document begins here",
                               "a policy is one document: remove '---' and what follows")};
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(YamlNode{.kind = YamlNode::Kind::null, .at = place_of_null(mark), .text = {}, .children = {}},
        anchor);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_foreign_tag(mark, tag);
    add(YamlNode{.kind = YamlNode::Kind::scalar, .at = place_of(mark), .text = value, .children = {}},
        anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto target = anchors_.find(anchor);
    if (target == anchors_.end()) {
      // Anchors are registered when their node ends: this one has not.
      throw Refusal{
          problem_at(place_of(mark), "an alias stands inside the node it refers to", "write the value out")};
    }
    const Extent extent = extents_[target->second];
    refuse_if_too_deep(mark, extent.height);
    count_nodes(mark, extent.nodes);
    attach(target->second);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::sequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::map, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

  [[nodiscard]] bool is_empty() const { return nodes_.empty(); }
  [[nodiscard]] YamlTree take() { return {std::move(nodes_), 0, visits_}; }

 private:
  /// Of a finished node: how many nodes reading it visits, and how many levels it has.
  struct Extent {
    std::size_t nodes = 1;
    std::size_t height = 1;
  };
  struct Open {
    std::uint32_t node;
    YAML::anchor_t anchor;
  };

  void add(YamlNode node, YAML::anchor_t anchor) {
    const auto index = append(std::move(node));
    if (anchor != 0) anchors_[anchor] = index;
    attach(index);
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    refuse_foreign_tag(mark, tag);
    refuse_if_too_deep(mark, 1);
    open_.push_back(
        {append(YamlNode{.kind = kind, .at = place_of(mark), .text = {}, .children = {}}), anchor});
  }

  void close() {
    const Open closed = open_.back();
    open_.pop_back();
    if (closed.anchor != 0) anchors_[closed.anchor] = closed.node;
    attach(closed.node);
  }

  std::uint32_t append(YamlNode node) {
    if (++visits_ > kMostYamlNodes) throw Refusal{too_many_nodes(node.at)};
    node.at.file = file_;
    nodes_.push_back(std::move(node));
    extents_.push_back({});
    return static_cast<std::uint32_t>(nodes_.size() - 1);
  }

  void attach(std::uint32_t index) {
    if (open_.empty()) return;
    nodes_[open_.back().node].children.push_back(index);
    Extent& parent = extents_[open_.back().node];
    parent.nodes += extents_[index].nodes;
    parent.height = std::max(parent.height, extents_[index].height + 1);
  }

  /// yaml-cpp gives a missing value the place of whatever comes next: its key is where people should look.
  [[nodiscard]] Place place_of_null(const YAML::Mark& mark) const {
    if (!open_.empty()) {
      const YamlNode& parent = nodes_[open_.back().node];
      if (parent.kind == YamlNode::Kind::map && parent.children.size() % 2 == 1) {
        return nodes_[parent.children.back()].at;
      }
    }
    return place_of(mark);
  }

  void refuse_if_too_deep(const YAML::Mark& mark, std::size_t levels) const {
    if (open_.size() + levels > kMostYamlDepth) {
      throw Refusal{problem_at(place_of(mark),
                               "nested more than " + std::to_string(kMostYamlDepth) + " levels deep",
                               "a policy needs nine levels: check brackets and indentation")};
    }
  }

  void count_nodes(const YAML::Mark& mark, std::size_t more) {
    visits_ += more;
    if (visits_ > kMostYamlNodes) throw Refusal{too_many_nodes(place_of(mark))};
  }

  static void refuse_foreign_tag(const YAML::Mark& mark, const std::string& tag) {
    // "?" and "!" are yaml-cpp's names for "plain" and "quoted".
    if (tag.empty() || tag == "?" || tag == "!") return;
    throw Refusal{problem_at(place_of(mark), "a YAML tag stands before this value",
                             "tags mean nothing here: remove it")};
  }

  std::size_t file_;
  std::vector<YamlNode> nodes_;
  std::vector<Extent> extents_;  // by node, like nodes_
  std::vector<Open> open_;
  std::unordered_map<YAML::anchor_t, std::uint32_t> anchors_;
  std::size_t visits_ = 0;
  int documents_ = 0;
};

/// YAML forbids tabs in indentation, but yaml-cpp often trips over something else behind one.
bool is_indented_with_tabs(std::string_view text, std::size_t line) {
  for (std::size_t n = 1; n < line; ++n) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return false;
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find_first_not_of(" \t")).find('\t') != std::string_view::npos;
}

Problem syntax_problem(const YAML::ParserException& fault, std::string_view text) {
  const Place at = place_of(fault.mark);
  const std::string mend = is_indented_with_tabs(text, at.line)
                               ? "indent with spaces"
                               : "check indentation, brackets, quotes and ': ' at or above this place";
  return problem_at(at, "YAML: " + fault.msg, mend);
}

}  // namespace

namespace {

std::variant<YamlTree, Problem> read_document(std::string_view text, std::size_t file) {
  if (text.size() > kMostPolicyBytes) {
    return problem_at({}, "the file is larger than " + std::to_string(kMostPolicyBytes >> 20U) + " MiB",
                      "join neighbouring subnets into larger ones");
  }
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  if (auto bad = first_bad_byte(text)) return *std::move(bad);

  if (holds_too_many_flow_indicators(text)) return too_many_nodes({});

  TreeBuilder builder(file);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::ParserException& fault) {
    return syntax_problem(fault, text);
  } catch (Refusal& refusal) {
    return std::move(refusal.problem);
  }
  if (builder.is_empty()) {
    return problem_at({}, "the file says nothing", "start from the example policy, config/weir.yaml");
  }
  return builder.take();
}

}  // namespace

std::variant<YamlTree, Problem> read_yaml(std::string_view text, std::size_t file) {
  auto read = read_document(text, file);
  if (auto* problem = std::get_if<Problem>(&read)) problem->file = file;
  return read;
}

}  // namespace weir
