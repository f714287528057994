#!/usr/bin/env python3
"""What forwarding a packet costs: with classification by 10 to 100 000 random subnets, beside u32 and flower, and with Weir
running, beside the same tree made with tc alone.

    [src] eth0 --- lan0 [box: br0] wan0 --- eth0 [sink]        and, to be taken off:   [src] eth0 --- eth0 [sink]

A sender at full speed on one core, to which all else of a box is kept as well: on veth it is the sender's own system call
that carries a frame through bridge, classifier and queue until the sink drops it, so the time between two frames is what
all of this costs. What the sender and one hop cost (direct) is taken off turn by turn. All boxes of a round stand
side by side, each in namespaces of its own, and are used in turns; each round makes them anew. Medians of all turns.
The sender goes before the daemon where they share a core, as a card's frames would.

The trees are the same everywhere: Weir's own, or the commands of `weir plan --tc`, at rates that never hold a frame back.
u32 and flower stand at HTB's root and name the class; they look at the destination alone, Weir also at what makes a packet
routing or link control. Frames go to random hosts of all subnets in turn: no cache holds a few of them.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

from netlab.namespace import (LabError, Namespace, Process, cancel_exit_action, need_root, new_run_name,  # noqa: E402
                              on_every_exit, reap_leftovers, remove_run_directory, wait_until)
from netlab.product import Api  # noqa: E402
from netlab.report import Checks, table, write_csv, write_json  # noqa: E402
from netlab.tools import bench_tool, weir_binary  # noqa: E402

SITES, FIRST_SITE_CLASS = 10, 0x10
DESTINATIONS = 1000  # at least so many connections
LINEAR_LIST = 4000  # u32 numbers at most 4095 filters in one list: more go to lists that are asked one after another
IN_VM = bool(os.environ.get("WEIR_VM"))
HTB = "7e17"
GROWTH_GOAL, THROUGHPUT_GOAL = 1.3, 0.97
ITS_CORE = 0.9  # of the core, for the sender and the daemon together: with less, the machine did something else


# ------------------------------------------------------------------------------------------- who is sent to, and the tree

def random_subnets(count: int, lengths: range, seed: int) -> list[ipaddress.IPv4Network]:
    """None within another, so that the order in which a list is asked makes no difference to what it finds."""
    dice = random.Random(f"{seed} {count} {lengths}")
    reserved = [ipaddress.ip_network(n) for n in ("127.0.0.0/8", "198.18.0.0/15")]
    taken: set[tuple[int, int]] = set()   # every prefix around or equal to one that is there
    chosen: set[tuple[int, int]] = set()
    subnets = []
    while len(subnets) < count:
        length = dice.choice(lengths)
        bits = dice.randrange(1 << 24, 224 << 24) >> (32 - length)
        around = {(length_, bits >> (length - length_)) for length_ in range(lengths.start, length + 1)}
        subnet = ipaddress.ip_network((bits << (32 - length), length))
        if (length, bits) in taken or around & chosen or any(subnet.overlaps(r) for r in reserved):
            continue
        taken |= around
        chosen.add((length, bits))
        subnets.append(subnet)
    return subnets


def destinations(subnets: list[ipaddress.IPv4Network], seed: int) -> list[str]:
    """Hosts of all subnets, in no order."""
    dice = random.Random(seed)
    each = -(-DESTINATIONS // len(subnets))
    hosts = [str(subnet[dice.randrange(subnet.num_addresses)]) for subnet in subnets for _ in range(each)]
    dice.shuffle(hosts)
    return hosts


def site_of(number: int) -> int:
    return number % SITES


def policy_text(subnets: list[ipaddress.IPv4Network], socket: Path) -> str:
    sites = "".join(
        f"  - {{name: s{site}, subnets: [{', '.join(map(str, subnets[site::SITES]))}], policy: all, "
        "rate: {floor: 100mbit, ceiling: 6gbit, start: 6gbit, adapt: false}}\n" for site in range(SITES))
    return (f"wan: {{interface: wan0, rate: 100gbit}}\nlan: {{interface: lan0}}\nelsewhere: {{guarantee: 30%}}\n"
            f"sites:\n{sites}policies: {{all: {{classes: [{{name: all, default: true, guarantee: 90%}}]}}}}\n"
            f"api: {{socket: {socket}}}\n")


# ----------------------------------------------------------------------------------------------------------- the peers

def linear_u32(subnets: list[ipaddress.IPv4Network], classes: list[str]) -> list[str]:
    """What everybody writes: a filter a subnet."""
    return [f"filter add dev wan0 parent {HTB}: prio {10 + i // LINEAR_LIST} protocol ip u32 match ip dst {subnet} "
            f"flowid {classes[site_of(i)]}" for i, subnet in enumerate(subnets)]


def hashed_u32(subnets: list[ipaddress.IPv4Network], classes: list[str]) -> list[str]:
    """What an expert writes: a table by the address's first octet, one by the second below each, the filters there."""
    add = f"filter add dev wan0 parent {HTB}: prio 10 "
    lines = [f"{add}handle 1: protocol ip u32 divisor 256",
             f"{add}protocol ip u32 ht 800:: match u32 0 0 at 0 hashkey mask 0xff000000 at 16 link 1:"]
    for first in sorted({int(s.network_address) >> 24 for s in subnets}):
        lines += [f"{add}handle {2 + first:x}: protocol ip u32 divisor 256",
                  f"{add}protocol ip u32 ht 1:{first:x}: match ip dst {first}.0.0.0/8 "
                  f"hashkey mask 0x00ff0000 at 16 link {2 + first:x}:"]
    for i, subnet in enumerate(subnets):
        address = int(subnet.network_address)
        lines.append(f"{add}protocol ip u32 ht {2 + (address >> 24):x}:{address >> 16 & 255:x}: match ip dst {subnet} "
                     f"flowid {classes[site_of(i)]}")
    return lines


