#include "estimator/sampling_filter.hpp"

#include <cstdint>

#include <linux/if_ether.h>

namespace weir {
namespace {

/// Bytes into an Ethernet frame (RFC 791, RFC 8200).
constexpr std::uint32_t kEtherType = 12;
constexpr std::uint32_t kIp = 14;
constexpr std::uint32_t kTcp = 6;  ///< protocol number

/// Where a jump leads that is not known yet.
enum Target : std::uint8_t { next = 0, pass = 0xfe, left_out = 0xfd };

class Program {
 public:
  void add(unsigned code, std::uint32_t k, std::uint8_t if_true = next, std::uint8_t if_false = next) {
    code_.push_back({.code = static_cast<std::uint16_t>(code), .jt = if_true, .jf = if_false, .k = k});
  }
  [[nodiscard]] std::size_t size() const { return code_.size(); }
  /// A conditional jump that was added earlier leads to what is added next.
  void land(std::size_t jump) { code_[jump].jt = static_cast<std::uint8_t>(code_.size() - jump - 1); }
  void land_always(std::size_t jump) { code_[jump].k = static_cast<std::uint32_t>(code_.size() - jump - 1); }

  /// XOR of `words` words of four bytes from `at` on, into M[0].
  void fold(std::uint32_t at, std::uint32_t words) {
    add(BPF_LD | BPF_W | BPF_ABS, at);
    for (std::uint32_t i = 1; i < words; ++i) {
      add(BPF_ST, 0);
      add(BPF_LD | BPF_W | BPF_ABS, at + 4 * i);
      add(BPF_LDX | BPF_MEM, 0);
      add(BPF_ALU | BPF_XOR | BPF_X, 0);
    }
    add(BPF_ST, 0);
  }
  /// XOR of both ports, into the accumulator.
  void fold_ports(std::uint32_t at) {
    add(BPF_LD | BPF_H | BPF_ABS, at);
    add(BPF_ST, 1);
    add(BPF_LD | BPF_H | BPF_ABS, at + 2);
    add(BPF_LDX | BPF_MEM, 1);
    add(BPF_ALU | BPF_XOR | BPF_X, 0);
  }

  [[nodiscard]] std::vector<sock_filter> finish(std::span<const sock_filter> base) {
    // One in kThinning of those that are left out goes on to `base` as well.
    const std::size_t thinning = code_.size();
    add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_RANDOM));
    add(BPF_JMP | BPF_JSET | BPF_K, FlowSample::kThinning - 1, next, 1);
    add(BPF_RET | BPF_K, 0);
    const auto offset = [&](std::uint8_t target, std::size_t from) {
      const std::size_t to = target == pass       ? code_.size()
                             : target == left_out ? thinning
                                                  : from + 1 + target;
      return static_cast<std::uint8_t>(to - from - 1);
    };
    for (std::size_t i = 0; i < code_.size(); ++i) {
      if (BPF_CLASS(code_[i].code) != BPF_JMP || BPF_OP(code_[i].code) == BPF_JA) continue;
      code_[i].jt = offset(code_[i].jt, i);
      code_[i].jf = offset(code_[i].jf, i);
    }
    code_.insert(code_.end(), base.begin(), base.end());
    return std::move(code_);
  }

 private:
  std::vector<sock_filter> code_;
};

}  // namespace

std::vector<sock_filter> with_sampling(const FlowSample& sample, std::span<const sock_filter> base) {
  if (sample.one_in == 1) return {base.begin(), base.end()};
  constexpr unsigned kEquals = BPF_JMP | BPF_JEQ | BPF_K;
  Program p;
  p.add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT));
  p.add(kEquals, 0, next, pass);
  p.add(BPF_LD | BPF_H | BPF_ABS, kEtherType);
  const std::size_t is_ip6 = p.size();
  p.add(kEquals, ETH_P_IPV6, next, next);
  p.add(kEquals, ETH_P_IP, next, pass);
  p.add(BPF_LD | BPF_B | BPF_ABS, kIp);
  p.add(kEquals, 0x45, next, pass);
  p.add(BPF_LD | BPF_B | BPF_ABS, kIp + 9);
  p.add(kEquals, kTcp, next, pass);
  p.add(BPF_LD | BPF_H | BPF_ABS, kIp + 6);
  p.add(BPF_JMP | BPF_JSET | BPF_K, 0x3fff, pass, next);
  p.fold(kIp + 12, 2);
  p.fold_ports(kIp + 20);
  const std::size_t to_hash = p.size();
  p.add(BPF_JMP | BPF_JA, 0);

  p.land(is_ip6);
  p.add(BPF_LD | BPF_B | BPF_ABS, kIp + 6);
  p.add(kEquals, kTcp, next, pass);
  p.fold(kIp + 8, 8);
  p.fold_ports(kIp + 40);

  // FlowSample::hash: the ports in the accumulator, the addresses in M[0].
  p.land_always(to_hash);
  p.add(BPF_ALU | BPF_MUL | BPF_K, FlowSample::kPortFactor);
  p.add(BPF_ST, 1);
  p.add(BPF_LD | BPF_MEM, 0);
  p.add(BPF_ALU | BPF_XOR | BPF_K, sample.seed);
  p.add(BPF_ALU | BPF_MUL | BPF_K, FlowSample::kAddressFactor);
  p.add(BPF_LDX | BPF_MEM, 1);
  p.add(BPF_ALU | BPF_ADD | BPF_X, 0);
  p.add(BPF_ALU | BPF_MUL | BPF_K, FlowSample::kFactor);
  p.add(BPF_JMP | BPF_JSET | BPF_K, sample.passed_over(), left_out, pass);
  return p.finish(base);
}

}  // namespace weir
