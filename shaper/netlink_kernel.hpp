/// The real kernel behind Kernel: rtnetlink over one libmnl socket.
///
/// Owns the socket, which belongs to the network namespace it was opened in. Replies are untrusted: what does
/// not parse is left out, never followed. Dumps are worked on as they come; one that the kernel says was
/// interrupted is asked for again.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <libmnl/libmnl.h>

#include "shaper/kernel.hpp"
#include "shaper/tc_message.hpp"

namespace weir::shaper {

class NetlinkKernel final : public Kernel {
 public:
  NetlinkKernel();

  [[nodiscard]] std::optional<LinkFacts> link(const std::string& interface) override;
  int set_merge_limit(int interface_index, const MergeLimit& limit) override;
  [[nodiscard]] Observed observe(int interface_index) override;
  [[nodiscard]] Observed observe(int interface_index, std::span<const Handle> only) override;
  [[nodiscard]] bool has_fq_codel(int interface_index) override;
  WriteResult write(int interface_index, std::span<const Change> changes) override;
  [[nodiscard]] std::map<Handle, ClassStats> class_stats(int interface_index) override;
  [[nodiscard]] std::map<Handle, ClassStats> class_stats(int interface_index,
                                                         std::span<const Handle> only) override;
  [[nodiscard]] std::map<Handle, LeafStats> leaf_stats(int interface_index) override;
  void pause(std::chrono::milliseconds how_long) override;

  /// The socket's own address: notifications that carry it were caused by us.
  [[nodiscard]] std::uint32_t port_id() const { return mnl_socket_get_portid(socket_.get()); }

 private:
  using Visitor = std::function<void(const nlmsghdr*)>;
  struct Answer {
    std::uint32_t sequence = 0;
    int error = 0;
    std::string text;
  };

  /// `begin` is called first, and again when the kernel says that what came so far does not belong together.
  void dump(std::uint16_t type, int interface_index, Handle parent, const std::string& attempt,
            const std::function<void()>& begin, const Visitor& visit);
  /// False: interrupted.
  [[nodiscard]] bool dump_once(std::uint16_t type, int interface_index, Handle parent,
                               const std::string& attempt, const Visitor& visit);
  /// Asks for each of these alone; what was refused comes back.
  std::vector<Answer> ask_for(std::uint16_t type, std::span<const TcAddress> these,
                              const std::string& attempt, const Visitor& visit);
  /// Sends `bytes`, which hold the messages `first`..`last`, and reads until the answer to `last`.
  std::vector<Answer> exchange(std::span<const std::byte> bytes, std::uint32_t first, std::uint32_t last,
                               const std::string& attempt, const Visitor& visit);
  [[nodiscard]] std::uint32_t first_of_batch();
  std::span<const std::byte> receive(const std::string& attempt);

  struct Close {
    void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
  };
  std::unique_ptr<mnl_socket, Close> socket_;
  std::vector<std::byte> buffer_;
  std::uint32_t sequence_ = 0;
};

}  // namespace weir::shaper
