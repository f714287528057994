#include "shaper/kernel_events.hpp"

#include <cerrno>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/cache.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/socket.h>

namespace weir::shaper {
namespace {

// Somebody who rebuilds thousands of classes while we are busy must not make us miss it.
constexpr int kReceiveBuffer = 1 << 20;

struct CloseSocket {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
struct FreeCache {
  void operator()(nl_cache* cache) const { nl_cache_free(cache); }
};

void check(int result, const char* attempt) {
  if (result >= 0) return;
  const int error = result == -NLE_NOMEM ? ENOMEM : result == -NLE_PERM ? EPERM : EIO;
  throw std::system_error(error, std::generic_category(), std::string(attempt) + ": " + nl_geterror(result));
}

std::optional<KernelEvent::Kind> tc_kind(std::uint16_t type) {
  using Kind = KernelEvent::Kind;
  switch (type) {
    case RTM_NEWQDISC:
      return Kind::qdisc_changed;
    case RTM_DELQDISC:
      return Kind::qdisc_removed;
    case RTM_NEWTCLASS:
      return Kind::class_changed;
    case RTM_DELTCLASS:
      return Kind::class_removed;
    case RTM_NEWTFILTER:
      return Kind::filter_changed;
    case RTM_DELTFILTER:
      return Kind::filter_removed;
    default:
      return std::nullopt;
  }
}

}  // namespace

struct KernelEvents::Impl {
  std::unique_ptr<nl_sock, CloseSocket> socket{nl_socket_alloc()};
  std::map<int, std::string> names;
  const std::function<void(const KernelEvent&)>* handler = nullptr;
  std::size_t handed_over = 0;

  void open() {
    if (!socket) throw std::system_error(ENOMEM, std::generic_category(), "open a netlink event socket");
    learn_names();
    nl_socket_disable_seq_check(socket.get());  // notices carry their cause's sequence number, not ours
    check(nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, &Impl::on_message, this),
          "listen to events");
    check(nl_connect(socket.get(), NETLINK_ROUTE), "open a netlink event socket");
    check(nl_socket_set_buffer_size(socket.get(), kReceiveBuffer, 0), "size the netlink event socket");
    check(nl_socket_add_memberships(socket.get(), RTNLGRP_LINK, RTNLGRP_TC, 0),
          "join the kernel's event groups");
    check(nl_socket_set_nonblocking(socket.get()), "make the netlink event socket non-blocking");
  }

  // With what a link was called before, a later notice shows that it was renamed. A socket of its own: this
  // one's answers must not mix with notices.
  void learn_names() {
    const std::unique_ptr<nl_sock, CloseSocket> asking{nl_socket_alloc()};
    if (!asking) throw std::system_error(ENOMEM, std::generic_category(), "open a netlink socket");
    check(nl_connect(asking.get(), NETLINK_ROUTE), "open a netlink socket");
    nl_cache* links = nullptr;
    check(rtnl_link_alloc_cache(asking.get(), AF_UNSPEC, &links), "read the links");
    const std::unique_ptr<nl_cache, FreeCache> owner{links};
    nl_cache_foreach(
        links,
        [](nl_object* object, void* self) {
          auto* link = static_cast<rtnl_link*>(static_cast<void*>(object));
          if (const char* name = rtnl_link_get_name(link)) {
            static_cast<Impl*>(self)->names[rtnl_link_get_ifindex(link)] = name;
          }
        },
        this);
  }

  void hand_over(const KernelEvent& event) {
    ++handed_over;
    (*handler)(event);
  }

  void on_link_object(rtnl_link* link, std::uint32_t origin) {
    KernelEvent event{.kind = KernelEvent::Kind::link_changed,
                      .interface_index = rtnl_link_get_ifindex(link)};
    event.origin = origin;
    const unsigned flags = rtnl_link_get_flags(link);
    event.running = (flags & IFF_UP) != 0 && (flags & IFF_RUNNING) != 0;
    const char* name = rtnl_link_get_name(link);
    if (name == nullptr) return;
    event.interface = name;
    auto [known, is_new] = names.try_emplace(event.interface_index, event.interface);
    if (!is_new && known->second != event.interface) {
      event.kind = KernelEvent::Kind::link_renamed;
      event.former_name = std::exchange(known->second, event.interface);
    }
    hand_over(event);
  }

  void on_link(nl_msg* message, const nlmsghdr* header) {
    if (nlmsg_valid_hdr(header, sizeof(ifinfomsg)) == 0) return;
    const auto* info = static_cast<const ifinfomsg*>(nlmsg_data(header));
    // A bridge's own news about its ports comes in the same group, as family AF_BRIDGE: not about the link
    // itself.
    if (info->ifi_family != AF_UNSPEC) return;
    if (header->nlmsg_type == RTM_DELLINK) {
      KernelEvent event{.kind = KernelEvent::Kind::link_removed, .interface_index = info->ifi_index};
      event.origin = header->nlmsg_pid;
      if (const auto known = names.extract(info->ifi_index)) event.interface = known.mapped();
      hand_over(event);
      return;
    }
    struct Context {
      Impl* self;
      std::uint32_t origin;
    } context{.self = this, .origin = header->nlmsg_pid};
    nl_msg_parse(
        message,
        [](nl_object* object, void* opaque) {
          const auto* c = static_cast<Context*>(opaque);
          c->self->on_link_object(static_cast<rtnl_link*>(static_cast<void*>(object)), c->origin);
        },
        &context);
  }

  void on_tc(const nlmsghdr* header, KernelEvent::Kind kind) {
    if (nlmsg_valid_hdr(header, sizeof(tcmsg)) == 0) return;
    const auto* tc = static_cast<const tcmsg*>(nlmsg_data(header));
    KernelEvent event{.kind = kind, .interface_index = tc->tcm_ifindex};
    event.handle = tc->tcm_handle;
    event.parent = tc->tcm_parent;
    event.origin = header->nlmsg_pid;
    if (const auto known = names.find(tc->tcm_ifindex); known != names.end()) event.interface = known->second;
    hand_over(event);
  }

  static int on_message(nl_msg* message, void* opaque) {
    auto* self = static_cast<Impl*>(opaque);
    const nlmsghdr* header = nlmsg_hdr(message);
    if (header->nlmsg_type == RTM_NEWLINK || header->nlmsg_type == RTM_DELLINK) {
      self->on_link(message, header);
    } else if (const auto kind = tc_kind(header->nlmsg_type)) {
      self->on_tc(header, *kind);
    }
    return NL_OK;
  }
};

KernelEvents::KernelEvents() : impl_(std::make_unique<Impl>()) {
  impl_->open();
}
KernelEvents::~KernelEvents() = default;
KernelEvents::KernelEvents(KernelEvents&&) noexcept = default;
KernelEvents& KernelEvents::operator=(KernelEvents&&) noexcept = default;

int KernelEvents::descriptor() const {
  return nl_socket_get_fd(impl_->socket.get());
}

std::size_t KernelEvents::drain(const std::function<void(const KernelEvent&)>& handler) {
  impl_->handler = &handler;
  impl_->handed_over = 0;
  for (;;) {
    const int result = nl_recvmsgs_default(impl_->socket.get());
    if (result == -NLE_AGAIN) break;
    if (result == -NLE_NOMEM) {  // ENOBUFS: the kernel had more to say than the buffer holds
      impl_->hand_over({});
    } else if (result < 0 && result != -NLE_INTR) {
      impl_->handler = nullptr;
      check(result, "read kernel events");
    }
  }
  impl_->handler = nullptr;
  return impl_->handed_over;
}

}  // namespace weir::shaper
