#!/usr/bin/env python3
"""Super-packets: what the port merges where frames come in (GRO), left as it is and bounded. The largest packet that
leaves by wan0, what a voice packet waits behind it, and the limit itself: set by a reload and given back by one, not
written twice, somebody else's left alone, given back by `weir clear`, also after a daemon that was killed.

Judged by `ip -d link`, `tc`, a packet socket at wan0, numbered packets and voice requests. Voice goes first in Weir's
own queue, so what it waits shows behind that: on the provider's link, which carries a little more than the site's rate.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import socket
import statistics
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from netlab import FarSite, Lab, Spec, Unlimited, wait_until
from netlab.namespace import NETNS_DIR, LabError, Namespace, need_root
from netlab.product import Weir, api_socket
from netlab.provider import Spawn
from netlab.report import Checks
from netlab.topology import INTERACTIVE, REST, REST6
from netlab.traffic import EF, Bulk, Requests, Stream
from netlab.truth import KernelChanges, class_lines, qdiscs

SITE, BARE = "dc-coast", "dc-hill"  # the second is no site of the policy, and nothing holds its traffic back
SHAPED_MBIT, LINK_MBIT, PORT_MBIT = 45.0, 48.0, 622.0
AS_IS, BOUNDED = "as_is", "bounded"
DEFAULT_MOST = 65536                # what every kernel merges without being asked
MOST = round(SHAPED_MBIT * 1e3 / 8)  # bytes in 1 ms at the slowest site's floor
HEADERS = 100                       # of a frame, which the kernel's limit does not count
CLEARLY_LARGER = 20_000
ROUNDS, MEASURED_S = 3, 3.0
BLOCK = 128 << 10                   # two connections' are less than what the leaf holds: nothing is lost there
SETTLED_BYTES = 1_000_000           # sent since: what was merged before has left, the leaf holds 100 ms of 45 Mbit/s
VOICE_GAIN_MS = 5.0                 # 65536 bytes take 10.9 on the link, 5625 take 0.9
SAME_RATE, LEAST_SHARE = 0.03, 0.9
COST_ROUNDS, COST_S = 2, 1.5
SMALLER, LARGER = 3000, 20_000      # what somebody else sets, below the bound and above
GIVEN_TIME_S = 10.0


def policy(lab: Lab, gro: str | None) -> str:
    """None: the key is not written."""
    far = lab.far_site(SITE)
    return f"""\
wan: {{interface: wan0, rate: {PORT_MBIT:g}mbit, link_layer: {{kind: ethernet, overhead: 0}}}}
lan: {{interface: lan0}}
{f"gro: {gro}" if gro else "# gro: by default"}
sites:
  - name: {far.name}
    subnets: [{far.subnets[0]}, "{far.subnets[1]}"]
    rate: {{floor: {SHAPED_MBIT:g}mbit, ceiling: {SHAPED_MBIT:g}mbit, start: {SHAPED_MBIT:g}mbit, adapt: false}}
    policy: site
policies:
  site:
    classes:
      - {{name: voice, match: [{{dscp: ef}}], guarantee: 5%, priority: 0}}
      - {{name: rest, default: true, guarantee: 20%, priority: 2}}
api: {{socket: {api_socket(lab)}}}
"""


class Link(Unlimited):
    """A link of this rate: whatever comes after a packet waits until that one is through. HTB takes no packet apart and
    charges each in full, so that a super-packet takes as long as its frames would."""

    def __init__(self, rate_bps: float):
        self.rate_bps = rate_bps

    def start(self, namespace: Namespace, interface: str, spawn: Spawn) -> None:
        super().start(namespace, interface, spawn)
        namespace.run(["tc", "-batch", "-"], stdin=f"""\
