#include "gateway/kept_files.hpp"

#include <boost/json.hpp>

namespace weir::gateway {

namespace json = boost::json;

std::string to_kept_text(const std::vector<PolicyFile>& files) {
  json::array all;
  for (const PolicyFile& file : files) all.push_back({{"path", file.path.string()}, {"text", file.text}});
  return json::serialize(json::object{{"files", all}});
}

std::optional<std::vector<PolicyFile>> from_kept_text(std::string_view text) {
  json::error_code malformed;
  const json::value kept = json::parse(text, malformed);
  if (malformed) return std::nullopt;
  const json::object* top = kept.if_object();
  const json::value* list = top != nullptr ? top->if_contains("files") : nullptr;
  if (list == nullptr || !list->is_array() || list->get_array().empty()) return std::nullopt;
  std::vector<PolicyFile> files;
  for (const json::value& one : list->get_array()) {
    const json::object* file = one.if_object();
    const json::value* path = file != nullptr ? file->if_contains("path") : nullptr;
    const json::value* content = file != nullptr ? file->if_contains("text") : nullptr;
    if (path == nullptr || content == nullptr || !path->is_string() || !content->is_string())
      return std::nullopt;
    files.push_back({.path = std::string(path->get_string()), .text = std::string(content->get_string())});
  }
  return files;
}

}  // namespace weir::gateway
