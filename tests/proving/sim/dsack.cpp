#include "proving/sim/dsack.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace weir::proving {
namespace {

constexpr std::size_t kIp = 20;
constexpr std::size_t kLeastTcp = 20;
constexpr std::size_t kMostTcp = 60;
constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kSyn = 2;
constexpr std::uint8_t kFin = 1;
constexpr std::uint8_t kSackOption = 5;

std::uint32_t u16(std::span<const std::uint8_t> bytes, std::size_t at) {
  return static_cast<std::uint32_t>(bytes[at] << 8U | bytes[at + 1]);
}
std::uint32_t u32(std::span<const std::uint8_t> bytes, std::size_t at) {
  return u16(bytes, at) << 16U | u16(bytes, at + 2);
}
void put(std::vector<std::uint8_t>& to, std::uint32_t value) {
  for (const unsigned shift : {24U, 16U, 8U, 0U}) to.push_back(static_cast<std::uint8_t>(value >> shift));
}

bool is_tcp(std::span<const std::uint8_t> packet) {
  return packet.size() >= kIp + kLeastTcp && packet[0] == 0x45 && packet[9] == kTcp;
}
std::size_t header_of(std::span<const std::uint8_t> packet) {
  return std::size_t{4} * (packet[kIp + 12] >> 4U);
}
std::uint32_t ports(std::span<const std::uint8_t> packet, bool reversed) {
  const std::uint32_t from = u16(packet, kIp);
  const std::uint32_t to = u16(packet, kIp + 2);
  return reversed ? to << 16U | from : from << 16U | to;
}

}  // namespace

void DsackReceivers::arrives(std::span<const std::uint8_t> packet) {
  if (!is_tcp(packet)) return;
  const Direction direction{u32(packet, 12), u32(packet, 16), ports(packet, false)};
  if ((packet[kIp + 13] & kSyn) != 0) {
    receivers_.erase(direction);  // the ports are used anew
    return;
  }
  const std::uint32_t payload = u16(packet, 2) - static_cast<std::uint32_t>(kIp + header_of(packet));
  if (payload == 0) return;
  Receiver& receiver = receivers_[direction];
  const SequenceNumber begin = u32(packet, kIp + 4);
  const SequenceRange data{begin, begin + payload};
  bool any_new = false;
  receiver.received.add(data, [&](SequenceRange) { any_new = true; });
  if (!any_new) receiver.twice = data;
}

std::optional<SequenceRange> DsackReceivers::tells(std::span<const std::uint8_t> packet) {
  if (!is_tcp(packet) || (packet[kIp + 13] & (kSyn | kFin)) != 0) return std::nullopt;
  if (u16(packet, 2) != kIp + header_of(packet)) return std::nullopt;  // with data: the next one will do
  const auto found = receivers_.find({u32(packet, 16), u32(packet, 12), ports(packet, true)});
  if (found == receivers_.end()) return std::nullopt;
  return std::exchange(found->second.twice, std::nullopt);
}

std::size_t write_dsack(std::span<std::uint8_t> packet, std::size_t length, SequenceRange twice) {
  const std::size_t header = header_of(packet);
  std::vector<std::uint8_t> options;
  std::vector<SequenceRange> blocks{twice};
  for (std::size_t at = kIp + kLeastTcp; at + 1 < kIp + header;) {
    const std::uint8_t kind = packet[at];
    if (kind == 0) break;
    if (kind == 1) {
      ++at;
      continue;
    }
    const std::size_t size = packet[at + 1];
    if (size < 2 || at + size > kIp + header) return length;
    if (kind == kSackOption) {
      for (std::size_t block = at + 2; block + 8 <= at + size; block += 8)
        blocks.push_back({u32(packet, block), u32(packet, block + 4)});
    } else {
      options.insert(options.end(), packet.begin() + static_cast<std::ptrdiff_t>(at),
                     packet.begin() + static_cast<std::ptrdiff_t>(at + size));
      while (options.size() % 4 != 0) options.push_back(1);
    }
    at += size;
  }
  // The block that holds it comes second (RFC 2883, 4).
  std::stable_partition(blocks.begin() + 1, blocks.end(), [&](const SequenceRange& block) {
    return at_or_before(block.begin, twice.begin) && at_or_before(twice.end, block.end);
  });
  const std::size_t room = (kMostTcp - kLeastTcp - options.size() - 4) / 8;
  blocks.resize(std::min(blocks.size(), room));
  options.insert(options.end(), {1, 1, kSackOption, static_cast<std::uint8_t>(2 + 8 * blocks.size())});
  for (const SequenceRange& block : blocks) {
    put(options, block.begin);
    put(options, block.end);
  }
  const std::size_t longer = kIp + kLeastTcp + options.size();
  if (longer > packet.size()) return length;
  std::copy(options.begin(), options.end(), packet.begin() + kIp + kLeastTcp);
  packet[kIp + 12] = static_cast<std::uint8_t>((kLeastTcp + options.size()) / 4 << 4U);
  packet[2] = static_cast<std::uint8_t>(longer >> 8U);
  packet[3] = static_cast<std::uint8_t>(longer);
  return longer;
}

}  // namespace weir::proving