qdisc add dev {interface} root handle 1: htb default 1
class add dev {interface} parent 1: classid 1:1 htb rate {self.rate_bps:.0f}bit burst 1600 cburst 1600
qdisc add dev {interface} parent 1:1 bfifo limit 1000000
""")

    def sent(self) -> tuple[int, int]:
        """Bytes with the headers of each frame, and packets dropped."""
        root = next(q for q in qdiscs(self._ns, self._interface) if q.get("root"))
        return root["bytes"], root["drops"]


# ------------------------------------------------------------------------------------ sockets in the lab's namespaces

FAMILIES = {0x0800: "IPv4", 0x86DD: "IPv6"}
CLONE_NEWNET = 0x40000000
ETH_P_ALL, SOL_PACKET, PACKET_STATISTICS, PACKET_OUTGOING = 3, 263, 6, 4
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
PATIENCE_S = 0.2  # of a thread, until it looks whether it should end


def inside(namespace: Namespace, make: Callable[[], socket.socket]) -> socket.socket:
    """A socket belongs to the namespace in which it was made: a thread enters it, makes the socket, and ends."""
    made: list[socket.socket] = []

    def enter() -> None:
        with open(NETNS_DIR / namespace.name) as there:
            if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"enter {namespace.name}")
        made.append(make())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if not made:
        raise LabError(f"no socket in {namespace.name}")
    return made[0]


class Tap:
    """The packets of IPv4 and IPv6 that leave by wan0, as they leave its queue."""

    def __init__(self, lab: Lab) -> None:
        def make() -> socket.socket:
            packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            packets.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            packets.settimeout(PATIENCE_S)
            packets.bind(("wan0", ETH_P_ALL))
            return packets

        self._socket = inside(lab.gateway, make)
        self._sizes: dict[str, list[int]] = {family: [] for family in FAMILIES.values()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def read(self) -> dict[str, list[int]]:
        """The sizes of those that left since the last time."""
        seen, self._sizes = self._sizes, {family: [] for family in FAMILIES.values()}
        return seen

    def stop(self) -> int:
        """How many packets it has missed."""
        missed = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        self._stop.set()
        self._thread.join()
        self._socket.close()
        return missed

    def _run(self) -> None:
        head = bytearray(14)
        while not self._stop.is_set():
            try:
                length, _, _, address = self._socket.recvmsg_into([head], 0, socket.MSG_TRUNC)
            except TimeoutError:
                continue
            family = FAMILIES.get(int.from_bytes(head[12:14], "big"))
            if address[2] == PACKET_OUTGOING and family:
                self._sizes[family].append(length)


class Blocks:
    """One TCP connection that sends block after block, each when the far host has taken the one before. A block goes
    out at once, as fast as a wire carries it: a load that stays as bursty as the senders of a fast network are, while
    one without a pause is spaced by its acknowledgements after a while."""

    def __init__(self, lab: Lab, source: str, port: int) -> None:
        site = lab.far_site(SITE)
        family, target = (socket.AF_INET6, site.host6()) if ":" in source else (socket.AF_INET, site.host())

        def make() -> socket.socket:
            one = socket.socket(family, socket.SOCK_STREAM)
            for buffer in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
                one.setsockopt(socket.SOL_SOCKET, buffer, 8 * BLOCK)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")  # a start that no queue ends
            one.settimeout(GIVEN_TIME_S)
            return one

        self._stop = threading.Event()
        listener = inside(lab.far(SITE), make)
        listener.bind((target, port))
        listener.listen(1)
        self._near = inside(lab.site, make)
        self._near.bind((source, 0))
        self._near.connect((target, port))
        self._far, _ = listener.accept()
        self._far.settimeout(GIVEN_TIME_S)
        listener.close()
        self._threads = [threading.Thread(target=part, daemon=True) for part in (self._take, self._send)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        block = bytes(BLOCK)
        while not self._stop.is_set():
            self._near.sendall(block)
            self._near.recv(1)
        self._near.close()

    def _take(self) -> None:
        space, left = bytearray(BLOCK), BLOCK
        while taken := self._far.recv_into(space, left):
            left -= taken
            if left == 0:
                self._far.send(b"+")
                left = BLOCK
        self._far.close()


# ------------------------------------------------------------------------------------------------------------ the scene

@dataclass(frozen=True)
class Round:
    sizes: dict[str, list[int]]  # per family, in order
    voice_ms: dict[str, float]
    rate_bps: float


class Scene:
    """A box whose LAN port merges all that it can, under a load that fills the site's rate."""

    def __init__(self, lab: Lab, checks: Checks, binary: str | None):
        self.lab, self.checks = lab, checks
        # Whole frames reach lan0, one by one as a network card would take them in, and only there they are merged.
        lab.core.run(["ethtool", "-K", "edge0", "tso", "off", "gso", "off"])
        lab.gateway.run(["ethtool", "-K", "lan0", "gro", "on"])
        lab.site.sysctl({"net/ipv4/tcp_tso_rtt_log": 31})  # senders hand over large pieces, whatever the RTT
        self.link: Link = lab.provider(SITE)  # type: ignore[assignment]
        self.before = self.limit()
        self.weir = Weir(lab, policy(lab, AS_IS), binary).start()
        self.changes = KernelChanges(lab)

    def limit(self) -> int:
        return self.lab.gateway.json(["ip", "-d", "-j", "link", "show", "dev", "lan0"])[0]["gro_max_size"]

    def somebody_sets(self, most: int) -> None:
        self.lab.gateway.ip(f"link set lan0 gro_max_size {most}\n")

    def check_limit(self, what: str, wanted: int) -> None:
        found = self.limit()
        self.checks.check(what, found == wanted, f"gro_max_size {found}")

    def tree(self) -> list[str]:
        return class_lines(self.lab.gateway, "wan0") + sorted(
            f"{q['kind']} {q.get('handle')} {q.get('parent', 'root')}" for q in qdiscs(self.lab.gateway, "wan0"))

    def status(self) -> dict:
        return self.weir.api.json("/v1/status")

    def reload(self, gro: str | None) -> None:
        """Until the daemon has taken it."""
        number = self.status()["policy"]["revision"]
        self.weir.write(policy(self.lab, gro))
        self.weir.reload()
        wait_until(lambda: self.status()["policy"]["revision"] != number, GIVEN_TIME_S, "the reload")

    def command(self, verb: str, *arguments: str) -> str:
        """Of the policy file; returns what it printed."""
        done = self.weir.command(verb, str(self.weir.config), *arguments)
        if done.returncode != 0:
            self.checks.check(f"weir {verb}", False, (done.stderr or done.stdout).strip())
        return done.stdout.strip()

    def check_cleared(self, what: str, wanted: int) -> None:
        said = self.command("clear")
        self.check_limit(f"clear {what} ({'; '.join(line for line in said.splitlines() if 'lan0' in line)})", wanted)

    # ---------------------------------------------------------------------------------------------------------- traffic

    def load(self) -> None:
        self.blocks = [Blocks(self.lab, REST, 5201), Blocks(self.lab, REST6, 5202)]
        self.voice = Requests(self.lab, source=INTERACTIVE, far=SITE, interval_ms=5)
        self.stream = Stream(self.lab, source=INTERACTIVE, far=SITE, dscp=EF, pps=200, size=100)
        self.tap = Tap(self.lab)

    def settle(self) -> None:
        """Until all that waits was merged under what is in force now."""
        sent = self.link.sent()[0]
        wait_until(lambda: self.link.sent()[0] >= sent + SETTLED_BYTES, GIVEN_TIME_S, "the load")
        wait_until(lambda: any(q["backlog"] > 0 for q in qdiscs(self.lab.gateway, "wan0")), GIVEN_TIME_S, "a queue")

    def measure(self) -> Round:
        self.settle()
        self.tap.read()
        began, first = time.monotonic(), self.link.sent()[0]
        time.sleep(MEASURED_S)
        ended, last = time.monotonic(), self.link.sent()[0]
        seen = self.tap.read()
        voice = self.voice.read(began, ended - 0.2)  # the last ones' answers may be under way
        return Round({family: sorted(sizes) for family, sizes in seen.items()}, voice["rtt_ms"],
                     8 * (last - first) / (ended - began))


