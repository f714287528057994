#!/usr/bin/env python3
"""Which class does real traffic end up in? Each kind is sent through the box and looked for in the kernel's counters;
what `weir explain` says of it beforehand, and what the rules have counted afterwards, must agree with them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from netlab import Lab, wait_until
from netlab.namespace import need_root
from netlab.product import Weir, policy_text
from netlab.report import Checks
from netlab.topology import (CORE_ROUTER, INTERACTIVE, INTERACTIVE6, PROVIDER_ROUTER, REPLICATION, REPLICATION6, REST,
                             REST6)
from netlab.traffic import CS1, CS6, EF, Bulk, Requests
from netlab.truth import qdiscs, settled_packets

AF41, SECONDS, LEAST_PACKETS = 34, 0.6, 20
MOST_MERGED = 65536 // 1200  # segments in one packet of the kernel's


@dataclass(frozen=True)
class Traffic:
    send: Callable[[Lab], None]
    question: Callable[[Lab], dict[str, str | int]] | None = None  # of /v1/explain; None: not IP


@dataclass(frozen=True)
class Kind:
    name: str
    wanted: str  # class, with "control" and "elsewhere" for the built-in ones
    traffic: Traffic


def far_host(lab: Lab, source: str) -> str:
    site = lab.far_site(None)
    return site.host6() if ":" in source else site.host()


def requests(source: str, dscp: int) -> Traffic:
    def send(lab: Lab) -> None:
        flow = Requests(lab, source=source, dscp=dscp)
        time.sleep(SECONDS)
        flow.stop()
    return Traffic(send, lambda lab: {"from": source, "to": far_host(lab, source), "dscp": dscp, "protocol": "udp",
                                      "port": 5060})


def tcp(source: str, port: int) -> Traffic:
    def send(lab: Lab) -> None:
        flow = Bulk(lab, source=source, port=port, interval=1).start()
        time.sleep(SECONDS)
        flow.stop()
    return Traffic(send, lambda lab: {"from": source, "to": far_host(lab, source), "protocol": "tcp", "port": port})


def ping(source: str, target: str) -> Traffic:
    def send(lab: Lab) -> None:
        lab.core.run(["ping", "-q", "-c", "30", "-i", "0.01", "-I", source, target])
    return Traffic(send, lambda _: {"from": source, "to": target, "protocol": "icmp"})


def frames(ethertype: int) -> Traffic:
    """Bare frames of a protocol that is not IP, from the core router's own port."""
    script = (f"import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('edge0', 0)); "
              f"[s.send(b'\\xff' * 6 + s.getsockname()[4] + ({ethertype}).to_bytes(2, 'big') + bytes(46)) "
              f"for _ in range({LEAST_PACKETS + 5})]")
    return Traffic(lambda lab: lab.core.run(["python3", "-c", script]) and None)


KINDS = [Kind("EF by mark", "voice", requests(REST, EF)),
         Kind("EF by mark, IPv6", "voice", requests(REST6, EF)),
         Kind("AF41 by mark", "interactive", requests(REST, AF41)),
         Kind("AF41 by mark, IPv6", "interactive", requests(REST6, AF41)),
         Kind("ssh port from its subnet", "interactive", tcp(INTERACTIVE, 22)),
         Kind("another port from that subnet", "rest", tcp(INTERACTIVE, 2222)),
         Kind("ssh port from another subnet", "rest", tcp(REST, 22)),
         Kind("the replication subnet", "replication", requests(REPLICATION, 0)),
         Kind("the replication subnet, IPv6", "replication", requests(REPLICATION6, 0)),
         Kind("CS1 by mark", "replication", requests(REST, CS1)),
         Kind("EF from the replication subnet: first match", "voice", requests(REPLICATION, EF)),
         Kind("anything else", "rest", requests(REST, 0)),
         Kind("anything else, IPv6", "rest", requests(INTERACTIVE6, 0)),
         Kind("network control, CS6", "control", requests(REST, CS6)),
         Kind("no site's address", "elsewhere", ping(CORE_ROUTER, PROVIDER_ROUTER)),
         Kind("ARP", "control", frames(0x0806)),
         Kind("LLDP, which is not IP", "control", frames(0x88cc))]


