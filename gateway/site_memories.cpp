#include "gateway/site_memories.hpp"

#include <utility>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "estimator/control_constants.hpp"
#include "estimator/site_memory_json.hpp"

namespace weir::gateway {
namespace {

namespace json = boost::json;

constexpr std::size_t kMostSites = 65'536;
constexpr std::size_t kLongestName = 256;  // the policy's are at most 63

std::int64_t unix_ns(WallTime t) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(t.time_since_epoch()).count();
}

SiteMemories read_sites(LineReader& r, const json::object& document) {
  SiteMemories sites;
  const json::array& lines = r.array(document, "sites");
  if (lines.size() > kMostSites) r.blame("it has too many sites");
  for (const json::value& line : lines) {
    if (!r.ok()) break;
    const json::object& members = r.object(line, "sites");
    std::string name;
    r.get(members, "site", name);
    if (name.empty() || name.size() > kLongestName) r.blame("'site' is no name");
    SiteMemory memory = read_memory(r, members);
    if (!sites.emplace(std::move(name), memory).second) r.blame("a site stands there twice");
  }
  return sites;
}

/// How long ago it was saved; what stands against using it goes to the reader.
Duration read_age(LineReader& r, const json::object& document, std::string_view interface, WallTime now) {
  std::uint32_t format = 0;
  r.get(document, "weir_memory", format);
  if (r.ok() && format != kMemoryFormat)
    r.blame(fmt::format("it is of format {}, and this program reads format {}", format, kMemoryFormat));
  std::string port;
  r.get(document, "interface", port);
  if (r.ok() && port != interface) r.blame(fmt::format("it is about another port than {}", interface));
  std::int64_t saved = 0;
  const std::int64_t present = unix_ns(now);
  r.get(document, "saved_ns", saved);
  if (saved < 0) r.blame("'saved_ns' is out of range");
  if (saved > present)
    r.blame(fmt::format(
        "it says that it was saved at {}, which is yet to come",
        iso_utc(WallTime(std::chrono::duration_cast<WallTime::duration>(std::chrono::nanoseconds(saved))))));
  const Duration age(std::max<std::int64_t>(present, 0) - saved);
  if (r.ok() && age > control::kMemoryLifetime)
    r.blame(fmt::format("it is {} h old", std::chrono::floor<std::chrono::hours>(age).count()));
  return age;
}

}  // namespace

std::string to_text(const KeptMemories& kept) {
  std::string text;
  LineWriter w(text);
  w.open('{').member("weir_memory", kMemoryFormat);
  w.member("interface", std::string_view(kept.interface)).member("saved_ns", unix_ns(kept.saved));
  w.key("sites").open('[');
  for (const auto& [name, memory] : kept.sites) {
    w.open('{').member("site", std::string_view(name));
    write_memory(w, memory);
    w.close('}');
    // A line for each, for whoever looks at it.
    text += '\n';
  }
  w.close(']').close('}');
  text += '\n';
  return text;
}

std::variant<SiteMemories, UnusableMemory> parse_memories(std::string_view text, std::string_view interface,
                                                          WallTime now) {
  if (text.size() > kLargestMemoryFile)
    return UnusableMemory{fmt::format("it is larger than {} bytes", kLargestMemoryFile)};
  boost::system::error_code malformed;
  const json::value parsed = json::parse(json::string_view(text.data(), text.size()), malformed);
  if (malformed) return UnusableMemory{"it is not JSON"};
  LineReader reader;
  const json::object& document = reader.object(parsed, "weir_memory");
  const Duration age = read_age(reader, document, interface, now);
  if (!reader.ok()) return UnusableMemory{reader.why()};
  SiteMemories sites = read_sites(reader, document);
  if (!reader.ok()) return UnusableMemory{reader.why()};
  return aged(std::move(sites), age);
}

SiteMemories aged(SiteMemories sites, Duration passed) {
  for (auto& [name, memory] : sites) memory = weir::aged(memory, passed);
  return sites;
}

}  // namespace weir::gateway
