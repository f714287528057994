/// Which site a packet belongs to, and which of its ends is ours.
///
/// Pure. The longest prefix of the *far* address decides the site; of two addresses in sites the one with the
/// longer prefix is far. For traffic of no site `inside` decides, and where nothing was configured it is
/// inferred, in this order: the host whose answers come back sooner to where the tap stands; a private
/// address against a public one; the sender of the first SYN; the address that is seen most.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "config/address.hpp"
#include "estimator/estimator.hpp"
#include "estimator/host_cache.hpp"

namespace weir {

struct Placement {
  std::uint32_t site = 0;
  bool source_inside = true;  ///< of the pair that was asked about: it is outbound
  SideBasis basis = SideBasis::configured;
};

class Sides {
 public:
  Sides(const std::vector<std::vector<Prefix>>& sites, const std::vector<Prefix>& inside);

  /// `opened_by_source`: this packet is a SYN without ACK.
  [[nodiscard]] Placement place(const IpAddress& source, const IpAddress& destination, bool opened_by_source,
                                TimePoint now);
  /// For a frame of no connection: like `place`, but it says nothing about which hosts are ours.
  [[nodiscard]] Placement place_frame(const IpAddress& source, const IpAddress& destination);
  /// Whether a prefix of a site holds either address.
  [[nodiscard]] bool claims(const IpAddress& source, const IpAddress& destination) const;
  /// Whether a site or `inside` says which of the two is ours.
  [[nodiscard]] bool knows(const IpAddress& source, const IpAddress& destination) const {
    return configured(source, destination).has_value();
  }
  /// `host` answered the other end after `rtt` as seen from the tap. Once both have answered and one is
  /// clearly nearer: whether that is `host`.
  [[nodiscard]] std::optional<bool> host_answered(const IpAddress& host, const IpAddress& other, Duration rtt,
                                                  TimePoint now);
  [[nodiscard]] SideFinding finding() const;

 private:
  struct AddressHash {
    std::size_t operator()(const IpAddress& a) const { return static_cast<std::size_t>(hash_of(a)); }
  };
  struct Length {
    Family family = Family::v4;
    std::uint8_t bits = 0;
    boost::unordered_flat_map<IpAddress, std::uint32_t, AddressHash> prefixes;
  };
  struct Match {
    std::uint32_t site = 0;
    int bits = -1;
  };
  struct Host {
    Duration answered{};  ///< least time to an answer; zero: none yet
    std::uint32_t packets = 0;
    std::uint32_t inside = 0;  ///< pairs placed with it inside, by inference
    SideBasis basis = SideBasis::configured;
  };

  void add(const Prefix& prefix, std::uint32_t site);
  [[nodiscard]] Match longest_match(const IpAddress& address) const;
  /// Of a pair whose ends match equally long prefixes: their site, or elsewhere.
  [[nodiscard]] std::uint32_t site_of_both(const IpAddress& address) const;
  [[nodiscard]] bool is_inside(const IpAddress& address) const;
  /// Site and side as far as the configuration says; nullopt: the side has to be inferred.
  [[nodiscard]] std::optional<Placement> configured(const IpAddress& source,
                                                    const IpAddress& destination) const;
  [[nodiscard]] static Placement infer(const IpAddress& source, const Host& from,
                                       const IpAddress& destination, const Host& to, bool opened_by_source);

  std::vector<Length> lengths_;  ///< longest first
  std::vector<Prefix> inside_;
  std::uint32_t elsewhere_ = 0;
  HostCache<Host> hosts_;
};

}  // namespace weir
