#!/usr/bin/env python3
"""What comes from a site, shaped at the LAN port: it is held at its rate, each packet waits in its class, marks are
written, and the other port and everybody else's traffic are left alone. A policy that takes it out and one that brings
it back cost no packet; a tree that somebody deleted stands again; a daemon that was killed adopts it; `weir clear`
leaves neither port anything.

Judged by the kernel's counters of classes and interfaces, by numbered packets and by the marks that our hosts' router
sees; only the names of the classes come from Weir.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from netlab import Buffer, FarSite, Lab, Policer, Spec, wait_until
from netlab.namespace import LabError, need_root
from netlab.product import Weir, policy_text
from netlab.report import Checks
from netlab.topology import CORE_ROUTER, PROVIDER_ROUTER, REST, REST6
from netlab.traffic import CS6, EF, Bulk, Requests, Stream, _Probe
from netlab.truth import KernelChanges, class_lines, interface_counters, qdiscs, settled_packets

AF11, AF41, VOICE_ADMIT = 10, 34, 44
SITE, OTHER_SITE = "dc-coast", "dc-hill"  # what comes from the other one is not shaped
LAN_ELSEWHERE, LAN_PORT = "7e17:3", "7e17:1"
RATE_MBIT, LAN_MBIT, OFFERED_MBIT = 40.0, 1000.0, 200.0
LEAST_SHARE, MOST_SHARE = 0.95, 1.01  # of the rate, as the kernel's class counts it
CLEARLY_FASTER = 2.5                  # without `inbound`
MEASURED_S, WATCHED_S, REPAIR_S = 5.0, 1.0, 1.0
SECONDS, PPS, LEAST_PACKETS, ROUNDS = 0.6, 200, 20, 3
MOST_LOST_A_CHANGE = 20  # packets, one a millisecond
ANSWER_PORT, COPIES_HOST = 5060, 3

INBOUND = f"    inbound: {{rate: {RATE_MBIT:g}mbit, policy: from-site, set_dscp: default}}\n"
FROM_SITE = f"""\
  from-site:
    classes:
      - {{name: voice, match: [{{dscp: [ef, va]}}], guarantee: 10%, priority: 0, set_dscp: ef}}
      - {{name: answers, match: [{{source_port: {ANSWER_PORT}, protocol: udp}}], guarantee: 20%, priority: 1}}
      - {{name: copies, match: [{{source: 10.20.1.{9 + COPIES_HOST}}}], guarantee: 10%, priority: 3, set_dscp: af11}}
      - {{name: rest, default: true, guarantee: 20%, priority: 2}}