class Counters:
    """Packets per class from the kernel's own leaf queues; only the names of the classes come from Weir."""

    def __init__(self, weir: Weir):
        self._gateway = weir.lab.gateway
        listed = wait_until(lambda: weir.api.json("/v1/classes")["classes"], 10, "the daemon to list its classes")
        self._names = {c["handle"]: c["name"] for c in listed if c["leaf"]}

    def settled(self) -> dict[str, int]:
        """Once the flows before have said their last word: nothing moves any more but control."""
        return settled_packets(self.read)

    def read(self) -> dict[str, int]:
        return self._each("packets")

    def dropped(self) -> dict[str, int]:
        """A packet that was merged from several counts once."""
        return self._each("drops")

    def _each(self, counter: str) -> dict[str, int]:
        return {self._names[q["parent"]]: q[counter] for q in qdiscs(self._gateway, "wan0")
                if q.get("parent") in self._names}


def explained(kind: Kind, weir: Weir) -> str | None:
    """The class that the loaded classifier names."""
    if kind.traffic.question is None:
        return None
    return weir.api.json("/v1/explain?" + urlencode(kind.traffic.question(weir.lab)))["class"]


RULED = ("voice", "interactive", "replication", "rest", "elsewhere")


@dataclass(frozen=True)
class Look:
    """At one moment, by class: what its queue sent, what a full one dropped, what its rules have met."""
    sent: dict[str, int]
    dropped: dict[str, int]
    met: dict[str, int]


def look(weir: Weir, counters: Counters) -> Look:
    """Nothing may move meanwhile: a sender that lost its last packets is silent until its timer runs out."""
    def seen_at_once() -> Look | None:
        sent, dropped = counters.settled(), counters.dropped()
        met = dict.fromkeys(RULED, 0)
        for rule in weir.api.json("/v1/rules")["rules"]:
            if rule["class"] in met:
                met[rule["class"]] += rule["packets"]
        now = counters.read()
        return Look(sent, dropped, met) if all(now[name] == sent[name] for name in RULED) else None
    return wait_until(seen_at_once, 10, "the classes to fall silent")


def check_rules(first: Look, last: Look, checks: Checks) -> None:
    """What the rules of a class decided is what its queue was handed. Since the first look, as the tree stands a moment before
    the classifier and leads packets to elsewhere."""
    for name in RULED:
        sent, dropped, met = (getattr(last, of)[name] - getattr(first, of)[name] for of in ("sent", "dropped", "met"))
        checks.check(f"the rules of {name} have met what its queue has seen",
                     sent + dropped <= met <= sent + MOST_MERGED * dropped and met > 0,
                     f"{met}, the kernel's queue {sent} and {dropped} dropped")


def check_kind(kind: Kind, weir: Weir, counters: Counters, checks: Checks) -> None:
    said = explained(kind, weir)
    before = counters.settled()
    kind.traffic.send(weir.lab)
    gained = {name: count - before.get(name, 0) for name, count in counters.read().items()}
    got = {name: n for name, n in gained.items() if n > 0}
    most = max(got, key=lambda name: got[name], default=None)
    strays = sum(n for name, n in got.items() if name not in (kind.wanted, "control", "rest"))
    # iperf3's control connection and neighbour discovery ride along in "rest" and "control".
    checks.check(f"{kind.name} -> {kind.wanted}", most == kind.wanted and got[most] >= LEAST_PACKETS
                 and strays == 0 and said in (None, kind.wanted), f"explained as {said}; " + ", ".join(f"{name} {n}" for name, n in sorted(got.items())))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    arguments = parser.parse_args()
    need_root()
    checks = Checks()
    with Lab() as lab:
        weir = Weir(lab, policy_text(lab, adapt=False), arguments.weir).start()
        counters = Counters(weir)
        first = look(weir, counters)
        for kind in KINDS:
            check_kind(kind, weir, counters, checks)
        check_rules(first, look(weir, counters), checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
