#include "shaper/classifier_port.hpp"

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string_view>

#include <bpf/libbpf.h>
#include <libmnl/libmnl.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "shaper/classifier_program.hpp"

namespace weir::shaper {
namespace {

constexpr std::uint32_t kClsactHook = 0xffff0000;
constexpr std::uint32_t kIngress = kClsactHook | TC_H_MIN_INGRESS;
constexpr std::uint32_t kEgress = kClsactHook | TC_H_MIN_EGRESS;

struct SocketCloser {
  void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
};

/// One traffic-control dump request: `on_message` sees every message of the answer.
void dump_tc(std::uint16_t type, const tcmsg& what, const std::string& attempt,
             const std::function<void(const nlmsghdr*)>& on_message) {
  const std::unique_ptr<mnl_socket, SocketCloser> socket(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC));
  if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) fail_classifier(errno, attempt);
  std::vector<char> buffer(32768);  // the kernel's largest dump message
  auto* request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = type;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request->nlmsg_seq = 1;
  std::memcpy(mnl_nlmsg_put_extra_header(request, sizeof(what)), &what, sizeof(what));
  if (mnl_socket_sendto(socket.get(), request, request->nlmsg_len) < 0) fail_classifier(errno, attempt);
  const auto relay = [](const nlmsghdr* message, void* data) {
    (*static_cast<const std::function<void(const nlmsghdr*)>*>(data))(message);
    return MNL_CB_OK;
  };
  auto* callback = const_cast<std::function<void(const nlmsghdr*)>*>(&on_message);
  for (int more = MNL_CB_OK; more > MNL_CB_STOP;) {
    const auto length = mnl_socket_recvfrom(socket.get(), buffer.data(), buffer.size());
    if (length < 0) fail_classifier(errno, attempt);
    more = mnl_cb_run(buffer.data(), static_cast<std::size_t>(length), 1, mnl_socket_get_portid(socket.get()),
                      relay, callback);
    if (more < 0) fail_classifier(errno, attempt);
  }
}

const tcmsg& tc_header(const nlmsghdr* message) {
  return *static_cast<const tcmsg*>(mnl_nlmsg_get_payload(message));
}

/// The attribute of this type in [first, end), or null.
const nlattr* find_attribute(const void* first, const char* end, std::uint16_t type) {
  const auto* at = static_cast<const nlattr*>(first);
  const auto left = [&] {
    return static_cast<int>(end - static_cast<const char*>(static_cast<const void*>(at)));
  };
  for (; mnl_attr_ok(at, left()); at = mnl_attr_next(at))
    if (mnl_attr_get_type(at) == type) return at;
  return nullptr;
}

const nlattr* top_attribute(const nlmsghdr* message, std::uint16_t type) {
  return find_attribute(mnl_nlmsg_get_payload_offset(message, sizeof(tcmsg)),
                        static_cast<const char*>(mnl_nlmsg_get_payload_tail(message)), type);
}

const nlattr* nested_attribute(const nlattr* nest, std::uint16_t type) {
  const auto* first = static_cast<const char*>(mnl_attr_get_payload(nest));
  return find_attribute(first, first + mnl_attr_get_payload_len(nest), type);
}

std::string text_of(const nlattr* attribute) {
  if (attribute == nullptr) return {};
  const std::string_view raw(mnl_attr_get_str(attribute), mnl_attr_get_payload_len(attribute));
  return std::string(raw.substr(0, raw.find('\0')));
}

SeenFilter seen_filter(const nlmsghdr* message) {
  const auto& header = tc_header(message);
  SeenFilter seen{.priority = static_cast<std::uint16_t>(TC_H_MAJ(header.tcm_info) >> 16U),
                  .handle = header.tcm_handle,
                  .kind = text_of(top_attribute(message, TCA_KIND)),
                  .program_id = 0,
                  .program_name = {}};
  const auto* options = top_attribute(message, TCA_OPTIONS);
  if (seen.kind != "bpf" || options == nullptr) return seen;
  if (const auto* id = nested_attribute(options, TCA_BPF_ID)) seen.program_id = mnl_attr_get_u32(id);
  // libbpf names a filter "program:[id]".
  const auto name = text_of(nested_attribute(options, TCA_BPF_NAME));
  seen.program_name = name.substr(0, name.find(':'));
  return seen;
}

/// The program parses from an Ethernet header on; a tunnel or PPP port has none.
void refuse_port_without_ethernet(const std::string& name) {
  const Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  name.copy(static_cast<char*>(request.ifr_name), IFNAMSIZ - 1);
  if (!socket || ::ioctl(socket.get(), SIOCGIFHWADDR, &request) != 0)
    fail_classifier(errno, "read the link type of " + name);
  if (request.ifr_hwaddr.sa_family != ARPHRD_ETHER)
    fail_classifier(EPROTONOSUPPORT, "classify on " + name + ", which is not an Ethernet interface");
}