"""


def policies(lab: Lab) -> tuple[str, str]:
    """With `inbound` for the first site, and without."""
    without = policy_text(lab, adapt=False)
    for old, new in (("lan: {interface: lan0}", f"lan: {{interface: lan0, rate: {LAN_MBIT:g}mbit}}"),
                     ("api: ", FROM_SITE + "api: ")):
        assert without.count(old) == 1
        without = without.replace(old, new)
    first = "    policy: replicated-site\n"
    assert first in without
    return without.replace(first, first + INBOUND, 1), without


@dataclass(frozen=True)
class Sent:
    packets: int
    bytes: int


def in_time(condition: Callable[[], object], seconds: float) -> bool:
    """Whether it came true; the check that follows says what did not."""
    try:
        return bool(wait_until(condition, seconds, "it"))
    except LabError:
        return False


def sent_by_class(lab: Lab, interface: str) -> dict[str, Sent]:
    """Per handle, by `tc -s class show`: this iproute2 has no JSON of classes."""
    text = lab.gateway.run(["tc", "-s", "class", "show", "dev", interface]).stdout
    return {match[1]: Sent(int(match[3]), int(match[2]))
            for match in re.finditer(r"^class htb (\S+) .*\n Sent (\d+) bytes (\d+) pkt", text, re.MULTILINE)}


def tree(lab: Lab, interface: str) -> list[str]:
    """What `tc` shows of handles, parents, rates and filters; without counters, and without the number that the kernel
    gives each program that is loaded."""
    kinds = sorted(f"{q['kind']} {q.get('handle')} {q.get('parent', 'root')}" for q in qdiscs(lab.gateway, interface))
    loaded = [re.sub(r":\[\d+\]| id \d+", "", line) for line in filters(lab, interface)]
    return kinds + class_lines(lab.gateway, interface) + loaded


def filters(lab: Lab, interface: str) -> list[str]:
    return [line for way in ("egress", "ingress") for line in lab.gateway.run(
        ["tc", "filter", "show", "dev", interface, way], check=False).stdout.splitlines()]


def what_is_ours(lab: Lab, interface: str) -> list[str]:
    """Where nobody but Weir works, the port's queues other than the kernel's own, and filters."""
    kinds = [f"{q['kind']} {q.get('handle')}" for q in qdiscs(lab.gateway, interface) if q["kind"] != "noqueue"]
    return kinds + filters(lab, interface)


class FromFar:
    """Numbered UDP datagrams from a far site's host to one of ours, as Stream sends them the other way."""

    def __init__(self, lab: Lab, far: str = SITE, host: int = 1, dscp: int = 0, pps: float = PPS, size: int = 200,
                 port: int = 7000, v6: bool = False):
        site, target = lab.far_site(far), REST6 if v6 else REST
        self._sink = _Probe(lab, lab.site, "near-sink", "sink", ["--local", target, "--port", port])
        self._source = _Probe(lab, lab.far(far), "far-stream", "stream",
                              ["--local", site.host6(host) if v6 else site.host(host), "--remote", target, "--port",
                               port, "--pps", pps, "--size", size, "--dscp", dscp])

    def received(self) -> int:
        return self._sink.read()["received"]

    def more(self, packets: int) -> None:
        """Waits until so many more have arrived."""
        before = self.received()
        wait_until(lambda: self.received() >= before + packets, 30, f"{packets} more packets of the stream")

    def stop(self) -> dict:
        """Ends the sender, and waits for what is under way. What comes last is missed as anything else is."""
        sent = self._source.stop()
        seen: list[int] = []

        def all_here() -> bool:
            seen.append(self.received())
            return seen[-1] >= sent["sent"] or seen[-10:-1].count(seen[-1]) == 9  # quiet for a second

        wait_until(all_here, 10, "the stream's last packets", every=0.1)
        return {**self._sink.stop(), **sent}


class Scene:
    """A box that shapes what comes from one of two sites, and all that is needed to judge it."""

    def __init__(self, lab: Lab, checks: Checks, binary: str | None):
        self.lab, self.checks = lab, checks
        self.changes = KernelChanges(lab)
        self.marks_seen = Policer(ingress=True)  # without a rate: it only counts what our hosts' router gets
        self.marks_seen.start(lab.core, "edge0", lab.spawn)
        Buffer(1e6 * OFFERED_MBIT).start(lab.far(SITE), "eth0", lab.spawn)  # enough, and not all that this machine can
        self.shaped, self.not_shaped = policies(lab)
        self.weir = Weir(lab, self.shaped, binary).start()
        listed = wait_until(self.of_lan, 10, "the daemon to list the classes of the LAN port")
        self.site_class = next(c["handle"] for c in listed if c["site"] == SITE and not c["name"])
        self.leaves = {c["handle"]: c["name"] for c in listed if c["leaf"]}
        self.wan, self.lan = tree(lab, "wan0"), tree(lab, "lan0")

    def of_lan(self) -> list[dict]:
        return [c for c in self.weir.api.json("/v1/classes")["classes"] if c["direction"] == "inbound"]

    def status(self) -> dict:
        return self.weir.api.json("/v1/status")

    def written_to_wan(self, mark: tuple[int, int]) -> list[str]:
        return [line for line in self.changes.since(mark) if " dev wan0 " in f"{line} "]

    def leaf_packets(self) -> dict[str, int]:
        sent = sent_by_class(self.lab, "lan0")
        return {name: sent[handle].packets for handle, name in self.leaves.items()}

    def settled(self) -> dict[str, int]:
        """Once the traffic before has said its last word: nothing moves any more but control."""
        return settled_packets(self.leaf_packets)

    def reload(self, policy: str) -> None:
        number = self.status()["policy"]["revision"]
        self.weir.write(policy)
        self.weir.reload()
        wait_until(lambda: self.status()["policy"]["revision"] != number, 15, "the reload")

    def explained(self, question: dict[str, object], *whom: str) -> dict:
        """By the command; without `whom` the daemon is asked. It finds the port by itself."""
        words = [f"--{key}={value}" for key, value in question.items()]
        done = self.weir.command("explain", *words, "--json", *(whom or ("--socket", str(self.weir.socket))),
                                 port_options=False)
        return json.loads(done.stdout) if done.returncode == 0 else {"failed": done.stderr.strip()}