def flower(subnets: list[ipaddress.IPv4Network], classes: list[str]) -> list[str]:
    """A filter a subnet; the kernel has a hash table for each length."""
    return [f"filter add dev wan0 parent {HTB}: prio 10 protocol ip flower dst_ip {subnet} classid {classes[site_of(i)]}"
            for i, subnet in enumerate(subnets)]


PEERS = {"u32": linear_u32, "u32, hashed": hashed_u32, "flower": flower}
GOAL_PEERS = ["u32", "flower"]  # u32 as an expert writes it is shown beside
DIRECT, NO_FILTER, CLASSIFIER = "direct", "no filter", "weir"


# -------------------------------------------------------------------------------------------------------------- the boxes

class Box:
    """A sender's namespace, a box's and a sink's. Direct: no box between them."""

    def __init__(self, direct: bool = False):
        self.name, self.direct = new_run_name(), direct
        self.src, self.box, self.sink = (Namespace(f"{self.name}-{role}") for role in ("src", "box", "sink"))
        self.folder = Path("/run") / self.name
        self.policy, self.socket = self.folder / "policy.yaml", self.folder / "weir.sock"
        self.run_daemon: list[str] | None = None
        self.daemon: Process | None = None
        self.unfiltered = False
        self.setup_s = 0.0
        self._exit_key = on_every_exit(self.close)
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.stop()
        for namespace in (self.src, self.box, self.sink):
            namespace.delete()
        remove_run_directory(self.folder)
        cancel_exit_action(self._exit_key)

    def _build(self) -> None:
        bpf = self.folder / "bpf"
        bpf.mkdir(parents=True)
        subprocess.run(["mount", "-t", "bpf", "bpf", str(bpf)], check=True)
        for namespace in (self.src, self.box, self.sink):
            namespace.create()
            namespace.sysctl({"net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1})
        if self.direct:
            self._link(self.src, "eth0", self.sink, "eth0")
            return
        self._link(self.src, "eth0", self.box, "lan0")
        self._link(self.box, "wan0", self.sink, "eth0")
        self.box.ip("link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0 "
                    "nf_call_iptables 0 nf_call_ip6tables 0 nf_call_arptables 0\n"
                    "link set lan0 master br0\nlink set wan0 master br0\nlink set br0 up\n")
        self.box.sysctl({f"net/bridge/bridge-nf-call-{what}": 0 for what in ("iptables", "ip6tables", "arptables")})
        # The sender's addresses, which are nobody's: the sink drops what comes for another host before anything else.
        self.box.run(["bridge", "fdb", "add", "02:00:00:00:00:ee", "dev", "wan0", "master", "static"])
        self.box.run(["bridge", "fdb", "add", "02:00:00:00:00:dd", "dev", "lan0", "master", "static"])

    @staticmethod
    def _link(a: Namespace, a_name: str, b: Namespace, b_name: str) -> None:
        a.ip(f"link add {a_name} type veth peer name {b_name} netns {b.name}\n")
        a.offloads_off(a_name)
        b.offloads_off(b_name)
        a.ip(f"link set {a_name} up\n")
        b.ip(f"link set {b_name} up\n")

    @property
    def options(self) -> list[str]:
        return ["--state-dir", str(self.folder / "state"), "--bpf-dir", str(self.folder / "bpf/weir")]

    def by_weir(self, weir: str, subnets: list[ipaddress.IPv4Network]) -> "Box":
        """Tree and classifier, no daemon."""
        self.policy.write_text(policy_text(subnets, self.socket))
        self._timed([weir, "apply", "--once", str(self.policy), *self.options])
        return self

    def by_daemon(self, weir: str, subnets: list[ipaddress.IPv4Network], cores: str) -> "Box":
        """The same, and a daemon that comes for each turn of this box: its tap has every frame of this machine stamped,
        other boxes' too."""
        self.by_weir(weir, subnets)
        self.run_daemon = self.box.wrap(["taskset", "-c", cores, weir, "run", "--config", str(self.policy), *self.options,
                                         "--library-dir", str(self.folder / "library")])
        return self

    def start(self) -> None:
        if self.run_daemon:
            self.daemon = Process("weir", self.run_daemon, self.folder)
            wait_until(self._ready, 30, "weir to become ready")
            wait_until(lambda: self.capture()["up"], 30, "weir to open its tap")

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop()
            self.daemon = None

    def _ready(self) -> bool:
        assert self.daemon
        if not self.daemon.running():
            raise LabError(f"weir ended: {self.daemon.output()[-500:]}{self.daemon.errors()[-500:]}")
        try:
            return Api(self.socket).get("/readyz")[0] == 200
        except ConnectionError:
            return False

    def capture(self) -> dict:
        return Api(self.socket).json("/v1/status")["capture"]

    def by_tc(self, weir: str, subnets: list[ipaddress.IPv4Network], peer: str | None) -> "Box":
        """The same tree by tc's own commands, and filters of a peer's at its root, which choose the class under HTB's lock."""
        self.policy.write_text(policy_text(subnets[:SITES], self.socket))
        printed = self.box.run([weir, "plan", str(self.policy), "--tc", *self.options]).stdout
        tree = [line.removeprefix("tc ") for line in printed.splitlines()
                if line.startswith("tc ") and "clsact" not in line and " filter " not in line]
        self._batch(tree)
        self.unfiltered = peer is None
        if peer:
            self._batch(PEERS[peer](subnets, self.leaves()))
        return self

    def _batch(self, lines: list[str]) -> None:
        batch = self.folder / "batch.tc"
        batch.write_text("\n".join(lines) + "\n")
        self._timed(["tc", "-batch", str(batch)])

    def _timed(self, command: list[str]) -> None:
        began = time.monotonic()
        self.box.run(command, timeout=600)
        self.setup_s = time.monotonic() - began

    def refuses(self, peer: str) -> str:
        """What this kernel has against such a filter, or nothing."""
        lines = PEERS[peer]([ipaddress.ip_network("192.0.2.0/24")], [f"{HTB}:1"])
        try:
            self._batch([line.replace("prio 10", "prio 9999") for line in lines])
        except LabError as error:
            return re.findall(r"Error: (.*)", str(error))[0] if "Error: " in str(error) else str(error)
        self.box.run(["tc", "filter", "delete", "dev", "wan0", "parent", f"{HTB}:", "prio", "9999"])
        return ""

    def by_class(self) -> dict[str, int]:
        """Frames of each leaf, by `tc -s class show`: not every iproute2 has JSON of classes."""
        text = self.box.run(["tc", "-s", "class", "show", "dev", "wan0"]).stdout
        return {handle: int(packets) for handle, packets in
                re.findall(r"^class htb (\S+) .*\bleaf .*\n Sent \d+ bytes (\d+) pkt", text, re.MULTILINE)}

    def leaves(self) -> list[str]:
        """[site], its class."""
        sites = sorted((h for h in self.by_class() if is_of_site(h)), key=lambda h: int(h.split(":")[1], 16))
        if len(sites) != SITES:
            raise LabError(f"the tree has the sites' leaves {sites}, not one for each of {SITES} sites")
        return sites

    def arrived(self) -> int:
        return self.sink.json(["ip", "-j", "-s", "link", "show", "eth0"])[0]["stats64"]["rx"]["packets"]


def is_of_site(handle: str) -> bool:
    return int(handle.split(":")[1], 16) > FIRST_SITE_CLASS


def cpu_ns(pid: int) -> int:
    """Of all its threads."""
    return sum(int(f.read_text().split()[0]) for f in Path(f"/proc/{pid}/task").glob("*/schedstat"))


# ------------------------------------------------------------------------------------------------------------- measuring

@dataclass
class Load:
    """How the sender is run, each time."""
    sender: str
    core: str
    seconds: float
    warm: float
    bytes: int
    to: Path
    acknowledged: bool = False


@dataclass
class Turn:
    ns: float                  # between two frames
    sender_cpu: float          # share of that time which the sender ran, system calls included
    daemon_ns: float = 0.0     # CPU time of the daemon, a frame
    daemon_share: float = 0.0  # of a core, while frames were sent
    missed: float = 0.0        # share of what came to its tap that its ring had no room for
    followed: float = 1.0      # share of the connections that it followed at the end


def one_turn(box: Box, load: Load) -> Turn:
    box.start()
    try:
        return send(box, load)
    finally:
        box.stop()


def send(box: Box, load: Load) -> Turn:
    """Every frame reaches the sink, by the classes that are meant, or it is an error."""
    back = ["--back", "eth0", "--back-namespace", f"/run/netns/{box.sink.name}"] if load.acknowledged else []
    arrived, classes = box.arrived(), None if box.direct else box.by_class()
    daemon, capture = (cpu_ns(box.daemon.pid), box.capture()) if box.daemon else (0, {})
    done = json.loads(box.src.run(
        ["nice", "-n", "-10", "taskset", "-c", load.core, load.sender, "--interface", "eth0", "--rate", "1e12", "--seconds",
         str(load.seconds), "--warm", str(load.warm), "--bytes", str(load.bytes), "--to", str(load.to), *back]).stdout)
    daemon_sending = cpu_ns(box.daemon.pid) - daemon if box.daemon else 0
    turn = Turn(1e9 * done["seconds"] / done["sent"], done["cpu_s"] / done["seconds"])
    if box.daemon:
        then = box.capture()
        taken, dropped = (then[key] - capture[key] for key in ("received_frames", "dropped_frames"))
        turn.missed, turn.followed = dropped / max(taken + dropped, 1), then["sampled_share"]
        wait_until_idle(box.daemon.pid)  # what its ring still holds is its work as well
        frames = done["sent"] + done["warm"]
        turn.daemon_ns = (cpu_ns(box.daemon.pid) - daemon) / frames
        turn.daemon_share = daemon_sending / 1e9 / (done["seconds"] + load.warm)
    out = done["out"] + done["warm_out"]
    if box.arrived() - arrived != out:
        raise LabError(f"{box.arrived() - arrived} of {out} frames arrived")
    if classes is not None:
        sent = {handle: packets - classes[handle] for handle, packets in box.by_class().items()}
        sites = sum(n for handle, n in sent.items() if is_of_site(handle))
        if sites != (0 if box.unfiltered else out):
            raise LabError(f"{sites} of {out} frames went by the sites' classes: {sent}")
    return turn


def wait_until_idle(pid: int) -> None:
    """Until it waits for frames: less than 2 % of a core in a quarter of a second."""
    history: list[int] = []

    def idle() -> bool:
        history.append(cpu_ns(pid))
        return len(history) > 5 and history[-1] - history[-6] < 5_000_000

    wait_until(idle, 60, "the daemon to wait for frames", every=0.05)


@dataclass
class Series:
    turns: list[Turn] = field(default_factory=list)
    over: dict[str, list[float]] = field(default_factory=dict)  # ns more than another box's, turn by turn
    setup_s: list[float] = field(default_factory=list)

    def ns(self) -> float:
        return statistics.median(t.ns for t in self.turns)

    def more_than(self, other: str) -> float:
        return statistics.median(self.over[other])


def in_turns(make: dict[str, Callable[[], Box]], load: Load, rounds: int, turns: int) -> dict[str, Series]:
    """`rounds` times: all boxes made anew, then each used in its turn, so that what the machine does otherwise meets all."""
    results = {name: Series() for name in make}
    for _ in range(rounds):
        boxes: dict[str, Box] = {}
        try:
            for name, maker in make.items():
                boxes[name] = maker()
                results[name].setup_s.append(boxes[name].setup_s)
            for _ in range(turns):
                now = {name: one_turn(box, load) for name, box in boxes.items()}
                for name, turn in now.items():
                    results[name].turns.append(turn)
                    for other, its in now.items():
                        results[name].over.setdefault(other, []).append(turn.ns - its.ns)
        finally:
            for box in boxes.values():
                box.close()
    all_turns = [turn for of in results.values() for turn in of.turns]
    busy = sum(turn.sender_cpu + turn.daemon_share < ITS_CORE for turn in all_turns)
    if busy:
        print(f"not to be trusted: in {busy} of {len(all_turns)} turns the machine did something else on this core", flush=True)
    return results


# ---------------------------------------------------------------------------------------------------------- classification

def known_peers(arguments: argparse.Namespace) -> list[str]:
    box = Box()
    try:
        box.by_tc(arguments.weir, random_subnets(SITES, arguments.lengths, arguments.seed), None)
        refusals = {peer: box.refuses(peer) for peer in PEERS}
    finally:
        box.close()
    for peer, why in refusals.items():
        if why:
            print(f"not measured: {peer}: Linux {os.uname().release} says: {why}", flush=True)
    return [peer for peer, why in refusals.items() if not why]


def classification(arguments: argparse.Namespace, folder: Path, checks: Checks) -> list[dict]:
    peers = known_peers(arguments)
    rows: list[dict] = []
    given_up: dict[str, str] = {}
    for count in arguments.subnets:
        subnets = random_subnets(count, arguments.lengths, arguments.seed)
        load = Load(arguments.sender, arguments.core, arguments.seconds, arguments.warm, arguments.bytes[0], folder / "to")
        load.to.write_text("\n".join(destinations(subnets, arguments.seed)) + "\n")
        make: dict[str, Callable[[], Box]] = {
            DIRECT: lambda: Box(direct=True),
            NO_FILTER: lambda: Box().by_tc(arguments.weir, subnets, None),
            CLASSIFIER: lambda: Box().by_weir(arguments.weir, subnets)}
        for peer in peers:
            if peer not in given_up:
                make[peer] = lambda peer=peer: Box().by_tc(arguments.weir, subnets, peer)
        results = in_turns(make, load, arguments.rounds, arguments.turns)
        for name in [DIRECT, NO_FILTER, CLASSIFIER, *peers]:
            if name not in results:
                rows.append({"subnets": count, "filter": name, "note": given_up[name]})
                continue
            of = results[name]
            row = {"subnets": count, "filter": name, "ns a frame": of.ns(), "least": min(t.ns for t in of.turns),
                   "most": max(t.ns for t in of.turns), "forwarding ns": of.more_than(DIRECT)}
            if name not in (DIRECT, NO_FILTER):
                row |= {"classifying ns": of.more_than(NO_FILTER), "set-up s": statistics.median(of.setup_s)}
                if row["ns a frame"] > 1000 * arguments.slowest or row["set-up s"] > arguments.patience:
                    given_up[name] = f"not tried above {count}"
            rows.append(row)
        print(f"  {count} subnets: " + ", ".join(f"{name} {of.ns():.0f} ns" for name, of in results.items()), file=sys.stderr)
    add_growth(rows)
    show(rows, ["subnets", "filter", "ns a frame", "least", "most", "forwarding ns", "times the least", "classifying ns",
                "set-up s", "note"])
    judge_classification(rows, checks)
    return rows


def add_growth(rows: list[dict]) -> None:
    first = {}
    for row in rows:
        if "forwarding ns" in row and row["filter"] != DIRECT:
            base = first.setdefault(row["filter"], row["forwarding ns"])
            row["times the least"] = row["forwarding ns"] / base


def judge_classification(rows: list[dict], checks: Checks) -> None:
    of = {(row["subnets"], row["filter"]): row for row in rows if "forwarding ns" in row}
    sizes = sorted({row["subnets"] for row in rows})
    growth = of[sizes[-1], CLASSIFIER]["times the least"]
    checks.check(f"forwarding with {sizes[-1]} subnets costs at most {GROWTH_GOAL} times what it does with {sizes[0]}",
                 growth <= GROWTH_GOAL, f"{growth:.2f} times")
    for peer in GOAL_PEERS:
        for size in sizes:
            if size >= 100 and (size, peer) in of:
                ours, its = of[size, CLASSIFIER]["forwarding ns"], of[size, peer]["forwarding ns"]
                checks.check(f"{size} subnets: less than with {peer}", ours < its, f"{ours:.0f} ns to {its:.0f}")


# ---------------------------------------------------------------------------------------------------- with Weir running

TREE, SAME_CORE, OTHER_CORE = "weir, no daemon", "weir running", "weir running, its process on another core"


def running(arguments: argparse.Namespace, folder: Path, checks: Checks) -> list[dict]:
    peers = [peer for peer in known_peers(arguments) if peer != "u32, hashed"]
    subnets = random_subnets(SITES, arguments.lengths, arguments.seed)
    rows = []
    for size in arguments.bytes:
        load = Load(arguments.sender, arguments.core, arguments.run_seconds, arguments.run_warm, size, folder / "to", True)
        load.to.write_text("\n".join(destinations(subnets, arguments.seed)) + "\n")
        make: dict[str, Callable[[], Box]] = {DIRECT: lambda: Box(direct=True),
                                   f"tc, {NO_FILTER}": lambda: Box().by_tc(arguments.weir, subnets, None)}
        for peer in peers:
            make[f"tc, {peer}"] = lambda peer=peer: Box().by_tc(arguments.weir, subnets, peer)
        make[TREE] = lambda: Box().by_weir(arguments.weir, subnets)
        make[SAME_CORE] = lambda: Box().by_daemon(arguments.weir, subnets, arguments.core)
        others = sorted(os.sched_getaffinity(0) - {int(arguments.core)})
        if others:
            make[OTHER_CORE] = lambda: Box().by_daemon(arguments.weir, subnets, ",".join(map(str, others)))
        results = in_turns(make, load, arguments.rounds, arguments.turns)
        for name, of in results.items():
            row = {"bytes": size, "box": name, "frames/s": 1e9 / of.ns(), "ns a frame": of.ns(),
                   "least": min(t.ns for t in of.turns), "most": max(t.ns for t in of.turns),
                   "forwarding ns": of.more_than(DIRECT),
                   "core %": 100 * statistics.median(t.sender_cpu for t in of.turns)}
            if any(t.daemon_ns for t in of.turns):
                row |= {"daemon ns": statistics.median(t.daemon_ns for t in of.turns),
                        "its share %": 100 * statistics.median(t.daemon_share for t in of.turns),
                        "missed %": 100 * statistics.median(t.missed for t in of.turns),
                        "followed %": 100 * statistics.median(t.followed for t in of.turns)}
            for peer in [NO_FILTER, *peers]:
                its = results[f"tc, {peer}"]
                row[f"of {peer}'s"] = statistics.median(b.ns / a.ns for a, b in zip(of.turns, its.turns))
            rows.append(row)
        for peer in [NO_FILTER, *peers]:
            share = next(r for r in rows if r["bytes"] == size and r["box"] == SAME_CORE)[f"of {peer}'s"]
            checks.check(f"{size} bytes, all on one core: Weir running has at least {THROUGHPUT_GOAL} of tc's frames/s, {peer}",
                         share >= THROUGHPUT_GOAL, f"{share:.3f}")
    show(rows, list(dict.fromkeys(key for row in rows for key in row)))
    return rows


def show(rows: list[dict], columns: list[str]) -> None:
    columns = [c for c in columns if any(c in row for row in rows)]
    print(table(columns, [[f"{v:.4g}" if isinstance(v := row.get(c), float) else "" if v is None else v for c in columns]
                          for row in rows]), flush=True)


# ------------------------------------------------------------------------------------------------------------------ main

def same_columns(rows: list[dict]) -> list[dict]:
    return [{key: row.get(key, "") for key in dict.fromkeys(k for r in rows for k in r)} for row in rows]


def in_vm(out: Path | None) -> int:
    """The same on Debian's kernel, where a second is a number of instructions."""
    rest = [a for a in sys.argv[1:] if a != "--vm"]  # the last --out is the one that holds
    vm = Path(__file__).resolve().parent.parent / "vm/vm.py"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, str(vm), "run", "--timeout", "5400", "--memory", "3072", "--out", folder, "--",
                               "sh", "-c", 'exec "$@" --out "$WEIR_VM_OUT"', "sh", sys.executable, __file__, *rest],
                              check=False)
        if out:
            shutil.copytree(folder, out, dirs_exist_ok=True)
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["all", "classification", "running"], default="all")
    parser.add_argument("--subnets", default="10,100,1000,10000,100000", help="sizes, comma between (default: %(default)s)")
    parser.add_argument("--lengths", default="20-28", help="of the random subnets (default: %(default)s)")
    parser.add_argument("--bytes", default="64,1514", help="of a frame; classification takes the first (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1 if IN_VM else 3, help="of boxes made anew (default: %(default)s;"
                        " in the virtual machine, whose time does not vary, all of these are less)")
    parser.add_argument("--turns", type=int, default=2 if IN_VM else 5, help="of each box in a round (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.05 if IN_VM else 0.3, help="of a turn (default: %(default)s)")
    parser.add_argument("--warm", type=float, default=0.02 if IN_VM else 0.1, help="before each (default: %(default)s)")
    parser.add_argument("--run-seconds", type=float, default=0.5 if IN_VM else 1, help="the same, Weir running")
    parser.add_argument("--run-warm", type=float, default=0.3 if IN_VM else 0.5,
                        help="the same, until its ring is as full as it gets")
    parser.add_argument("--core", default=str(max(os.sched_getaffinity(0))), help="on which all forwarding runs")
    parser.add_argument("--slowest", type=float, default=100, metavar="US",
                        help="a filter that takes longer for a frame is not asked for more subnets (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=60, metavar="S", help="the same, to be set up (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    parser.add_argument("--sender", help="bench_sender (default: the release build's)")
    parser.add_argument("--vm", action="store_true", help="in the virtual machine, in its own time")
    parser.add_argument("--out", type=Path, help="folder for the tables as CSV and JSON")
    arguments = parser.parse_args()
    need_root()
    if arguments.vm:
        return in_vm(arguments.out)
    reap_leftovers()
    arguments.weir = str(weir_binary(arguments.weir))
    arguments.sender = str(Path(arguments.sender).resolve() if arguments.sender else bench_tool("bench_sender"))
    least, _, most = arguments.lengths.partition("-")
    arguments.lengths = range(int(least), int(most or least) + 1)
    arguments.subnets = [int(n) for n in arguments.subnets.split(",")]
    arguments.bytes = [int(n) for n in arguments.bytes.split(",")]
    if min(arguments.subnets) < SITES:
        parser.error(f"each of {SITES} sites has a subnet")
    checks, parts = Checks(), {}
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("classification", classification), ("running", running)):
            if arguments.part in ("all", name):
                parts[name] = part(arguments, Path(folder), checks)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for name, rows in parts.items():
            write_csv(arguments.out / f"forwarding-{name}.csv", same_columns(rows))
        write_json(arguments.out / "forwarding.json", {**parts, "kernel": os.uname().release})
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