# --------------------------------------------------------------------------------------------------- what it is all for

def measure_rounds(scene: Scene) -> dict[str, list[Round]]:
    """In turns, by live reloads under the whole load."""
    rounds: dict[str, list[Round]] = {AS_IS: [], BOUNDED: []}
    mark, tree = scene.changes.mark(), scene.tree()
    for turn in range(ROUNDS):
        for kind, gro, wanted in ((AS_IS, AS_IS, scene.before), (BOUNDED, None, MOST)):
            if turn > 0 or kind == BOUNDED:  # it began with the first
                scene.reload(gro)
            scene.check_limit(f"{kind}, {turn + 1}: the limit of lan0", wanted)
            one = scene.measure()
            rounds[kind].append(one)
            largest = ", ".join(f"{family} {sizes[-1:]}" for family, sizes in one.sizes.items())
            print(f"        {sum(map(len, one.sizes.values()))} packets left, the largest {largest}; voice p50 "
                  f"{one.voice_ms['p50']:.2f}, p99 {one.voice_ms['p99']:.2f}, max {one.voice_ms['max']:.2f} ms; "
                  f"{one.rate_bps / 1e6:.2f} Mbit/s", flush=True)
    written = scene.changes.since(mark)
    scene.checks.check("these reloads changed no queue, class or filter", not written and scene.tree() == tree,
                       "; ".join(written[:3]))
    return rounds


