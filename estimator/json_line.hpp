/// Lines of JSON: what recordings and what is kept of the sites are written and read with.
///
/// Pure. What is read is untrusted: nothing throws, and numbers outside what any measurement can hold are
/// refused (state_text.hpp), so that the arithmetic behind them cannot overflow.
#pragma once

#include <array>
#include <charconv>
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include <boost/json.hpp>

#include "config/units.hpp"
#include "estimator/controller.hpp"
#include "estimator/state_fields.hpp"
#include "estimator/state_text.hpp"

namespace weir {

/// Writes one JSON object after the other member; what equals its default is left out where `unless` says so.
class LineWriter {
 public:
  explicit LineWriter(std::string& out) : out_(out) {}

  LineWriter& key(std::string_view name) {
    separate();
    out_ += '"';
    out_ += name;
    out_ += "\":";
    fresh_ = true;
    return *this;
  }
  LineWriter& open(char bracket) {
    separate();
    out_ += bracket;
    fresh_ = true;
    return *this;
  }
  LineWriter& close(char bracket) {
    out_ += bracket;
    fresh_ = false;
    return *this;
  }
  template <std::integral T>
  LineWriter& value(T number) {
    separate();
    if constexpr (std::same_as<T, bool>) {
      out_ += number ? "true" : "false";
    } else {
      std::array<char, 24> digits{};
      out_.append(digits.data(), std::to_chars(digits.begin(), digits.end(), number).ptr);
    }
    return *this;
  }
  LineWriter& value(Rate rate) { return value(rate.bps()); }
  LineWriter& value(Bytes bytes) { return value(bytes.count()); }
  LineWriter& value(Duration d) { return value(d.count()); }
  LineWriter& value(TimePoint t) { return value(t.time_since_epoch().count()); }
  LineWriter& value(std::string_view text) {
    separate();
    out_ += boost::json::serialize(boost::json::string_view(text.data(), text.size()));
    return *this;
  }
  template <class T>
  LineWriter& member(std::string_view name, const T& content) {
    return key(name).value(content);
  }
  template <class T>
  LineWriter& member_unless(std::string_view name, const T& content, const T& usual) {
    return content == usual ? *this : member(name, content);
  }
  template <class... T>
  LineWriter& array(std::string_view name, const T&... elements) {
    key(name).open('[');
    (value(elements), ...);
    return close(']');
  }

 private:
  void separate() {
    if (!fresh_) out_ += ',';
    fresh_ = false;
  }

  std::string& out_;
  bool fresh_ = true;
};

/// Reads members and elements; the first fault is kept, and after it all reads give defaults.
class LineReader {
 public:
  [[nodiscard]] bool ok() const { return why_.empty(); }
  [[nodiscard]] std::string why() const { return why_; }
  void blame(std::string why) {
    if (ok()) why_ = std::move(why);
  }

  const boost::json::object& object(const boost::json::value& from, std::string_view name) {
    static const boost::json::object kNone;
    if (const boost::json::object* found = from.if_object()) return *found;
    blame(fmt::format("'{}' is not an object", name));
    return kNone;
  }
  const boost::json::object& object(const boost::json::object& from, std::string_view name) {
    return object(needed(from, name), name);
  }
  const boost::json::array& array(const boost::json::value& from, std::string_view name) {
    static const boost::json::array kNone;
    if (const boost::json::array* found = from.if_array()) return *found;
    blame(fmt::format("'{}' is not an array", name));
    return kNone;
  }
  const boost::json::array& array(const boost::json::object& from, std::string_view name) {
    return array(needed(from, name), name);
  }

  template <std::integral T>
  void get(const boost::json::value& from, std::string_view name, T& into,
           T least = std::numeric_limits<T>::min(), T most = std::numeric_limits<T>::max()) {
    if constexpr (std::same_as<T, bool>) {
      if (!from.is_bool()) return blame(fmt::format("'{}' is neither true nor false", name));
      into = from.get_bool();
    } else {
      if (!from.is_int64() && !from.is_uint64())
        return blame(fmt::format("'{}' is not a whole number", name));
      boost::system::error_code out_of_range;
      const T number = from.to_number<T>(out_of_range);
      if (out_of_range || number < least || number > most)
        return blame(fmt::format("'{}' is out of range", name));
      into = number;
    }
  }
  void get(const boost::json::value& from, std::string_view name, Rate& into) {
    std::uint64_t bps = 0;
    get(from, name, bps, std::uint64_t{0}, control::kMostBps);
    into = Rate::bps(bps);
  }
  void get(const boost::json::value& from, std::string_view name, Bytes& into) {
    std::uint64_t count = 0;
    get(from, name, count, std::uint64_t{0}, control::kMostBytes);
    into = Bytes(count);
  }
  void get(const boost::json::value& from, std::string_view name, Duration& into) {
    std::int64_t ns = 0;
    get(from, name, ns);
    if (!control::in_range(Duration(ns))) return blame(fmt::format("'{}' is out of range", name));
    into = Duration(ns);
  }
  void get(const boost::json::value& from, std::string_view name, TimePoint& into) {
    std::int64_t ns = 0;
    get(from, name, ns);
    if (!control::in_range(TimePoint(Duration(ns)))) return blame(fmt::format("'{}' is out of range", name));
    into = TimePoint(Duration(ns));
  }
  void get(const boost::json::value& from, std::string_view name, std::string& into) {
    const boost::json::string* found = from.if_string();
    if (found == nullptr) return blame(fmt::format("'{}' is not a string", name));
    into.assign(found->data(), found->size());
  }
  template <class T>
  requires std::is_enum_v<T>
  void get(const boost::json::value& from, std::string_view name, T& into) {
    std::string word;
    get(from, name, word);
    for (std::uint32_t i = 0; i < count_of(T{}); ++i) {
      if (to_string(static_cast<T>(i)) == word) {
        into = static_cast<T>(i);
        return;
      }
    }
    blame(fmt::format("'{}' is no {} that is known", word, name));
  }
  template <class T>
  void get(const boost::json::object& from, std::string_view name, T& into) {
    get(needed(from, name), name, into);
  }
  template <class T>
  void get(const boost::json::object& from, std::string_view name, std::optional<T>& into) {
    if (const boost::json::value* found = from.if_contains(name)) get(*found, name, into.emplace());
  }
  template <class T>
  void get_if_there(const boost::json::object& from, std::string_view name, T& into) {
    if (const boost::json::value* found = from.if_contains(name)) get(*found, name, into);
  }
  /// An array of exactly these.
  template <class... T>
  void get_all(const boost::json::value& from, std::string_view name, T&... into) {
    const boost::json::array& elements = array(from, name);
    if (elements.size() != sizeof...(T)) {
      return blame(fmt::format("'{}' has {} elements, not {}", name, elements.size(), sizeof...(T)));
    }
    std::size_t i = 0;
    (get(elements[i++], name, into), ...);
  }

 private:
  const boost::json::value& needed(const boost::json::object& from, std::string_view name) {
    static const boost::json::value kNone;
    if (const boost::json::value* found = from.if_contains(name)) return *found;
    blame(fmt::format("it has no '{}'", name));
    return kNone;
  }

  std::string why_;
};

}  // namespace weir
