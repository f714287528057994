#include "estimator/fanout_program.hpp"

#include <cstddef>

#include <linux/if_ether.h>
#include <linux/if_packet.h>

namespace weir {
namespace {

/// Tags that stand in the frame; the kernel has taken another one out of what arrives.
constexpr int kTags = 3;
constexpr std::uint32_t kEthernet = 14;
constexpr std::uint32_t kUdp = 8;
constexpr std::uint32_t kVxlan = 8;
constexpr std::uint32_t kVxlanPort = 4789;       // RFC 7348
constexpr std::uint32_t kLinuxVxlanPort = 8472;  // Linux's older one
constexpr std::uint32_t kPppIp = 0x0021;         // RFC 1661, RFC 5072
constexpr std::uint32_t kPppIp6 = 0x0057;
constexpr std::uint32_t kPpp = 8;  // RFC 2516: six bytes and the protocol's two

// Odd numbers with no pattern; others than those of FlowSample::hash, or one tap would get all whom that
// follows.
constexpr std::uint32_t kAddressFactor = 0x7feb352d;
constexpr std::uint32_t kPortFactor = 0x846ca68b;
constexpr std::uint32_t kFactor = 0x9e485565;

enum Protocol : std::uint32_t { ip_in_ip = 4, tcp = 6, udp = 17, ip6_in_ip = 41, gre = 47 };

/// What the scratch memory holds.
enum Cell : std::uint32_t {
  at = 0,         ///< where the header begins that is looked at
  addresses = 1,  ///< of the newest IP header, XORed
  ports = 2,      ///< XORed; 0: none
  protocol = 3,   ///< of what is behind the IP header
  behind = 4,     ///< where that begins
  spare = 5,
};

/// Assembles; jumps lead forward only, and all are far ones: conditional ones reach no further than 255
/// instructions.
class Assembler {
 public:
  using Label = std::size_t;
  [[nodiscard]] Label label() {
    places_.push_back(0);
    return places_.size() - 1;
  }
  void here(Label label) { places_[label] = code_.size(); }
  void add(unsigned code, std::uint32_t k = 0) { put(code, 0, 0, k); }
  void jump(Label to) {
    jumps_.push_back({code_.size(), to});
    put(BPF_JMP | BPF_JA, 0, 0, 0);
  }
  void jump_if(unsigned comparison, std::uint32_t k, Label to) {
    put(BPF_JMP | comparison | BPF_K, 0, 1, k);
    jump(to);
  }
  void jump_unless(unsigned comparison, std::uint32_t k, Label to) {
    put(BPF_JMP | comparison | BPF_K, 1, 0, k);
    jump(to);
  }

  void load(Cell cell) { add(BPF_LD | BPF_MEM, cell); }
  void load_x(Cell cell) { add(BPF_LDX | BPF_MEM, cell); }
  void store(Cell cell) { add(BPF_ST, cell); }
  /// Of the frame, behind X.
  void load_byte(std::uint32_t offset) { add(BPF_LD | BPF_B | BPF_IND, offset); }
  void load_half(std::uint32_t offset) { add(BPF_LD | BPF_H | BPF_IND, offset); }
  void load_word(std::uint32_t offset) { add(BPF_LD | BPF_W | BPF_IND, offset); }
  /// Moves the header that is looked at on, past `bytes`.
  void pass(std::uint32_t bytes) {
    load(at);
    add(BPF_ALU | BPF_ADD | BPF_K, bytes);
    store(at);
  }
  /// XORs `words` words of four bytes from `offset` on, behind X, into a cell.
  void fold(std::uint32_t offset, std::uint32_t words, Cell into) {
    load_word(offset);
    store(into);
    for (std::uint32_t i = 1; i < words; ++i) {
      load_x(at);
      load_word(offset + 4 * i);
      load_x(into);
      add(BPF_ALU | BPF_XOR | BPF_X);
      store(into);
    }
  }

  [[nodiscard]] std::vector<sock_filter> finish() {
    for (const Jump& jump : jumps_)
      code_[jump.from].k = static_cast<std::uint32_t>(places_[jump.to] - jump.from - 1);
    return std::move(code_);
  }

 private:
  struct Jump {
    std::size_t from;
    Label to;
  };
  void put(unsigned code, std::uint8_t if_true, std::uint8_t if_false, std::uint32_t k) {
    code_.push_back({.code = static_cast<std::uint16_t>(code), .jt = if_true, .jf = if_false, .k = k});
  }