def check_rounds(checks: Checks, rounds: dict[str, list[Round]]) -> None:
    for family in FAMILIES.values():
        merged, bounded = ([max(r.sizes[family], default=0) for r in rounds[kind]] for kind in (AS_IS, BOUNDED))
        checks.check(f"as_is: {family} leaves far larger than {CLEARLY_LARGER} bytes", min(merged) > CLEARLY_LARGER,
                     f"the largest {merged}")
        checks.check(f"bounded: no packet of {family} is larger than {MOST + HEADERS}, and some are merged",
                     1514 < min(bounded) and max(bounded) <= MOST + HEADERS, f"the largest {bounded}")
    # Noise of the machine only adds: the best round of each tells what it is about.
    as_is, bounded = ([r.voice_ms["p99"] for r in rounds[kind]] for kind in (AS_IS, BOUNDED))
    checks.check(f"voice waits at least {VOICE_GAIN_MS:g} ms less, p99", min(as_is) - min(bounded) >= VOICE_GAIN_MS,
                 f"{min(as_is):.2f} as_is, {min(bounded):.2f} bounded; of all rounds "
                 f"{[round(ms, 2) for ms in as_is]} and {[round(ms, 2) for ms in bounded]} ms")
    rates = {kind: statistics.median(r.rate_bps for r in rounds[kind]) for kind in rounds}
    checks.check(f"the load is as fast within {100 * SAME_RATE:g} %, and fills the rate",
                 abs(rates[BOUNDED] / rates[AS_IS] - 1) <= SAME_RATE
                 and min(rates.values()) >= LEAST_SHARE * 1e6 * SHAPED_MBIT,
                 f"{rates[AS_IS] / 1e6:.2f} as_is, {rates[BOUNDED] / 1e6:.2f} Mbit/s bounded")


def check_same_again(scene: Scene) -> None:
    checks, mark = scene.checks, scene.changes.mark()
    before, messages = scene.status()["policy"], scene.status()["shaper"]["messages"]
    scene.weir.reload()
    wait_until(lambda: scene.status()["policy"] != before, GIVEN_TIME_S, "the same file to be taken again")
    written = scene.changes.since(mark)
    after = scene.status()["shaper"]["messages"]
    checks.check("the same file again: nothing is written", not written and after == messages,
                 "; ".join(written[:3]) or f"{after - messages} messages")
    scene.check_limit("the same file again: the limit stays", MOST)


def check_no_packet_missing(scene: Scene) -> None:
    missed = scene.tap.stop()
    scene.checks.check("the packet socket at wan0 missed nothing", missed == 0, f"{missed} packets")
    for blocks in scene.blocks:
        blocks.stop()
    scene.voice.stop()
    account, dropped = scene.stream.stop(), scene.link.sent()[1]
    scene.checks.check("not one numbered packet is missing", account["missing"] == 0 and account["repeated"] == 0
                       and account["sent"] == account["received"] > 1000,
                       f"{account['sent']} sent, {account['sent'] - account['received']} missing")
    scene.checks.check("the provider's link dropped nothing", dropped == 0, f"{dropped} dropped")


# ------------------------------------------------------------------------------------------------- whose the limit is

