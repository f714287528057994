#include "config/manual.hpp"

#include <array>
#include <string_view>
#include <utility>

#include "config/policy_keys.hpp"
#include "config/spelling.hpp"

namespace weir {
namespace {

/// How each kind of value is written; those without a line are explained where they stand.
constexpr std::array<std::pair<ValueKind, std::string_view>, 12> kKinds{{
    {ValueKind::rate, "rate"},
    {ValueKind::share, "share or rate"},
    {ValueKind::time, "time"},
    {ValueKind::flag, "true or false"},
    {ValueKind::integer, "number"},
    {ValueKind::name, "name"},
    {ValueKind::text, "text"},
    {ValueKind::dscp, "DSCP"},
    {ValueKind::protocol, "protocol"},
    {ValueKind::ports, "port"},
    {ValueKind::vlan, "VLAN id"},
    {ValueKind::fwmark, "mark"},
}};

/// Text that roff takes for nothing but text.
std::string plain(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      if (out.empty() && (c == '.' || c == '\'')) out += "\\&";
      out += c;
    }
  }
  return out;
}

std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (const char c : plain(text)) out += c == '"' ? std::string("\\(dq") : std::string(1, c);
  return out + '"';
}

class Page {
 public:
  void title(std::string_view name, std::string_view section, std::string_view what) {
    line(".TH " + in_quotes(name) + " " + in_quotes(section) + " \"\" \"Weir\" " + in_quotes(what));
  }
  void heading(std::string_view text) { line(".SH " + in_quotes(text)); }
  void paragraph(std::string_view text) {
    line(".PP");
    line(plain(text));
  }
  void code(std::string_view text) {
    line(".PP\n.nf\n.RS");
    while (!text.empty()) {
      const auto end = text.find('\n');
      line(plain(text.substr(0, end)));
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    line(".RE\n.fi");
  }
  /// A bold term with `aside` behind it, and what it means.
  void entry(std::string_view term, std::string_view aside, std::string_view meaning) {
    line(".TP");
    line(aside.empty() ? ".B " + in_quotes(term)
                       : ".BR " + in_quotes(term) + " " + in_quotes(" (" + std::string(aside) + ")"));
    line(plain(meaning));
  }
  void more(std::string_view text) {
    line(".br");
    line(plain(text));
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  void line(std::string_view text) {
    text_ += text;
    text_ += '\n';
  }
  std::string text_;
};

std::string joined(std::span<const std::string_view> words) {
  std::string out;
  for (const std::string_view word : words) out.append(out.empty() ? "" : ", ").append(word);
  return out;
}

std::string joined(std::span<const NamedNumber> numbers) {
  std::string out;
  for (const NamedNumber& one : numbers) out.append(out.empty() ? "" : ", ").append(one.name);
  return out;
}

std::string kind_of(const PolicyKey& key) {
  std::string kind;
  for (const auto& [value, name] : kKinds)
    if (value == key.kind) kind = name;
  if (key.kind == ValueKind::integer)
    kind += " from " + std::to_string(key.least) + " to " + std::to_string(key.most);
  if (key.kind == ValueKind::word) kind = joined(key.words);
  if (key.kind == ValueKind::mapping) kind = key.list ? "mappings" : "mapping";
  if (key.kind == ValueKind::named) kind = "mapping by name";
  if (key.list && key.kind != ValueKind::mapping) kind += ", or a list of them";
  if (key.required) kind += "; required";
  return kind;
}

void write_table(Page& page, const KeyTable& table) {
  page.heading(table.where.empty() ? "The file" : std::string(table.where));
  page.paragraph(table.where.empty() ? "The keys of the file itself."
                                     : "The keys of " + std::string(table.what) + ".");
  for (const PolicyKey& key : table.keys) {
    page.entry(key.name, kind_of(key), key.meaning);
    if (!key.fallback.empty()) page.more("Default: " + std::string(key.fallback));
    page.more("Example: " + std::string(key.name) + ": " + std::string(key.example));
  }
}

void write_values(Page& page) {
  page.heading("Values");
  page.entry("rate", "",
             "A number with bit, kbit, mbit or gbit, each a thousand of the one before: 45mbit, 1.5gbit.");
  page.entry("share", "", "A percentage of what is around it: 5%, 2.5%.");
  page.entry("time", "", "A number with us, ms or s: 500us, 20ms.");
  page.entry("name", "",
             "Letters, digits, dots, dashes and underscores, at most 63, a letter or digit first.");
  page.entry("DSCP", "", "A code point from 0 to 63 or its name: " + joined(dscp_names()) + ".");
  page.entry("protocol", "", "A number from 0 to 255 or a name: " + joined(protocol_names()) + ".");
  page.entry("port", "", "A number from 1 to 65535, or a range: 5000-5010.");
  page.entry("VLAN id", "", "A number from 1 to 4094, a range, or untagged.");
  page.entry("mark", "", "A number that is not 0, as the firewall takes it: 16, 0x10.");
  page.entry("subnets", "",
             "Prefixes and addresses, IPv4 and IPv6; names of groups; \"@file\": a file with one of these a "
             "line, # before a comment.");
}

}  // namespace

std::string policy_manual() {
  Page page;
  page.title("WEIR.YAML", "5", "File formats");
  page.heading("Name");
  page.paragraph("weir.yaml - the policy of weir(8): sites, their rates, and who waits");
  page.heading("Description");
  page.paragraph(
      "One YAML file, with what it includes, says everything that weir(8) does with a WAN port. `weir check "
      "FILE` names all "
      "that is wrong with it, each with its place and what to write instead. A file with a problem is never "
      "used in part.");
  page.paragraph("The least that does something:");
  page.code(
      "wan: {interface: wan0, rate: 622mbit}\n"
      "sites:\n"
      "  - name: coast\n"
      "    subnets: [10.20.0.0/16]\n"
      "    rate: {floor: 45mbit, ceiling: 600mbit}");
  for (const KeyTable* table : key_tables()) write_table(page, *table);
  write_values(page);
  page.heading("Files");
  page.entry("/etc/weir/weir.yaml", "", "The usual place.");
  page.entry("/var/lib/weir", "", "What weir(8) keeps: the last good policy, and the revisions before.");
  page.heading("See also");
  page.paragraph("weir(8), tc-htb(8), tc-fq_codel(8)");
  return page.take();
}

}  // namespace weir