# -------------------------------------------------------------------------------------------------- what stands there

def check_tree(scene: Scene) -> None:
    checks, lab = scene.checks, scene.lab
    root = next(q for q in qdiscs(lab.gateway, "lan0") if q.get("root"))
    checks.check("the LAN port has its tree", root["kind"] == "htb" and root["handle"] == "7e17:",
                 f"{root['kind']} {root['handle']}")
    checks.check("and its classifier at the egress", any(" bpf" in line for line in filters(lab, "lan0"))
                 and "clsact" in [q["kind"] for q in qdiscs(lab.gateway, "lan0")])
    site = scene.weir.api.site(SITE)["inbound"]
    rate = next((line for line in scene.lan if line.startswith(f"class htb {scene.site_class} ")), "")
    checks.check("the site's class, its API and the policy have one rate", site is not None
                 and site["shaped_bps"] == 1e6 * RATE_MBIT and site["policy"] == "from-site"
                 and f"rate {RATE_MBIT:g}Mbit ceil {RATE_MBIT:g}Mbit" in rate, f"{site}; {rate}")
    port = next((line for line in scene.lan if line.startswith(f"class htb {LAN_PORT} ")), "")
    lan = scene.status()["lan"]
    checks.check("the status tells of the LAN port", lan is not None and lan["interface"] == "lan0"
                 and lan["port_bps"] == 1e6 * LAN_MBIT and lan["shaper"]["in_place"]
                 and f"ceil {LAN_MBIT / 1e3:g}Gbit" in port, f"{lan}; {port}")
    checks.check("nothing is told of what comes from the other site",
                 scene.weir.api.site(OTHER_SITE)["inbound"] is None)


# ------------------------------------------------------------------------------------------------------------- classes

@dataclass(frozen=True)
class Kind:
    """Traffic, the class of the LAN port in which it should wait, and the mark with which it should leave that port."""
    name: str
    wanted: str | None           # None: it goes the other way
    send: Callable[[Lab], int]   # returns how many packets
    question: dict[str, object]  # of `weir explain`, with its words
    mark: int | None = None      # None: not looked at


def from_far(host: int = 1, dscp: int = 0, far: str = SITE, v6: bool = False) -> Callable[[Lab], int]:
    def send(lab: Lab) -> int:
        stream = FromFar(lab, far, host, dscp, v6=v6)
        time.sleep(SECONDS)
        return stream.stop()["sent"]
    return send


def answers(lab: Lab) -> int:
    """What a host of the far site sends from a port that a rule names. What it answers goes the other way."""
    flow = Requests(lab, source=REST, dscp=0, port=ANSWER_PORT)
    time.sleep(SECONDS)
    asked = flow._client.stop()["sent"]
    wait_until(lambda: flow._server.read()["answered"] >= asked, 5, "the last request to be answered")
    return flow._server.stop()["answered"]


