#include "proving/sim/endpoints.hpp"

#include <utility>

#include <ns3/bulk-send-application.h>
#include <ns3/config.h>
#include <ns3/double.h>
#include <ns3/inet-socket-address.h>
#include <ns3/internet-stack-helper.h>
#include <ns3/ipv4-header.h>
#include <ns3/ipv4.h>
#include <ns3/packet-sink.h>
#include <ns3/random-variable-stream.h>
#include <ns3/simulator.h>
#include <ns3/string.h>
#include <ns3/tcp-l4-protocol.h>
#include <ns3/tcp-socket-factory.h>
#include <ns3/udp-header.h>
#include <ns3/uinteger.h>

#include "proving/sim/unit.hpp"

namespace weir::proving {
namespace {

constexpr std::uint16_t kSinkPort = 5001;
constexpr std::uint32_t kSegment = 1448;

}  // namespace

void set_tcp_defaults() {
  using ns3::Config::SetDefault;
  SetDefault("ns3::TcpSocket::SegmentSize", ns3::UintegerValue(kSegment));
  SetDefault("ns3::TcpSocket::InitialCwnd", ns3::UintegerValue(10));
  SetDefault("ns3::TcpSocket::SndBufSize", ns3::UintegerValue(4U << 20U));
  SetDefault("ns3::TcpSocket::RcvBufSize", ns3::UintegerValue(6U << 20U));
  SetDefault("ns3::TcpSocketBase::MinRto", ns3::StringValue("200ms"));
  SetDefault("ns3::TcpSocket::DelAckTimeout", ns3::StringValue("40ms"));
  // No window here is ever zero for long, and ns-3.37 probes one after a close without having anything to
  // send it.
  SetDefault("ns3::TcpSocket::PersistTimeout", ns3::StringValue("24h"));
}

Host::Host(ns3::Ipv4Address address, const std::string& congestion,
           std::function<void(ns3::Ptr<ns3::Packet>)> sends)
    : address_(address),
      node_(ns3::CreateObject<ns3::Node>()),
      device_(ns3::CreateObject<ns3::VirtualNetDevice>()) {
  device_->SetSendCallback(ns3::VirtualNetDevice::SendCallback(
      [sends = std::move(sends)](ns3::Ptr<ns3::Packet> packet, const ns3::Address&, const ns3::Address&,
                                 std::uint16_t) {
        sends(std::move(packet));
        return true;
      }));
  device_->SetMtu(1500);
  node_->AddDevice(device_);
  ns3::InternetStackHelper stack;
  stack.SetIpv6StackInstall(false);
  stack.Install(node_);
  const auto ipv4 = node_->GetObject<ns3::Ipv4>();
  const std::uint32_t interface = ipv4->AddInterface(device_);
  ipv4->AddAddress(interface, ns3::Ipv4InterfaceAddress(address, ns3::Ipv4Mask("255.0.0.0")));
  ipv4->SetUp(interface);
  const char* const type = congestion == "newreno" ? "ns3::TcpNewReno" : "ns3::TcpCubic";
  node_->GetObject<ns3::TcpL4Protocol>()->SetAttribute("SocketType",
                                                       ns3::TypeIdValue(ns3::TypeId::LookupByName(type)));
}

void Host::receive(const ns3::Ptr<ns3::Packet>& packet) {
  device_->Receive(packet, 0x0800, device_->GetAddress(), device_->GetAddress(), ns3::NetDevice::PACKET_HOST);
}

void start_tcp(const Load& load, const Host& from, const Host& to, Duration end) {
  const ns3::Time until = to_ns3(std::min(load.until.value_or(end), end));
  const auto sink = ns3::CreateObject<ns3::PacketSink>();
  sink->SetAttribute("Protocol", ns3::TypeIdValue(ns3::TcpSocketFactory::GetTypeId()));
  sink->SetAttribute("Local",
                     ns3::AddressValue(ns3::InetSocketAddress(ns3::Ipv4Address::GetAny(), kSinkPort)));
  to.node()->AddApplication(sink);
  const auto spread = ns3::CreateObject<ns3::UniformRandomVariable>();
  const auto pause = ns3::CreateObject<ns3::ExponentialRandomVariable>();
  pause->SetAttribute("Mean", ns3::DoubleValue(std::max(1e-3, seconds(load.pause))));
  const auto send = [&](ns3::Time start) {
    const auto app = ns3::CreateObject<ns3::BulkSendApplication>();
    app->SetAttribute("Protocol", ns3::TypeIdValue(ns3::TcpSocketFactory::GetTypeId()));
    app->SetAttribute("Remote", ns3::AddressValue(ns3::InetSocketAddress(to.address(), kSinkPort)));
    app->SetAttribute("SendSize", ns3::UintegerValue(10 * kSegment));
    app->SetAttribute("MaxBytes", ns3::UintegerValue(load.bytes));
    from.node()->AddApplication(app);
    app->SetStartTime(start);
    app->SetStopTime(until);
  };
  for (std::uint32_t i = 0; i < load.flows; ++i) {
    ns3::Time start = to_ns3(load.from) + ns3::Seconds(spread->GetValue(0.0, 1.0));
    send(start);
    if (load.bytes == 0 || load.pause == Duration::zero()) continue;
    while ((start += ns3::Seconds(pause->GetValue())) < until) send(start);
  }
}

ns3::Ptr<ns3::Packet> udp_packet(ns3::Ipv4Address from, ns3::Ipv4Address to, std::uint16_t port,
                                 std::uint32_t frame, std::uint8_t dscp) {
  constexpr std::uint32_t kHeaders = kEthernetHeader + 20 + 8;
  const auto packet = ns3::Create<ns3::Packet>(std::max(frame, kHeaders) - kHeaders);
  ns3::UdpHeader udp;
  udp.SetSourcePort(port);
  udp.SetDestinationPort(port);
  packet->AddHeader(udp);
  ns3::Ipv4Header ip;
  ip.SetSource(from);
  ip.SetDestination(to);
  ip.SetProtocol(17);
  ip.SetTtl(64);
  ip.SetTos(static_cast<std::uint8_t>(dscp << 2U));
  ip.SetPayloadSize(static_cast<std::uint16_t>(packet->GetSize()));
  packet->AddHeader(ip);
  return packet;
}

}  // namespace weir::proving
