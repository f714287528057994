"""Random scenarios of the proving ground, each determined by its number: what a provider's path may do within a minute,
drawn wider than anybody would write it down. Around 10 Mbit/s, so that a run takes seconds.

A tenth of them (number % 10 == 9) are of two boxes that share one link: two sites, each with a controller and shaper of
its own. The program counts both with one estimator, whose sums, cohorts and bases are each site's alone; neither
controller hears of the other but through the link, so to one another they are what two customers' boxes are.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

LENGTH_S, WARM_UP_S = 60, 5
LENGTH_SHARED_S = 120
FLOOR, CEILING = 2.0, 20.0
# No path in here carries less than a floor with something to spare: below it no rate that may be set would do.
LEAST_CAPACITY, MOST_CAPACITY = 2.4, 14.0
LEAST_BUCKET = 8000


@dataclass
class Site:
    name: str
    start: float  # Mbit/s


@dataclass
class Scenario:
    number: int
    length_s: int
    sites: list[Site]
    capacity: list[tuple[float, float]]  # from second on, Mbit/s
    limit: str  # YAML
    buffered: bool
    loads: list[dict]
    loss: str = ""
    about: list[str] = field(default_factory=list)

    @property
    def shared(self) -> bool:
        return len(self.sites) > 1

    @property
    def rtts_ms(self) -> list[float]:
        """Of each connection, the short ones too."""
        return [load["rtt"] for load in self.loads if load["kind"] == "tcp" for _ in range(load["flows"])]

    @property
    def edges_s(self) -> list[float]:
        """When something changes that the controller has to follow."""
        edges = [at for at, _ in self.capacity]
        for load in self.loads:
            edges += [load[key] for key in ("from", "until") if key in load]
        return sorted(set(edges))

    def yaml(self) -> str:
        lines = [f"# {', '.join(self.about)}.", f"name: random-{self.number}", f"length: {self.length_s}s",
                 f"warm_up: {WARM_UP_S}s", "sites:"]
        for site in self.sites:
            lines.append(f"  - {{name: {site.name}, floor: {FLOOR:g}mbit, ceiling: {CEILING:g}mbit, "
                         f"start: {site.start:.2f}mbit, contract: 5mbit}}")
        steps = ", ".join(f"[{at:.1f}s, {mbps:.3f}mbit]" for at, mbps in self.capacity)
        loss = f", loss: {self.loss}" if self.loss else ""
        lines += ["links:", f"  - {{name: path, capacity: [{steps}], {self.limit}{loss}}}", "loads:"]
        for load in self.loads:
            lines.append("  - {" + ", ".join(f"{key}: {self.value(key, value)}" for key, value in load.items()) + "}")
        return "\n".join(lines) + "\n"

    @staticmethod
    def value(key: str, value) -> str:
        match key:
            case "rtt": return f"{value:.1f}ms"
            case "from" | "until" | "pause": return f"{value:.2f}s"
            case "rate": return f"{value:.3f}mbit"
            case _: return str(value).lower() if isinstance(value, bool) else str(value)


def between(r: random.Random, least: float, most: float) -> float:
    """Any order of magnitude as likely as any other."""
    return math.exp(r.uniform(math.log(least), math.log(most)))


def scenario(number: int) -> Scenario:
    r = random.Random(f"weir {number}")
    return shared_path(r, number) if number % 10 == 9 else one_path(r, number)


def limit(r: random.Random, mbps: float) -> tuple[str, bool, str]:
    """YAML, whether packets wait at it, and words; `mbps`: what it carries at first.

    Buckets hold 2 ms to a second, but five packets at the least: of a bucket of one, the least excess loses every other
    packet, and there is no rate at which it loses a little."""
    if r.random() < 0.45:
        ms = between(r, 2, 1000)
        size = max(LEAST_BUCKET, round(ms * mbps * 1e3 / 8))
        return f"policer: {{bucket: {size}}}", False, f"policer with a bucket of {size / 1e3:.0f} kB ({size * 8e-3 / mbps:.0f} ms)"
    ms = between(r, 20, 500)
    kind = r.choice(["drop-tail", "drop-tail", "red", "codel"])
    if kind == "red":
        least = between(r, 5, max(6.0, ms / 4))
        most = least * r.uniform(2, 4)
        return (f"buffer: {{depth: {ms:.0f}ms, red: [{least:.1f}ms, {most:.1f}ms]}}", True,
                f"RED {least:.0f} to {most:.0f} ms in a buffer of {ms:.0f} ms")
    if kind == "codel":
        return f"buffer: {{depth: {ms:.0f}ms, aqm: codel}}", True, f"CoDel in a buffer of {ms:.0f} ms"
    return f"buffer: {{depth: {ms:.0f}ms}}", True, f"drop-tail buffer of {ms:.0f} ms"


def capacity_walk(r: random.Random, length_s: int) -> tuple[list[tuple[float, float]], str]:
    def clamp(mbps: float) -> float:
        return min(max(mbps, LEAST_CAPACITY), MOST_CAPACITY)

    kind = r.choice(["constant", "steps", "steps", "drifts", "both"])
    mbps = between(r, LEAST_CAPACITY, MOST_CAPACITY)
    walk = [(0.0, mbps)]
    now = 0.0
    while kind != "constant":
        now += r.uniform(5, 25)
        if now >= length_s:
            break
        if kind == "steps" or (kind == "both" and r.random() < 0.5):
            mbps = clamp(mbps * between(r, 0.4, 2.5))
            walk.append((now, mbps))
            continue
        a_second = r.choice([-1, 1]) * r.uniform(0.005, 0.03)
        end = min(now + r.uniform(5, 20), length_s)
        while now < end:
            mbps = clamp(mbps * math.exp(a_second * 0.5))
            walk.append((now, mbps))
            now += 0.5
    return walk, f"capacity {kind}"


def random_loss(r: random.Random) -> tuple[str, str]:
    if r.random() < 0.6:
        return "", "no random loss"
    percent = between(r, 0.005, 0.3)
    if r.random() < 0.6:
        return f"{{ratio: {percent:.4f}%}}", f"{percent:.3f} % random loss"
    burst = r.randint(2, 20)
    return f"{{ratio: {percent:.4f}%, burst: {burst}}}", f"{percent:.3f} % loss in bursts of {burst}"


def long_flows(r: random.Random) -> tuple[list[dict], str]:
    count = max(1, round(between(r, 1, 50)))
    kinds = min(count, r.choice([1, 1, 1, 2, 3, 4]))
    loads = []
    for i in range(kinds):
        flows = count // kinds + (1 if i < count % kinds else 0)
        loads.append({"kind": "tcp", "flows": flows, "rtt": round(between(r, 5, 150), 1)})
    return loads, f"{count} connections, RTT {' '.join(format(load['rtt'], '.0f') for load in loads)} ms"


def one_path(r: random.Random, number: int) -> Scenario:
    capacity, capacity_words = capacity_walk(r, LENGTH_S)
    limit_yaml, buffered, limit_words = limit(r, capacity[0][1])
    loss, loss_words = random_loss(r)
    loads, flow_words = long_flows(r)
    about = [limit_words, capacity_words, loss_words, flow_words]
    if r.random() < 0.3:
        loads = [part for load in loads for part in coming_and_going(r, load)]
        about.append("coming and going")
    if r.random() < 0.35:
        loads.append({"kind": "tcp", "flows": r.randint(1, 10), "bytes": round(between(r, 5e3, 5e5)),
                      "pause": between(r, 0.1, 2), "rtt": round(between(r, 5, 150), 1)})
        about.append("short ones beside")
    if r.random() < 0.35:
        rate = capacity[0][1] * r.uniform(0.05, 0.4)
        load = {"kind": "udp", "rate": rate}
        if r.random() < 0.5:
            load["from"] = r.uniform(0, LENGTH_S / 2)
            load["until"] = load["from"] + r.uniform(5, LENGTH_S / 2)
        loads.append(load)
        about.append(f"{rate:.1f} Mbit/s of UDP")
    loads.append({"kind": "udp", "priority": True, "rate": 0.1, "frame": 200})
    return Scenario(number, LENGTH_S, [Site("a", between(r, FLOOR, CEILING))], capacity, limit_yaml, buffered, loads,
                    loss, about)


def coming_and_going(r: random.Random, load: dict) -> list[dict]:
    parts = []
    now = r.uniform(0, 3)
    while now < LENGTH_S - 3:
        until = now + r.uniform(3, 20)
        part = {**load, "from": now}
        if until < LENGTH_S:
            part["until"] = until
        parts.append(part)
        now = until + r.uniform(0.5, 10)
    return parts


def shared_path(r: random.Random, number: int) -> Scenario:
    """One holds the link when the other comes. As many connections and the same RTT on both sides: what is unfair then
    is the controllers' work."""
    mbps = r.uniform(3 * FLOOR, MOST_CAPACITY)
    limit_yaml, buffered, limit_words = limit(r, mbps)
    flows = max(1, round(between(r, 1, 20)))
    rtt = round(between(r, 5, 150), 1)
    later = r.uniform(2, 20)
    sites = [Site("a", between(r, FLOOR, CEILING)), Site("b", between(r, FLOOR, CEILING))]
    loads = [{"kind": "tcp", "site": "a", "flows": flows, "rtt": rtt},
             {"kind": "tcp", "site": "b", "flows": flows, "rtt": rtt, "from": later}]
    about = [f"two boxes on one link of {mbps:.1f} Mbit/s", limit_words, f"{flows} connections each", f"RTT {rtt:.0f} ms"]
    return Scenario(number, LENGTH_SHARED_S, sites, [(0.0, mbps)], limit_yaml, buffered, loads, "", about)