def to_far(lab: Lab) -> int:
    stream = Stream(lab, source=REST, dscp=EF, pps=PPS)
    time.sleep(SECONDS)
    return stream.stop()["sent"]


def pings(lab: Lab) -> int:
    lab.core.run(["ping", "-q", "-c", "30", "-i", "0.01", PROVIDER_ROUTER])
    return 30


def kinds(lab: Lab) -> list[Kind]:
    site, other = lab.far_site(SITE), lab.far_site(OTHER_SITE)

    def udp(source: str, dscp: int, port: int = 7000) -> dict[str, object]:
        return {"from": source, "to": REST6 if ":" in source else REST, "protocol": "udp", "dscp": dscp, "port": port}

    asked = {"from": site.host(), "to": REST, "protocol": "udp", "source-port": ANSWER_PORT}
    return [
        Kind("EF by mark", "voice", from_far(dscp=EF), udp(site.host(), EF), mark=EF),
        Kind("voice-admit by mark, IPv6", "voice", from_far(dscp=VOICE_ADMIT, v6=True),
             udp(site.host6(), VOICE_ADMIT), mark=EF),
        Kind("a source port", "answers", answers, asked, mark=0),
        Kind("a source address", "copies", from_far(COPIES_HOST, AF41), udp(site.host(COPIES_HOST), AF41), mark=AF11),
        Kind("a source address, but EF: first match", "voice", from_far(COPIES_HOST, EF),
             udp(site.host(COPIES_HOST), EF), mark=EF),
        Kind("anything else", "rest", from_far(dscp=AF41), udp(site.host(), AF41), mark=0),
        Kind("anything else, IPv6", "rest", from_far(dscp=AF41, v6=True), udp(site.host6(), AF41), mark=0),
        Kind("network control, CS6", "control", from_far(dscp=CS6), udp(site.host(), CS6), mark=CS6),
        Kind("a site that is not shaped inbound", "elsewhere", from_far(dscp=AF41, far=OTHER_SITE),
             {**udp(other.host(), AF41), "direction": "inbound"}, mark=AF41),
        Kind("no site's address", "elsewhere", pings,
             {"from": PROVIDER_ROUTER, "to": CORE_ROUTER, "protocol": "icmp", "direction": "inbound"}),
        Kind("from our hosts to the site", None, to_far,
             {"from": REST, "to": site.host(), "protocol": "udp", "dscp": EF, "port": 7000})]


def marks(scene: Scene) -> dict[int, int]:
    return {dscp: seen["offered"]["packets"] for dscp, seen in scene.marks_seen.read().by_dscp.items()}


def gained(before: dict, after: dict) -> dict:
    return {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}


def check_kind(kind: Kind, scene: Scene) -> None:
    said = scene.explained(kind.question)
    by_file = scene.explained(kind.question, "--config", str(scene.weir.config))
    before, marks_before = scene.settled(), marks(scene)
    site_before = sent_by_class(scene.lab, "lan0")[scene.site_class].packets
    sent = kind.send(scene.lab)
    scene.settled()
    seen = gained(marks_before, marks(scene))
    got = gained(before, scene.settled())
    of_site = sent_by_class(scene.lab, "lan0")[scene.site_class].packets - site_before
    strays = {name: count for name, count in got.items() if name not in (kind.wanted, "control")}
    exact = kind.wanted is None or got.get(kind.wanted) == sent
    if kind.wanted == "control":  # where the routers' own ARP goes, too
        exact = got.get("control", 0) >= sent
    in_site = sent if kind.wanted not in (None, "control", "elsewhere") else 0
    told = ", ".join(f"{name} {count}" for name, count in sorted(got.items())) or "nothing"
    scene.checks.check(f"{kind.name} -> {kind.wanted or 'not this port'}", sent >= LEAST_PACKETS and exact
                       and not strays and of_site == in_site, f"{sent} sent; {told}; the site's class {of_site}")
    if kind.wanted is None:
        out = [(one.get("direction"), one.get("interface")) for one in (said, by_file)]
        scene.checks.check("  explain says that it goes out", out == [("outbound", "wan0")] * 2, f"{out}")
        return
    handle = next(handle for handle, name in scene.leaves.items() if name == kind.wanted)
    place = ("inbound", "lan0", handle, kind.wanted)
    found = [tuple(one.get(key) for key in ("direction", "interface", "handle", "class")) for one in (said, by_file)]
    scene.checks.check("  explain names that class of the LAN port, and the policy file does", found == [place, place]
                       and said.get("answered_by") == "program" and by_file.get("answered_by") == "policy",
                       f"{handle}, explained as {said.get('handle', said)} and {by_file.get('handle', by_file)}")
    if kind.mark is not None:
        others = {dscp: count for dscp, count in seen.items() if dscp not in (kind.mark, 0)}
        noise = got.get("control", 0) if kind.mark == 0 else 0  # neighbour discovery is unmarked
        scene.checks.check(f"  our hosts see mark {kind.mark}", sent <= seen.get(kind.mark, 0) <= sent + noise
                           and not others, f"{seen}")