  std::vector<sock_filter> code_;
  std::vector<std::size_t> places_;
  std::vector<Jump> jumps_;
};

using Label = Assembler::Label;

/// A program of its own for each of two IP headers: the outer one, and what a tunnel carries.
class FanoutProgram {
 public:
  explicit FanoutProgram(std::uint32_t seed) : seed_(seed) {}

  [[nodiscard]] std::vector<sock_filter> assemble() {
    find_link_header();
    const Label outer4 = a_.label();
    const Label outer6 = a_.label();
    const Label in_ppp = a_.label();
    for (int tag = 0; tag <= kTags; ++tag) {
      branch_on_ethertype(outer4, outer6);
      a_.jump_if(BPF_JEQ, ETH_P_PPP_SES, in_ppp);
      const Label is_tag = a_.label();
      for (const std::uint32_t type : {0x8100U, 0x88a8U, 0x9100U}) a_.jump_if(BPF_JEQ, type, is_tag);
      a_.jump(nothing_known_);
      a_.here(is_tag);
      if (tag == kTags) break;
      a_.load_x(at);
      a_.load_half(2);
      a_.add(BPF_MISC | BPF_TAX);
      a_.pass(4);
      a_.add(BPF_MISC | BPF_TXA);
    }
    a_.jump(nothing_known_);

    a_.here(in_ppp);
    a_.load_x(at);
    a_.load_half(kPpp - 2);
    a_.add(BPF_MISC | BPF_TAX);
    a_.pass(kPpp);
    a_.add(BPF_MISC | BPF_TXA);
    a_.jump_if(BPF_JEQ, kPppIp, outer4);
    a_.jump_if(BPF_JEQ, kPppIp6, outer6);
    a_.jump(nothing_known_);

    const Label inner4 = a_.label();
    const Label inner6 = a_.label();
    const Label outer = a_.label();
    const Label inner = a_.label();
    read_ip4(outer4, outer);
    read_ip6(outer6, outer);
    enter_tunnel(outer, inner4, inner6);
    read_ip4(inner4, inner);
    read_ip6(inner6, inner);
    // A tunnel in a tunnel goes by its addresses: its ports differ by direction.
    a_.here(inner);
    read_ports_of(tcp);
    hash();
    return a_.finish();
  }