def check_killed(scene: Scene) -> None:
    scene.weir.kill()
    scene.check_limit("kill -9: the limit stays", MOST)
    mark = scene.changes.mark()
    scene.weir.start()
    shaper, written = scene.status()["shaper"], scene.changes.since(mark)
    scene.checks.check("started again: it adopts, and writes nothing", shaper["adopted"] and shaper["messages"] == 0
                       and not written, f"{shaper['messages']} messages")
    scene.check_limit("started again: the limit stays", MOST)
    scene.weir.stop()
    scene.check_limit("SIGTERM: the limit stays", MOST)
    scene.check_cleared("gives back what was there", scene.before)
    scene.weir.start()
    scene.check_limit("a new start sets it", MOST)
    scene.weir.kill()
    scene.weir.write(policy(scene.lab, AS_IS))
    scene.weir.start()
    scene.check_limit("killed, and started with as_is: what was there is given back", scene.before)


def check_somebody_elses(scene: Scene) -> None:
    """With the daemon, and then by the commands alone."""
    scene.reload(BOUNDED)
    scene.check_limit("bounded, by its name", MOST)
    scene.somebody_sets(SMALLER)
    scene.reload(AS_IS)
    scene.check_limit(f"{SMALLER} that somebody set meanwhile: a reload to as_is leaves it", SMALLER)
    scene.reload(BOUNDED)
    scene.check_limit("and one to bounded does: it is less", SMALLER)
    scene.weir.kill()
    scene.weir.start()
    scene.check_limit("and so does a restart after kill -9", SMALLER)
    scene.weir.stop()
    scene.check_cleared("leaves it", SMALLER)
    scene.somebody_sets(scene.before)
    as_commands = scene.command("plan", "--tc")
    scene.checks.check("the plan has the command, and sets nothing", scene.limit() == scene.before
                       and f"ip link set dev lan0 gro_max_size {MOST}\n" in as_commands + "\n")
    scene.command("apply", "--once")
    scene.check_limit("apply --once sets it", MOST)
    mark, said = scene.changes.mark(), scene.command("apply", "--once")
    scene.checks.check("a second apply writes nothing", "nothing to change" in said and not scene.changes.since(mark),
                       said)
    scene.somebody_sets(SMALLER)
    scene.check_cleared(f"leaves {SMALLER} that somebody set meanwhile", SMALLER)
    scene.somebody_sets(LARGER)
    scene.command("apply", "--once")
    scene.check_limit(f"{LARGER} of somebody's: apply bounds it", MOST)
    scene.check_cleared(f"gives back {LARGER}", LARGER)
    scene.check_cleared("twice", LARGER)
    scene.somebody_sets(scene.before)


# ----------------------------------------------------------------------------------------------------------------- cost

def softirq_seconds() -> float:
    with open("/proc/stat") as stat:
        return int(stat.readline().split()[7]) / os.sysconf("SC_CLK_TCK")


def tell_cost(scene: Scene) -> None:
    """Of one TCP flow through the box without any shaping, in turns. Told, not judged."""
    rates: dict[int, list[float]] = {DEFAULT_MOST: [], MOST: []}
    softirq: dict[int, list[float]] = {DEFAULT_MOST: [], MOST: []}
    for _ in range(COST_ROUNDS):
        for most, of_this in rates.items():
            scene.somebody_sets(most)
            began, bulk = softirq_seconds(), Bulk(scene.lab, source=REST, far=BARE, port=5301).start()
            time.sleep(COST_S)
            result = bulk.stop()
            of_this.append(result.goodput_bps / 1e9)
            softirq[most].append((softirq_seconds() - began) / max(result.received_bytes / 1e9, 1e-9))
    print("  cost  one flow through the unshaped bridge: " + "; ".join(
        f"at most {most} bytes merged {max(rates[most]):.2f} Gbit/s, {min(softirq[most]):.2f} s of softirq a GB"
        for most in rates), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    arguments = parser.parse_args()
    need_root()
    checks = Checks()
    far = [FarSite(SITE, 20, provider=Link(1e6 * LINK_MBIT)), FarSite(BARE, 30)]
    with Lab(Spec(far=far, offloads=True)) as lab:
        scene = Scene(lab, checks, arguments.weir)
        scene.check_limit("before and with as_is: the limit is the kernel's own", DEFAULT_MOST)
        scene.load()
        check_rounds(checks, measure_rounds(scene))
        check_same_again(scene)
        check_no_packet_missing(scene)
        check_killed(scene)
        check_somebody_elses(scene)
        tell_cost(scene)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