bpf_tc_hook hook_on(unsigned index, bpf_tc_attach_point point) {
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(index), .attach_point = point);
  return hook;
}

constexpr auto kBothEnds = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);

}  // namespace

ClassifierPort::ClassifierPort(std::string interface)
    : name_(std::move(interface)), index_(::if_nametoindex(name_.c_str())) {
  if (index_ == 0) fail_classifier(errno, "find interface " + name_);
  refuse_port_without_ethernet(name_);
}

std::optional<ClassifierPort> ClassifierPort::find(const std::string& interface) {
  const auto index = ::if_nametoindex(interface.c_str());
  if (index == 0) return std::nullopt;
  return ClassifierPort(interface, index);
}

std::string ClassifierPort::hook_qdisc() const {
  std::string kind;
  // The kernel does not narrow a qdisc dump to one interface (net/sched/sch_api.c, tc_dump_qdisc).
  dump_tc(RTM_GETQDISC, tcmsg{}, "list the qdiscs of " + name_, [&](const nlmsghdr* message) {
    const auto& header = tc_header(message);
    if (header.tcm_ifindex == static_cast<int>(index_) && header.tcm_parent == TC_H_CLSACT)
      kind = text_of(top_attribute(message, TCA_KIND));
  });
  return kind;
}

bool ClassifierPort::create_clsact() const {
  const LibbpfLog log;
  auto hook = hook_on(index_, kBothEnds);
  const int error = bpf_tc_hook_create(&hook);
  if (error == -EEXIST) return false;
  if (error != 0) fail_classifier(-error, LibbpfLog::with_tail("create clsact on " + name_));
  return true;
}

void ClassifierPort::delete_clsact() const {
  const LibbpfLog log;
  auto hook = hook_on(index_, kBothEnds);
  if (const int error = bpf_tc_hook_destroy(&hook); error != 0)
    fail_classifier(-error, LibbpfLog::with_tail("delete clsact on " + name_));
}

std::vector<SeenFilter> ClassifierPort::filters_at(std::uint32_t parent) const {
  tcmsg what{};
  what.tcm_ifindex = static_cast<int>(index_);
  what.tcm_parent = parent;
  std::vector<SeenFilter> seen;
  dump_tc(RTM_GETTFILTER, what, "list the filters of " + name_,
          [&](const nlmsghdr* message) { seen.push_back(seen_filter(message)); });
  return seen;
}

std::vector<SeenFilter> ClassifierPort::egress_filters() const {
  return filters_at(kEgress);
}
std::vector<SeenFilter> ClassifierPort::ingress_filters() const {
  return filters_at(kIngress);
}

std::optional<SeenFilter> ClassifierPort::our_filter() const {
  for (auto& filter : egress_filters())
    if (filter.priority == kFilterPriority && filter.handle == kFilterHandle &&
        filter.program_name == kProgramName)
      return std::move(filter);
  return std::nullopt;
}

void ClassifierPort::refuse_foreign_filter_in_our_place() const {
  for (const auto& filter : egress_filters()) {
    if (filter.priority != kFilterPriority || filter.program_name == kProgramName) continue;
    // One priority holds one kind; among bpf filters the handle tells them apart.
    if (filter.kind == "bpf" && filter.handle != kFilterHandle) continue;
    fail_classifier(EEXIST, "use filter pref 7 handle 0x7e17 at egress of " + name_ +
                                ", where a foreign filter stands (" + filter.kind + " " +
                                filter.program_name + ")");
  }
}

void ClassifierPort::attach(const Descriptor& program) const {
  const LibbpfLog log;
  auto hook = hook_on(index_, BPF_TC_EGRESS);
  LIBBPF_OPTS(bpf_tc_opts, filter, .prog_fd = program.get(), .flags = BPF_TC_F_REPLACE,
              .handle = kFilterHandle, .priority = kFilterPriority);
  if (const int error = bpf_tc_attach(&hook, &filter); error != 0)
    fail_classifier(-error, LibbpfLog::with_tail("attach the classifier at egress of " + name_));
}

void ClassifierPort::detach() const {
  const LibbpfLog log;
  auto hook = hook_on(index_, BPF_TC_EGRESS);
  LIBBPF_OPTS(bpf_tc_opts, filter, .handle = kFilterHandle, .priority = kFilterPriority);
  if (const int error = bpf_tc_detach(&hook, &filter); error != 0)
    fail_classifier(-error, LibbpfLog::with_tail("detach the classifier from egress of " + name_));
}

std::uint64_t network_namespace_cookie() {
  const Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  std::uint64_t cookie = 0;
  socklen_t length = sizeof(cookie);
  if (!socket || ::getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) != 0)
    fail_classifier(errno, "read the network namespace's cookie");
  return cookie;
}

}  // namespace weir::shaper
