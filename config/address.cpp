#include "config/address.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>

#include <arpa/inet.h>

namespace weir {
namespace {

/// Longest spelling of an address that inet_pton takes: "ffff:...:255.255.255.255".
constexpr std::size_t kLongestAddress = INET6_ADDRSTRLEN - 1;

/// The bits of byte `index` that a prefix of `length` bits covers.
constexpr std::uint8_t mask_of_byte(std::size_t index, unsigned length) {
  const auto before = static_cast<unsigned>(index * 8);
  const unsigned covered = length > before ? std::min(length - before, 8U) : 0U;
  return static_cast<std::uint8_t>(0xff00U >> covered);
}

IpAddress without_host_bits(IpAddress address, unsigned length) {
  for (std::size_t i = 0; i < address.bytes.size(); ++i) {
    address.bytes[i] = static_cast<std::uint8_t>(address.bytes[i] & mask_of_byte(i, length));
  }
  return address;
}

/// Exactly decimal digits without a leading zero: "8", not "08", "+8" or "8 ".
std::optional<unsigned> parse_length(std::string_view text) {
  if (text.empty() || text.size() > 3 || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  unsigned length = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return length;
}

}  // namespace

IpAddress IpAddress::from_v4(std::span<const std::uint8_t, 4> raw) {
  IpAddress address;
  std::copy(raw.begin(), raw.end(), address.bytes.begin());
  return address;
}

IpAddress IpAddress::from_v6(std::span<const std::uint8_t, 16> raw) {
  IpAddress address;
  address.family = Family::v6;
  std::copy(raw.begin(), raw.end(), address.bytes.begin());
  return address;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  // inet_pton wants a terminated string; a terminator inside the text would hide what follows it.
  if (text.empty() || text.size() > kLongestAddress || text.find('\0') != std::string_view::npos) {
    return std::nullopt;
  }
  std::array<char, kLongestAddress + 1> terminated{};
  std::copy(text.begin(), text.end(), terminated.begin());
  IpAddress address;
  if (text.find(':') != std::string_view::npos) {
    address.family = Family::v6;
    if (inet_pton(AF_INET6, terminated.data(), address.bytes.data()) != 1) return std::nullopt;
  } else if (inet_pton(AF_INET, terminated.data(), address.bytes.data()) != 1) {
    return std::nullopt;
  }
  return address;
}

std::string IpAddress::to_string() const {
  if (family ==
      Family::v4) {  // inet_ntop goes by way of sprintf, and a large policy has thousands of such names
    std::string text = std::to_string(bytes[0]);
    for (std::size_t i = 1; i < 4; ++i) text.append(1, '.').append(std::to_string(bytes[i]));
    return text;
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  // Cannot fail: the buffer is as long as the longest address.
  return inet_ntop(AF_INET6, bytes.data(), text.data(), static_cast<socklen_t>(text.size())) == nullptr
             ? std::string()
             : std::string(text.data());
}

std::optional<Prefix> Prefix::parse(std::string_view text, Fault* fault, Prefix* mended) {
  const auto refuse = [fault](Fault why) -> std::optional<Prefix> {
    if (fault != nullptr) *fault = why;
    return std::nullopt;
  };
  const std::size_t slash = text.find('/');
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return refuse(Fault::not_an_address);

  auto length = static_cast<unsigned>(address->width());
  if (slash != std::string_view::npos) {
    const auto given = parse_length(text.substr(slash + 1));
    if (!given || *given > length) return refuse(Fault::length_out_of_range);
    length = *given;
  }
  const Prefix clean{.address = without_host_bits(*address, length),
                     .length = static_cast<std::uint8_t>(length)};
  if (clean.address != *address) {
    if (mended != nullptr) *mended = clean;
    return refuse(Fault::host_bits_set);
  }
  if (fault != nullptr) *fault = Fault::none;
  return clean;
}

bool Prefix::contains(const IpAddress& a) const {
  if (a.family != address.family) return false;
  for (std::size_t i = 0; i * 8 < length; ++i) {
    if ((a.bytes[i] & mask_of_byte(i, length)) != address.bytes[i]) return false;
  }
  return true;
}

bool Prefix::contains(const Prefix& other) const {
  return other.length >= length && contains(other.address);
}

std::string Prefix::to_string() const {
  return address.to_string() + "/" + std::to_string(length);
}

}  // namespace weir