def check_classes(scene: Scene) -> None:
    for kind in kinds(scene.lab):
        check_kind(kind, scene)
    elsewhere = next(handle for handle, name in scene.leaves.items() if name == "elsewhere")
    scene.checks.check("what belongs to no such site has the handle 7e17:3", elsewhere == LAN_ELSEWHERE, elsewhere)
    check_accounts(scene)


def check_accounts(scene: Scene) -> None:
    """What the API counts beside what the kernel does, with nothing under way."""
    def api_packets() -> dict[str, int]:
        return {c["name"]: c["packets"] for c in scene.of_lan() if c["leaf"] and c["name"] != "control"}

    kernel = {name: count for name, count in scene.settled().items() if name != "control"}
    in_time(lambda: api_packets() == kernel, 5)  # it reads them every second
    scene.checks.check("the API's classes have the kernel's counts", api_packets() == kernel, f"{kernel}")
    rules = [rule for rule in scene.weir.api.json("/v1/rules")["rules"] if rule["direction"] == "inbound"]
    counted = {name: sum(rule["packets"] for rule in rules if rule["class"] == name) for name in kernel}
    scene.checks.check("and the rules have met as many", counted == kernel, f"{counted}")


# ---------------------------------------------------------------------------------------------------------------- rate

def rate_of(counter: Callable[[], int], seconds: float) -> float:
    """Bit/s by a counter of bytes. What asking takes falls on either side of the answer."""
    def look() -> tuple[float, int]:
        asked = time.monotonic()
        count = counter()
        return (asked + time.monotonic()) / 2, count

    began, first = look()
    time.sleep(seconds)
    ended, last = look()
    return 8 * (last - first) / (ended - began)


def sent_by_port(lab: Lab) -> int:
    return interface_counters(lab.gateway, "lan0")["tx"]["bytes"]


def check_rate(scene: Scene) -> float:
    lab, checks = scene.lab, scene.checks
    bulk = Bulk(lab, flows=4, source=REST, reverse=True).start()
    wait_until(lambda: any(q["backlog"] > 0 for q in qdiscs(lab.gateway, "lan0") if q.get("parent") in scene.leaves),
               15, "packets to wait at the LAN port")
    shaped = rate_of(lambda: sent_by_class(lab, "lan0")[scene.site_class].bytes, MEASURED_S)
    site = scene.weir.api.site(SITE)["inbound"]
    bulk.stop()
    checks.check("a download is held at the rate", LEAST_SHARE <= shaped / (1e6 * RATE_MBIT) <= MOST_SHARE,
                 f"{shaped / 1e6:.2f} of {RATE_MBIT:g} Mbit/s")
    checks.check("the API tells the same of it", abs(site["sent_bps"] / shaped - 1) <= 0.05
                 and site["backlog_bytes"] > 0 and site["shaped_bps"] == 1e6 * RATE_MBIT, f"{site}")
    return shaped


