/// Where frames come from: a port's tap, or a capture file. The only part of the estimator that touches the
/// system.
///
/// Each source is move-only and owns its descriptor. Constructors throw std::system_error (or
/// std::runtime_error with libpcap's own words) naming what was attempted on what. One thread per source.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "estimator/estimator.hpp"

namespace weir {

using FrameHandler = std::function<void(const Frame&)>;
/// Several frames at a time, all valid during the call only.
using FramesHandler = std::function<void(std::span<const Frame>)>;

struct CaptureCounters {
  std::uint64_t received = 0;  ///< by the tap, those dropped included
  std::uint64_t dropped = 0;   ///< the ring was full
};

/// A live tap (TPACKET_V3 under libpcap). Frame times are on CLOCK_MONOTONIC, mapped from the kernel's
/// stamps.
class LiveCapture {
 public:
  struct Options {
    /// nullopt: what the link needs. On Ethernet all that may carry IP, tagged or not, because delivered
    /// rates are scaled by the share of TCP in all bytes; on other links everything. "tcp or (vlan and tcp)"
    /// is cheaper where there is nothing but TCP. (`tcp` alone misses every tagged frame whose tag stands in
    /// the frame.)
    std::optional<std::string> filter{};
    /// Bytes kept of each frame: up to the last TCP option of a flow inside VXLAN over IPv6. Two VLAN tags
    /// and the headers of Ethernet, IPv6, UDP, VXLAN, Ethernet, IPv6 and TCP are 8 + 14 + 40 + 8 + 8 + 14 +
    /// 40 + 60.
    int snap_length = 192;
    std::size_t ring_bytes = 32U << 20U;
  };
  LiveCapture(const std::string& interface, const Options& options);
  /// `count` taps, each with a ring of its own, that share the frames of an Ethernet port: each frame comes
  /// to one of them, both directions of a connection to the same one (fanout_program). What is stamped before
  /// it returns may have come to several, or to another one: pass it over.
  [[nodiscard]] static std::vector<LiveCapture> share(const std::string& interface, const Options& options,
                                                      std::size_t count);
  ~LiveCapture();
  LiveCapture(LiveCapture&&) noexcept;
  LiveCapture& operator=(LiveCapture&&) noexcept;

  [[nodiscard]] int descriptor() const;  ///< to poll for readability
  /// Hands over what is there, at most `most` frames; returns how many. Throws when the interface is gone.
  std::size_t dispatch(std::size_t most, const FrameHandler& handler);
  [[nodiscard]] CaptureCounters counters();
  /// Leaves out most frames of connections that `sample` does not follow, from the next frame on (those in
  /// the ring stay); false: this link's or kernel's filter cannot, all frames come as before. Throws when it
  /// could before and cannot any more: open another.
  [[nodiscard]] bool follow(const FlowSample& sample);

 private:
  void join(std::vector<LiveCapture>& group);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Reads a pcap, pcapng, or .xz or .gz of one to its end, or `most` frames of it; frame times are the file's
/// own. Returns frames handed over. A truncated file ends with what it had: `*truncated` says so.
std::uint64_t read_capture_file(const std::filesystem::path& path, const FramesHandler& handler,
                                bool* truncated = nullptr, std::uint64_t most = UINT64_MAX);

}  // namespace weir
