// bench_traffic: writes a capture file of many concurrent TCP connections, as the tap of a WAN port sees
// them.
//
// Each connection opens with a handshake, then sends bursts of two segments whose ACK comes a round trip
// later; now and then a segment is lost beyond the tap, SACKed around and sent again. Frames are cut to a
// snap length, as captures of headers are. Deterministic from its seed.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <iostream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <arpa/inet.h>

#include <CLI/CLI.hpp>

namespace {

constexpr std::uint32_t kSegment = 1448;  // MTU 1500 with timestamps
constexpr std::uint32_t kSynLength = 20;  // TCP options of a SYN
constexpr std::uint32_t kDataOptions = 12;
constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kAck = 0x10;

struct Options {
  std::string out;
  std::uint64_t packets = 1'000'000;
  std::uint32_t flows = 1000;
  std::uint32_t snap = 96;
  double loss = 0.001;
  double rtt_ms = 20.0;
  double gap_ns = 1000.0;
  std::uint32_t seed = 1;
};

struct Connection {
  std::uint32_t sent = 0;      ///< next byte to send, relative
  std::uint32_t received = 0;  ///< the highest that the far host has
  std::uint32_t hole = 0;      ///< a segment that it lacks
  bool has_hole = false;
  bool sent_again = false;
  bool called = false;  ///< the SYN has left
  bool open = false;    ///< and was answered
};

/// Something that happens to a connection at a certain packet of the file.
struct Event {
  enum class Kind : std::uint8_t { syn_ack, arrival, repair } kind;
  std::uint32_t connection;
  std::uint32_t number;  ///< bytes that arrived reach up to this
  std::uint64_t due_ns;
};

class CaptureWriter {
 public:
  CaptureWriter(const std::string& path, std::uint32_t snap)
      : file_(std::fopen(path.c_str(), "wb")), snap_(snap) {
    if (!file_) throw std::runtime_error("cannot write " + path);
    constexpr std::size_t kBuffer = 1 << 20;
    std::setvbuf(file_.get(), nullptr, _IOFBF, kBuffer);
    const std::array<std::uint32_t, 6> header{0xa1b23c4d, 4U << 16U | 2U, 0, 0, snap, 1};
    put(header.data(), sizeof header);
  }
  void frame(std::uint64_t at_ns, const std::uint8_t* headers, std::uint32_t length, std::uint32_t wire) {
    const std::uint32_t kept = std::min(wire, snap_);
    const std::array<std::uint32_t, 4> record{static_cast<std::uint32_t>(at_ns / 1'000'000'000U),
                                              static_cast<std::uint32_t>(at_ns % 1'000'000'000U), kept, wire};
    put(record.data(), sizeof record);
    put(headers, std::min(length, kept));
    static constexpr std::array<std::uint8_t, 256> kNothing{};
    for (std::uint32_t left = kept - std::min(length, kept); left > 0;) {
      const std::uint32_t some = std::min<std::uint32_t>(left, kNothing.size());
      put(kNothing.data(), some);
      left -= some;
    }
  }

 private:
  struct Closer {
    void operator()(std::FILE* file) const { static_cast<void>(std::fclose(file)); }
  };
  void put(const void* bytes, std::size_t length) {
    if (std::fwrite(bytes, 1, length, file_.get()) != length) throw std::runtime_error("the file is full");
  }
  std::unique_ptr<std::FILE, Closer> file_;
  std::uint32_t snap_;
};

class Traffic {
 public:
  explicit Traffic(const Options& options)
      : options_(options),
        writer_(options.out, options.snap),
        connections_(options.flows),
        random_(options.seed) {}

  void write() {
    std::uniform_int_distribution<std::uint32_t> any(0, options_.flows - 1);
    std::bernoulli_distribution lost(options_.loss);
    while (written_ < options_.packets) {
      if (!events_.empty() && events_.front().due_ns <= now_) {
        const Event event = events_.front();
        events_.pop_front();
        answer(event);
        continue;
      }
      const std::uint32_t c = any(random_);
      Connection& connection = connections_[c];
      if (!connection.called) {
        connection.called = true;
        send(c, 0, 0, kSyn);
        later(Event::Kind::syn_ack, c, 0);
      }
      if (!connection.open) {
        now_ += static_cast<std::uint64_t>(options_.gap_ns);  // its turn passes
        continue;
      }
      const std::uint32_t first = connection.sent;
      send(c, first, kSegment, kAck);
      send(c, first + kSegment, kSegment, kAck);
      connection.sent += 2 * kSegment;
      if (!connection.has_hole && lost(random_)) {
        connection.has_hole = true;
        connection.sent_again = false;
        connection.hole = first;
      }
      later(Event::Kind::arrival, c, connection.sent);
    }
  }

 private:
  void later(Event::Kind kind, std::uint32_t connection, std::uint32_t number) {
    const auto rtt = static_cast<std::uint64_t>(options_.rtt_ms * 1e6);
    events_.push_back({.kind = kind, .connection = connection, .number = number, .due_ns = now_ + rtt});
  }

  void answer(const Event& event) {
    Connection& connection = connections_[event.connection];
    switch (event.kind) {
      case Event::Kind::syn_ack:
        connection.open = true;
        reply(event.connection, 0, kSyn | kAck, {});
        send(event.connection, 0, 0, kAck);
        break;
      case Event::Kind::arrival:
        connection.received = event.number;
        acknowledge(event.connection);
        break;
      case Event::Kind::repair:
        connection.has_hole = false;
        acknowledge(event.connection);
        break;
    }
  }

  struct Sack {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
  };

  /// All that arrived, or what lies above the hole; the first of those asks for its repair.
  void acknowledge(std::uint32_t c) {
    Connection& connection = connections_[c];
    if (!connection.has_hole || connection.received <= connection.hole) {
      reply(c, connection.received, kAck, {});
      return;
    }
    reply(c, connection.hole, kAck, {connection.hole + kSegment, connection.received});
    if (connection.sent_again) return;
    connection.sent_again = true;
    send(c, connection.hole, kSegment, kAck);
    later(Event::Kind::repair, c, 0);
  }

  void send(std::uint32_t c, std::uint32_t from, std::uint32_t payload, std::uint8_t flags) {
    build(c, true, base_of(c) + from + ((flags & kSyn) != 0 ? 0 : 1), peer_base_of(c) + 1, payload, flags,
          {});
  }
  void reply(std::uint32_t c, std::uint32_t ack, std::uint8_t flags, Sack sack) {
    if (sack.end != 0) sack = {base_of(c) + 1 + sack.begin, base_of(c) + 1 + sack.end};
    build(c, false, peer_base_of(c) + ((flags & kSyn) != 0 ? 0 : 1), base_of(c) + 1 + ack, 0, flags, sack);
  }
  [[nodiscard]] static std::uint32_t base_of(std::uint32_t c) { return c * 2'654'435'761U; }
  [[nodiscard]] static std::uint32_t peer_base_of(std::uint32_t c) { return c * 40'503U + 7U; }

  static void put16(std::uint8_t* at, std::uint32_t value) {
    const std::uint16_t network = htons(static_cast<std::uint16_t>(value));
    std::memcpy(at, &network, sizeof network);
  }
  static void put32(std::uint8_t* at, std::uint32_t value) {
    const std::uint32_t network = htonl(value);
    std::memcpy(at, &network, sizeof network);
  }

  void build(std::uint32_t c, bool outbound, std::uint32_t seq, std::uint32_t ack, std::uint32_t payload,
             std::uint8_t flags, Sack sack) {
    std::array<std::uint8_t, 128> h{};
    const bool syn = (flags & kSyn) != 0;
    const std::uint32_t sack_bytes = sack.end != 0 ? 12 : 0;
    const std::uint32_t tcp = 20 + (syn ? kSynLength : kDataOptions + sack_bytes);
    const std::uint32_t ip = 20 + tcp + payload;
    h[5] = 1;
    h[11] = 2;
    put16(&h[12], 0x0800);
    std::uint8_t* const i = &h[14];
    i[0] = 0x45;
    put16(i + 2, ip);
    put16(i + 4, ip_id_++);
    put16(i + 6, 0x4000);
    i[8] = 64;
    i[9] = 6;
    const std::uint32_t ours = 0x0a010000U + c % 50'000U;                      // 10.1.0.0/16
    const std::uint32_t theirs = 0x0a140000U + (c / 50'000U) * 64U + c % 61U;  // 10.20.0.0/16
    put32(i + 12, outbound ? ours : theirs);
    put32(i + 16, outbound ? theirs : ours);
    std::uint8_t* const t = i + 20;
    const std::uint32_t our_port = 20'000 + c % 40'000U;
    put16(t, outbound ? our_port : 443);
    put16(t + 2, outbound ? 443 : our_port);
    put32(t + 4, seq);
    put32(t + 8, flags == kSyn ? 0 : ack);
    t[12] = static_cast<std::uint8_t>(tcp / 4 << 4U);
    t[13] = flags;
    put16(t + 14, 60'000);
    std::uint8_t* o = t + 20;
    if (syn) {  // MSS 1460, SACK permitted, timestamps, NOP, window scale 7
      constexpr std::array<std::uint8_t, 20> kOptions{2, 4, 5, 180, 4, 2, 8, 10, 0, 0,
                                                      0, 1, 0, 0,   0, 0, 1, 3,  3, 7};
      std::memcpy(o, kOptions.data(), kOptions.size());
    } else {
      o[0] = o[1] = 1;
      o[2] = 8;
      o[3] = 10;
      put32(o + 4, static_cast<std::uint32_t>(now_ / 1'000'000U));
      put32(o + 8, static_cast<std::uint32_t>(now_ / 1'000'000U));
      if (sack_bytes > 0) {
        o += kDataOptions;
        o[0] = o[1] = 1;
        o[2] = 5;
        o[3] = 10;
        put32(o + 4, sack.begin);
        put32(o + 8, sack.end);
      }
    }
    writer_.frame(now_, h.data(), 14 + 20 + tcp, 14 + ip);
    ++written_;
    now_ += static_cast<std::uint64_t>(options_.gap_ns);
  }

  const Options& options_;
  CaptureWriter writer_;
  std::vector<Connection> connections_;
  std::mt19937 random_;
  std::deque<Event> events_;
  std::uint64_t now_ = 1'700'000'000'000'000'000U;
  std::uint64_t written_ = 0;
  std::uint32_t ip_id_ = 1;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Writes a capture of many concurrent TCP connections.");
  app.add_option("--out", options.out, "the file")->required();
  app.add_option("--packets", options.packets);
  app.add_option("--flows", options.flows)->check(CLI::Range(1U, 3'000'000U));
  app.add_option("--snap", options.snap, "bytes kept of each frame");
  app.add_option("--loss", options.loss, "share of the bursts whose first segment is lost beyond the tap");
  app.add_option("--rtt-ms", options.rtt_ms);
  app.add_option("--gap-ns", options.gap_ns, "between frames");
  app.add_option("--seed", options.seed);
  CLI11_PARSE(app, argc, argv);
  try {
    Traffic(options).write();
  } catch (const std::exception& failure) {
    std::cerr << "bench_traffic: " << failure.what() << "\n";
    return 1;
  }
  return 0;
}