def check_without(scene: Scene, shaped: float) -> None:
    lab, checks = scene.lab, scene.checks
    scene.reload(scene.not_shaped)
    gone = in_time(lambda: not what_is_ours(lab, "lan0"), 5)
    checks.check("a policy without `inbound` leaves the LAN port nothing", gone, f"{what_is_ours(lab, 'lan0')}")
    checks.check("and nothing is told of it", scene.status()["lan"] is None
                 and scene.weir.api.site(SITE)["inbound"] is None and not scene.of_lan())
    bulk = Bulk(lab, flows=4, source=REST, reverse=True).start()
    before = sent_by_port(lab)
    wait_until(lambda: sent_by_port(lab) > before + 1e6, 15, "the download to begin")
    free = rate_of(lambda: sent_by_port(lab), MEASURED_S / 2)
    bulk.stop()
    checks.check("the same download is clearly faster then", free >= CLEARLY_FASTER * shaped,
                 f"{free / 1e6:.1f} Mbit/s, {shaped / 1e6:.1f} with it")
    scene.reload(scene.shaped)
    in_time(lambda: tree(lab, "lan0") == scene.lan, 5)
    checks.check("and the same tree stands again with `inbound`", tree(lab, "lan0") == scene.lan)


# ------------------------------------------------------------------------------------------- changes, repair, restarts

def check_no_packet_missing(scene: Scene, what: str, stream: FromFar) -> None:
    account = stream.stop()
    scene.checks.check(f"{what}: not one numbered packet is missing",
                       account["sent"] == account["received"] and account["repeated"] == 0,
                       f"{account['sent']} sent, {account['sent'] - account['received']} missing, "
                       f"longest silence {account['longest_silence_ms']:.0f} ms")


def check_reloads(scene: Scene) -> None:
    lab, checks = scene.lab, scene.checks
    stream = FromFar(lab, dscp=EF, pps=1000)
    stream.more(500)
    mark = scene.changes.mark()
    for turn in range(ROUNDS):
        scene.reload(scene.not_shaped)
        gone = in_time(lambda: not what_is_ours(lab, "lan0"), 5)
        checks.check(f"taken out, {turn + 1}: queues, clsact and filter are gone", gone, f"{what_is_ours(lab, 'lan0')}")
        stream.more(500)
        scene.reload(scene.shaped)
        back = in_time(lambda: tree(lab, "lan0") == scene.lan, 5)
        before = sent_by_class(lab, "lan0")[scene.site_class].packets if back else 0
        stream.more(500)
        after = sent_by_class(lab, "lan0")[scene.site_class].packets if back else 0
        checks.check(f"brought back, {turn + 1}: the same tree, and the stream goes through it", back
                     and after - before >= 500, f"{after - before} packets of 500")
    checks.check("the WAN port has noticed none of it", tree(lab, "wan0") == scene.wan
                 and not scene.written_to_wan(mark), "; ".join(scene.written_to_wan(mark)[:3]))
    # While a port's root is exchanged the kernel drops what is sent (net/sched/sch_api.c, qdisc_graft: dev_deactivate); to tc
    # that happens as well. A tree that stands already is changed without that.
    account = stream.stop()
    missing = account["sent"] - account["received"]
    checks.check(f"{ROUNDS} times out and back: milliseconds' worth of packets are missing, no more",
                 missing <= 2 * ROUNDS * MOST_LOST_A_CHANGE and account["repeated"] == 0
                 and account["longest_silence_ms"] <= MOST_LOST_A_CHANGE,
                 f"{account['sent']} sent, {missing} missing, longest silence {account['longest_silence_ms']:.0f} ms")