 private:
  /// Leaves the header behind Ethernet's in `at`, its type in A. What leaves is seen from the link header on,
  /// what arrives from what is behind it on (net/packet/af_packet.c, packet_rcv_fanout).
  void find_link_header() {
    const Label arrives = a_.label();
    const Label found = a_.label();
    a_.add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_PKTTYPE));
    a_.jump_unless(BPF_JEQ, PACKET_OUTGOING, arrives);
    a_.add(BPF_LD | BPF_IMM, kEthernet);
    a_.store(at);
    a_.add(BPF_LD | BPF_H | BPF_ABS, kEthernet - 2);
    a_.jump(found);
    a_.here(arrives);
    a_.add(BPF_LD | BPF_IMM, 0);
    a_.store(at);
    a_.add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_PROTOCOL));
    a_.here(found);
  }

  void branch_on_ethertype(Label ip4, Label ip6) {
    a_.jump_if(BPF_JEQ, ETH_P_IP, ip4);
    a_.jump_if(BPF_JEQ, ETH_P_IPV6, ip6);
  }

  /// Addresses, protocol and what is behind; a fragment has neither ports nor a tunnel (the estimator counts
  /// its bytes alone, and later ones have no ports).
  void read_ip4(Label begin, Label then) {
    const Label whole = a_.label();
    a_.here(begin);
    a_.load_x(at);
    a_.fold(12, 2, addresses);
    a_.add(BPF_LD | BPF_IMM, 0);
    a_.store(ports);
    a_.load_x(at);
    a_.load_byte(0);
    a_.add(BPF_ALU | BPF_AND | BPF_K, 0x0f);
    a_.add(BPF_ALU | BPF_LSH | BPF_K, 2);
    a_.add(BPF_ALU | BPF_ADD | BPF_X);
    a_.store(behind);
    a_.load_half(6);
    a_.jump_unless(BPF_JSET, 0x3fff, whole);
    a_.jump(hash_);
    a_.here(whole);
    a_.load_byte(9);
    a_.store(protocol);
    a_.jump(then);
  }

  /// Extension headers are not gone through: what has some goes by its addresses.
  void read_ip6(Label begin, Label then) {
    a_.here(begin);
    a_.load_x(at);
    a_.fold(8, 8, addresses);
    a_.add(BPF_LD | BPF_IMM, 0);
    a_.store(ports);
    a_.load(at);
    a_.add(BPF_ALU | BPF_ADD | BPF_K, 40);
    a_.store(behind);
    a_.load_x(at);
    a_.load_byte(6);
    a_.store(protocol);
    a_.jump(then);
  }

  /// What a tunnel carries when it is one, else the ports.
  void enter_tunnel(Label begin, Label inner4, Label inner6) {
    const Label is_udp = a_.label();
    const Label is_gre = a_.label();
    const Label is_vxlan = a_.label();
    const Label in_ethernet = a_.label();
    a_.here(begin);
    a_.load(behind);
    a_.store(at);
    a_.load(protocol);
    a_.jump_if(BPF_JEQ, ip_in_ip, inner4);
    a_.jump_if(BPF_JEQ, ip6_in_ip, inner6);
    a_.jump_if(BPF_JEQ, gre, is_gre);
    a_.jump_if(BPF_JEQ, udp, is_udp);
    read_ports_of(tcp);
    a_.jump(hash_);

    a_.here(is_udp);
    a_.load_x(at);
    a_.load_half(2);
    a_.jump_if(BPF_JEQ, kVxlanPort, is_vxlan);
    a_.jump_if(BPF_JEQ, kLinuxVxlanPort, is_vxlan);
    read_ports_of(udp);
    a_.jump(hash_);

    // Version 0 without routing (RFC 2784, 2890): four bytes, and four for each of checksum, key and sequence
    // number.
    a_.here(is_gre);
    a_.load_x(at);
    a_.load_half(0);
    a_.jump_if(BPF_JSET, 0x4007, hash_);
    a_.load_half(2);
    a_.store(protocol);
    for (const std::uint32_t shift : {15U, 13U, 12U}) {
      a_.load_half(0);
      a_.add(BPF_ALU | BPF_RSH | BPF_K, shift);
      a_.add(BPF_ALU | BPF_AND | BPF_K, 1);
      a_.add(BPF_ALU | BPF_LSH | BPF_K, 2);
      a_.store(spare);
      a_.load_x(spare);
      a_.load(behind);
      a_.add(BPF_ALU | BPF_ADD | BPF_X);
      a_.store(behind);
      a_.load_x(at);
    }
    a_.load(behind);
    a_.add(BPF_ALU | BPF_ADD | BPF_K, 4);
    a_.store(at);
    a_.load(protocol);
    branch_on_ethertype(inner4, inner6);
    a_.jump_if(BPF_JEQ, ETH_P_TEB, in_ethernet);
    a_.jump(hash_);

    a_.here(is_vxlan);
    a_.pass(kUdp + kVxlan);
    a_.here(in_ethernet);
    a_.load_x(at);
    a_.load_half(kEthernet - 2);
    a_.add(BPF_MISC | BPF_TAX);
    a_.pass(kEthernet);
    a_.add(BPF_MISC | BPF_TXA);
    branch_on_ethertype(inner4, inner6);
    a_.jump(hash_);
  }

  void read_ports_of(Protocol of) {
    const Label other = a_.label();
    a_.load(protocol);
    a_.jump_unless(BPF_JEQ, of, other);
    a_.load_x(behind);
    a_.load_half(0);
    a_.store(ports);
    a_.load_half(2);
    a_.load_x(ports);
    a_.add(BPF_ALU | BPF_XOR | BPF_X);
    a_.store(ports);
    a_.here(other);
  }

  /// The kernel takes the remainder by the number of taps: the lowest bits must be as good as the highest.
  void hash() {
    a_.here(hash_);
    a_.load(ports);
    a_.add(BPF_ALU | BPF_MUL | BPF_K, kPortFactor);
    a_.add(BPF_MISC | BPF_TAX);
    a_.load(addresses);
    a_.add(BPF_ALU | BPF_XOR | BPF_K, seed_);
    a_.add(BPF_ALU | BPF_MUL | BPF_K, kAddressFactor);
    a_.add(BPF_ALU | BPF_ADD | BPF_X);
    a_.store(spare);
    a_.add(BPF_ALU | BPF_RSH | BPF_K, 15);
    a_.load_x(spare);
    a_.add(BPF_ALU | BPF_XOR | BPF_X);
    a_.add(BPF_ALU | BPF_MUL | BPF_K, kFactor);
    a_.add(BPF_ALU | BPF_RSH | BPF_K, 12);
    a_.add(BPF_RET | BPF_A);
    a_.here(nothing_known_);
    a_.add(BPF_RET | BPF_K, 0);
  }

  std::uint32_t seed_;
  Assembler a_;
  Label hash_ = a_.label();
  Label nothing_known_ = a_.label();
};

}  // namespace

std::vector<sock_filter> fanout_program(std::uint32_t seed) {
  return FanoutProgram(seed).assemble();
}

}  // namespace weir
