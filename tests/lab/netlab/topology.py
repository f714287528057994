"""The lab's network.

  site         core             gateway              provider                           far site (one namespace each)
  eth0 --- hosts edge0 --- lan0 [br0] wan0 --- cust0  (routes)  far<i> --------------------- eth0
  10.1.0.0/16   10.1.0.2       no address        10.1.0.1        |  capacity: egress here       10.20.0.0/16
                                                               ret<i> --- near [wire] far --- ret
                                                                    delay: on the way back, when there is any

Forward traffic meets only the provider's capacity, the way back only the delay. The gateway's bridge has no addresses:
what leaves by wan0 is exactly what crosses the box.

The core router is more than scenery. A bridged packet stays charged to its sender's socket, even in another namespace,
so without a router in between TCP Small Queues (net/ipv4/tcp_output.c, tcp_small_queue_check) would see the gateway's
queue and never let it grow beyond a few packets a flow, as no real network does. Routing lets go of the socket.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .delay import Delay, NoDelay, WireDelay
from .namespace import (RUN_DIR, LabError, Namespace, Process, SignalsHeld, cancel_exit_action, new_run_name,
                        on_every_exit, reap_leftovers, remove_run_directory)
from .provider import Policer, Provider, Unlimited

# Hosts of our side, by the class that the lab's policy gives their traffic.
REST, INTERACTIVE, REPLICATION = "10.1.1.10", "10.1.8.10", "10.1.50.10"
REST6, INTERACTIVE6, REPLICATION6 = "2001:db8:1:1::10", "2001:db8:1:8::10", "2001:db8:1:50::10"
CORE_ROUTER, PROVIDER_ROUTER = "10.1.0.2", "10.1.0.1"  # the two routers that see each other through the box
CORE_ROUTER6, PROVIDER_ROUTER6 = "2001:db8:1::2", "2001:db8:1::1"
ROUTES = {"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1}


@dataclass
class FarSite:
    """A site behind the provider: 10.<number>.0.0/16 and 2001:db8:<number>::/48."""
    name: str = "dc-coast"
    number: int = 20
    provider: Provider = field(default_factory=Unlimited)
    rtt_ms: float = 0.0
    delay: Delay | None = None  # None: a wire when rtt_ms > 0

    @property
    def subnets(self) -> list[str]:
        return [f"10.{self.number}.0.0/16", f"2001:db8:{self.number}::/48"]

    def host(self, n: int = 1) -> str:
        """One of its hosts, n = 1..8."""
        return f"10.{self.number}.1.{9 + n}"

    def host6(self, n: int = 1) -> str:
        return f"2001:db8:{self.number}:1::{9 + n}"

    def delay_or_default(self) -> Delay:
        if self.delay is not None:
            return self.delay
        return WireDelay(self.rtt_ms) if self.rtt_ms > 0 else NoDelay()


@dataclass
class Spec:
    far: list[FarSite] = field(default_factory=lambda: [FarSite()])
    before: Policer | None = None  # loss on our side of the box: on arrival at lan0
    offloads: bool = False         # True: leave super-packets on, for tests about them


class Lab:
    """A running lab; see the package's own words for use. Not thread-safe, but for reading."""

    def __init__(self, spec: Spec | None = None):
        self.spec = spec or Spec()
        self.name = new_run_name()
        self.run_dir: Path = RUN_DIR / self.name
        self.bpf_dir: Path = self.run_dir / "bpf"
        self.log_dir: Path = self.run_dir / "log"
        self.site = self._namespace("site")
        self.core = self._namespace("core")
        self.gateway = self._namespace("gw")
        self.provider_ns = self._namespace("prov")
        self._far_ns = {far.name: self._namespace(f"far{far.number}") for far in self.spec.far}
        self._wire_ns: dict[str, Namespace] = {}
        self._delays: dict[str, Delay] = {}
        self._processes: list[Process] = []
        self._names_used: dict[str, int] = {}
        self._exit_key: int | None = None

    # -------------------------------------------------------------------------------------------------- what is in it

    def far_site(self, name: str | None = None) -> FarSite:
        return next(f for f in self.spec.far if name in (None, f.name))

    def far(self, name: str | None = None) -> Namespace:
        return self._far_ns[self.far_site(name).name]

    def provider(self, name: str | None = None) -> Provider:
        return self.far_site(name).provider

    def delay(self, name: str | None = None) -> Delay:
        return self._delays[self.far_site(name).name]

    def spawn(self, namespace: Namespace, name: str, command: list[str], talk: bool = False,
              env: dict[str, str] | None = None) -> Process:
        """Starts a process in a namespace; the lab ends it. `talk`: it answers lines with JSON lines."""
        count = self._names_used[name] = self._names_used.get(name, 0) + 1
        unique = name if count == 1 else f"{name}-{count}"
        process = Process(unique, namespace.wrap(command), self.log_dir, talk, env)
        self._processes.append(process)
        return process

    # ------------------------------------------------------------------------------------------- up, and down again

    def __enter__(self) -> "Lab":
        reap_leftovers()
        self._exit_key = on_every_exit(self.close)
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every process, removes every namespace and the run's directory. Safe to repeat."""
        with SignalsHeld():
            for process in reversed(self._processes):
                if process.running():
                    process.kill()
            self._processes.clear()
            for namespace in self._namespaces():
                namespace.delete()
            remove_run_directory(self.run_dir)
            if self._exit_key is not None:
                cancel_exit_action(self._exit_key)
                self._exit_key = None

    def _namespace(self, role: str) -> Namespace:
        return Namespace(f"{self.name}-{role}")

    def _namespaces(self) -> list[Namespace]:
        return [self.site, self.core, self.gateway, self.provider_ns, *self._far_ns.values(), *self._wire_ns.values()]

    def _build(self) -> None:
        self.log_dir.mkdir(parents=True, mode=0o700)
        self.bpf_dir.mkdir()
        mounted = subprocess.run(["mount", "-t", "bpf", "bpf", str(self.bpf_dir)], capture_output=True, text=True,
                                 check=False)
        if mounted.returncode != 0:
            raise LabError(f"mount a bpf file system on {self.bpf_dir}: {mounted.stderr.strip()}")
        # Everything that the lab starts inherits this: what else the machine does should not pass for the network.
        os.setpriority(os.PRIO_PROCESS, 0, min(os.getpriority(os.PRIO_PROCESS, 0), -5))
        for namespace in self._namespaces():
            namespace.create()
            self._settle(namespace)
        self._build_gateway()
        self._build_our_side()
        for far in self.spec.far:
            self._build_far(far)

    @staticmethod
    def _settle(namespace: Namespace) -> None:
        """No waiting for duplicate addresses, no memory of earlier flows, no opinion about asymmetric paths."""
        namespace.sysctl({
            "net/ipv6/conf/default/accept_dad": 0, "net/ipv6/conf/default/accept_ra": 0,
            "net/ipv6/conf/default/router_solicitations": 0,
            "net/ipv4/conf/all/rp_filter": 0, "net/ipv4/conf/default/rp_filter": 0,
            "net/ipv4/conf/all/send_redirects": 0, "net/ipv4/conf/default/send_redirects": 0,
            "net/ipv4/tcp_no_metrics_save": 1,
        })
        namespace.ip("link set lo up\n")

    def _link(self, a: Namespace, a_name: str, b: Namespace, b_name: str, number: int) -> None:
        """A veth pair, born in its two namespaces, with addresses of its own choosing on the Ethernet level."""
        done = subprocess.run(
            ["ip", "link", "add", a_name, "netns", a.name, "address", _mac(number, 1), "type", "veth",
             "peer", "name", b_name, "netns", b.name, "address", _mac(number, 2)],
            capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(f"make link {a_name} - {b_name}: {done.stderr.strip()}")
        if not self.spec.offloads:
            a.offloads_off(a_name)
            b.offloads_off(b_name)

    def _build_gateway(self) -> None:
        self._link(self.core, "edge0", self.gateway, "lan0", 1)
        self._link(self.provider_ns, "cust0", self.gateway, "wan0", 2)
        # The bridge only forwards: it says nothing of its own on either side.
        self.gateway.sysctl({"net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1})
        self.gateway.ip("link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0 "
                        "nf_call_iptables 0 nf_call_ip6tables 0 nf_call_arptables 0\n"
                        "link set lan0 master br0\nlink set wan0 master br0\n"
                        "link set lan0 up\nlink set wan0 up\nlink set br0 up\n")
        self.gateway.sysctl({"net/bridge/bridge-nf-call-iptables": 0, "net/bridge/bridge-nf-call-ip6tables": 0,
                             "net/bridge/bridge-nf-call-arptables": 0})
        if self.spec.before is not None:
            self.spec.before.start(self.gateway, "lan0", self.spawn)

    def _build_our_side(self) -> None:
        self._link(self.site, "eth0", self.core, "hosts", 3)
        hosts = "".join(f"address add {a}/32 dev eth0\n" for a in (REST, INTERACTIVE, REPLICATION))
        hosts6 = "".join(f"address add {a}/128 dev eth0\n" for a in (REST6, INTERACTIVE6, REPLICATION6))
        self.site.ip(f"link set eth0 up\naddress add 10.1.255.2/30 dev eth0\n"
                     f"address add 2001:db8:1:ff::2/64 dev eth0\n{hosts}{hosts6}"
                     f"route add default via 10.1.255.1\nroute add default via 2001:db8:1:ff::1\n")
        self.core.sysctl(ROUTES)
        self.core.ip(f"link set hosts up\nlink set edge0 up\n"
                     f"address add 10.1.255.1/30 dev hosts\naddress add 2001:db8:1:ff::1/64 dev hosts\n"
                     f"address add {CORE_ROUTER}/30 dev edge0\naddress add {CORE_ROUTER6}/64 dev edge0\n"
                     f"route add 10.1.0.0/16 via 10.1.255.2\nroute add 2001:db8:1::/48 via 2001:db8:1:ff::2\n"
                     f"route add default via {PROVIDER_ROUTER}\nroute add default via {PROVIDER_ROUTER6}\n")
        self.provider_ns.sysctl(ROUTES)
        self.provider_ns.ip(f"link set cust0 up\naddress add {PROVIDER_ROUTER}/30 dev cust0\n"
                            f"address add {PROVIDER_ROUTER6}/64 dev cust0\n"
                            f"route add 10.1.0.0/16 via {CORE_ROUTER}\nroute add 2001:db8:1::/48 via {CORE_ROUTER6}\n")

    def _build_far(self, far: FarSite) -> None:
        namespace, port, n = self._far_ns[far.name], f"far{far.number}", far.number
        self._link(self.provider_ns, port, namespace, "eth0", 2 * n)
        hosts = "".join(f"address add {far.host(i)}/32 dev eth0\naddress add {far.host6(i)}/128 dev eth0\n"
                        for i in range(1, 9))
        # Neighbours behind the bottleneck are written down: a full policer would drop the requests to find them.
        namespace.ip(f"link set eth0 up\naddress add 10.{n}.0.2/30 dev eth0\naddress add 2001:db8:{n}::2/64 dev eth0\n"
                     f"{hosts}" + _neighbours("eth0", n, "0.1", "::1", _mac(2 * n, 1)))
        self.provider_ns.ip(f"link set {port} up\naddress add 10.{n}.0.1/30 dev {port}\n"
                            f"address add 2001:db8:{n}::1/64 dev {port}\n"
                            + _neighbours(port, n, "0.2", "::2", _mac(2 * n, 2)) +
                            f"route add 10.{n}.0.0/16 via 10.{n}.0.2\n"
                            f"route add 2001:db8:{n}::/48 via 2001:db8:{n}::2\n")
        delay = self._delays[far.name] = far.delay_or_default()
        wire = self._build_wire(far) if delay.needs_wire else None
        if wire is None:
            namespace.ip(f"route add default via 10.{n}.0.1\nroute add default via 2001:db8:{n}::1\n")
        delay.start(namespace, "eth0", wire, self.spawn)
        far.provider.start(self.provider_ns, port, self.spawn)

    def _build_wire(self, far: FarSite) -> Namespace:
        """A way back of its own, through a namespace that holds nothing but the delay."""
        namespace, n = self._far_ns[far.name], far.number
        port = f"ret{n}"
        wire = self._wire_ns[far.name] = self._namespace(f"wire{n}")
        wire.create()
        wire.sysctl({"net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1})
        self._link(namespace, "ret", wire, "far", 512 + 2 * n)
        self._link(self.provider_ns, port, wire, "near", 513 + 2 * n)
        wire.ip("link set far up\nlink set near up\n")
        namespace.ip(f"link set ret up\naddress add 10.{n}.0.6/30 dev ret\naddress add 2001:db8:{n}:ff::2/64 dev ret\n"
                     + _neighbours("ret", n, "0.5", ":ff::1", _mac(513 + 2 * n, 1)) +
                     f"route add default via 10.{n}.0.5\nroute add default via 2001:db8:{n}:ff::1\n")
        self.provider_ns.ip(f"link set {port} up\naddress add 10.{n}.0.5/30 dev {port}\n"
                            f"address add 2001:db8:{n}:ff::1/64 dev {port}\n"
                            + _neighbours(port, n, "0.6", ":ff::2", _mac(512 + 2 * n, 1)))
        return wire


def _mac(link: int, end: int) -> str:
    """Locally administered, unique in a lab."""
    return f"02:00:00:{link >> 8:02x}:{link & 255:02x}:{end:02x}"


def _neighbours(interface: str, number: int, v4_tail: str, v6_tail: str, mac: str) -> str:
    return (f"neighbour add 10.{number}.{v4_tail} lladdr {mac} nud permanent dev {interface}\n"
            f"neighbour add 2001:db8:{number}{v6_tail} lladdr {mac} nud permanent dev {interface}\n")