def check_repair(scene: Scene) -> None:
    lab, checks = scene.lab, scene.checks
    for what, place in (("root qdisc", "root"), ("clsact", "clsact")):
        mark = scene.changes.mark()
        lab.gateway.run(["tc", "qdisc", "delete", "dev", "lan0", place])
        began = time.monotonic()
        in_time(lambda: tree(lab, "lan0") == scene.lan, 10)
        took = time.monotonic() - began
        checks.check(f"a deleted {what} is back within {REPAIR_S:g} s", tree(lab, "lan0") == scene.lan
                     and took <= REPAIR_S, f"the whole tree after {took:.2f} s")
        in_time(lambda: scene.status()["lan"]["shaper"]["in_place"], 5)
        checks.check("  the WAN port's tree is untouched by that", tree(lab, "wan0") == scene.wan
                     and not scene.written_to_wan(mark), "; ".join(scene.written_to_wan(mark)[:3]))
        told = [e["text"] for e in scene.weir.api.json("/v1/events?limit=10")["events"]
                if e["kind"] in ("foreign_change", "repaired")][-2:]
        checks.check("  the daemon tells of it, and of which port", len(told) == 2
                     and all(text.startswith("lan0: ") for text in told), "; ".join(told))
        before = scene.settled()
        sent = from_far(dscp=EF)(lab)
        got = gained(before, scene.settled())
        checks.check("  and packets wait in it again", got.get("voice") == sent, f"{sent} sent, {got}")


def check_killed(scene: Scene) -> None:
    lab, checks = scene.lab, scene.checks
    stream = FromFar(lab, dscp=EF, pps=1000)
    stream.more(500)
    mark = scene.changes.mark()
    scene.weir.kill()
    checks.check("kill -9: both trees stay without the process", tree(lab, "lan0") == scene.lan
                 and tree(lab, "wan0") == scene.wan)
    stream.more(500)
    scene.weir.start()
    time.sleep(WATCHED_S)  # the daemon is ready; the kernel is watched for what it writes afterwards
    written = scene.changes.since(mark)
    checks.check("started again: the kernel announces no change", not written and tree(lab, "lan0") == scene.lan
                 and tree(lab, "wan0") == scene.wan, "; ".join(written[:3]))
    status = scene.status()
    for name, shaper in (("WAN", status["shaper"]), ("LAN", status["lan"]["shaper"])):
        checks.check(f"the daemon adopted the {name} port's tree and wrote nothing", shaper["adopted"]
                     and shaper["messages"] == 0 and shaper["in_place"], f"{shaper['messages']} messages")
    check_no_packet_missing(scene, "killed and started again", stream)


def check_clear(scene: Scene) -> None:
    lab, checks = scene.lab, scene.checks
    scene.weir.stop()
    checks.check("SIGTERM leaves the shaping of both ports in place", tree(lab, "lan0") == scene.lan
                 and tree(lab, "wan0") == scene.wan)
    done = scene.weir.command("clear", str(scene.weir.config))
    left = [f"{port}: {what}" for port in ("lan0", "wan0") for what in what_is_ours(lab, port)]
    checks.check("clear leaves neither port anything of ours", done.returncode == 0 and not left,
                 "; ".join(left) or (done.stderr or done.stdout).strip().replace("\n", "; "))
    pins = list(lab.bpf_dir.glob("weir/*/*"))
    checks.check("clear leaves no pins behind", not pins, " ".join(map(str, pins)))
    again = scene.weir.command("clear", str(scene.weir.config))
    checks.check("clearing twice is no error", again.returncode == 0, again.stderr.strip())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    arguments = parser.parse_args()
    need_root()
    checks = Checks()
    with Lab(Spec(far=[FarSite(SITE, 20), FarSite(OTHER_SITE, 30)])) as lab:
        scene = Scene(lab, checks, arguments.weir)
        check_tree(scene)
        check_classes(scene)
        check_without(scene, check_rate(scene))
        check_reloads(scene)
        check_repair(scene)
        check_killed(scene)
        check_clear(scene)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
