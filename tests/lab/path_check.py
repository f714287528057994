#!/usr/bin/env python3
"""Is lab_path to be trusted? Its policer beside the kernel program's, its buffer beside the kernel's TBF, under the same
flood; its delays beside ping; what its speed costs. Medians throughout: a machine that others share stands still at times."""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from netlab import Buffer, FarSite, Lab, Policer, Spec
from netlab.namespace import need_root
from netlab.path import PathLab
from netlab.report import Checks, table
from netlab.topology import INTERACTIVE, REST
from netlab.traffic import Requests, Stream, cpu_seconds

FULL_PAYLOAD, FULL_FRAME = 1472, 1514  # of a UDP datagram, and its frame from the Ethernet header on
RATE, FLOOD = 20e6, 40e6
WITHIN = 0.01
WINDOWS = 5  # of a flood


@dataclass(frozen=True)
class Seen:
    """Of a flood, by its receiver, the medians of its windows: what came through, what did not, and how long a small
    packet took."""
    rate_bps: float
    loss: float
    delay_ms: float


def scenario_text(links: str, seconds: int = 600, rtt: str = "0ms", more: str = "") -> str:
    return f"""\
name: check
length: {seconds}s
sites:
  - {{name: dc-coast, floor: 1mbit, ceiling: 1gbit, start: 1gbit}}
links:
{links}loads:
  - {{kind: tcp, rtt: {rtt}}}
{more}"""


class Scene:
    """The scenario's path in a lab, begun."""

    def __init__(self, text: str):
        self._text = text

    def __enter__(self) -> PathLab:
        path = Path(f"/run/weir-path-check-{time.monotonic_ns()}.yaml")
        path.write_text(self._text)
        try:
            self._lab = PathLab(path)
            lab = self._lab.__enter__()
            lab.path.ask("start")
        finally:
            path.unlink()
        return lab

    def __exit__(self, *error: object) -> None:
        self._lab.__exit__(*error)


def flood(lab: Lab, seconds: float) -> Seen:
    """Twice the rate in full frames and a request now and then: the same for everybody's bottleneck."""
    requests = Requests(lab, source=INTERACTIVE, interval_ms=20, size=58)
    time.sleep(0.5)
    stream = Stream(lab, source=REST, pps=FLOOD / 8 / FULL_FRAME, size=FULL_PAYLOAD)
    time.sleep(1)  # a full bucket or an empty buffer comes on top: let it pass
    start = time.monotonic()
    time.sleep(seconds + 1)
    window = seconds / WINDOWS
    begins = [start + i * window for i in range(WINDOWS)]
    seen = [stream.read(begin, begin + window) for begin in begins]
    delays = [requests.read(begin, begin + window)["rtt_ms"].get("p50") or 0.0 for begin in begins]
    stream.stop()
    requests.stop()
    # What the receiver misses between its first and its last one is what was dropped.
    return Seen(statistics.median(s["received"] for s in seen) * FULL_FRAME * 8 / window,
                statistics.median(s["missing"] / (s["received"] + s["missing"]) for s in seen), statistics.median(delays))


def compare(checks: Checks, what: str, kernel: Seen, ours: Seen, delay: bool) -> None:
    print(table(["", "Mbit/s", "loss", "delay ms"], [[n, s.rate_bps / 1e6, s.loss, s.delay_ms]
                                                     for n, s in (("kernel", kernel), ("lab_path", ours))]), flush=True)
    checks.check(f"{what}: throughput within 1 %", abs(ours.rate_bps / kernel.rate_bps - 1) <= WITHIN,
                 f"{ours.rate_bps / kernel.rate_bps - 1:+.3%}")
    checks.check(f"{what}: loss within 1 %", abs(ours.loss - kernel.loss) <= WITHIN, f"{ours.loss - kernel.loss:+.3%}")
    if delay:
        checks.check(f"{what}: delay within 1 % and a millisecond",
                     abs(ours.delay_ms - kernel.delay_ms) <= WITHIN * kernel.delay_ms + 1,
                     f"{ours.delay_ms - kernel.delay_ms:+.2f} ms")


def check_bottlenecks(checks: Checks, seconds: float) -> None:
    for what, provider, limit in (
            ("policer", Policer(RATE, bucket_ms=50), "policer: {bucket: 50ms}"),
            ("buffer", Buffer(RATE, buffer_ms=100), "buffer: {depth: 100ms}")):
        with Lab(Spec(far=[FarSite(provider=provider)])) as lab:
            kernel = flood(lab, seconds)
        with Scene(scenario_text(f"  - {{name: path, capacity: {RATE / 1e6:g}mbit, {limit}}}\n")) as lab:
            ours = flood(lab, seconds)
            account = lab.path.ask("read")
        compare(checks, what, kernel, ours, delay=what == "buffer")
        checks.check(f"{what}: lab_path itself lost nothing", not account["void"], str(account["out"]))


def ping_ms(lab: Lab, count: int = 60) -> tuple[float, float]:
    """Least and median."""
    done = lab.site.run(["ping", "-n", "-c", str(count), "-i", "0.02", "-I", REST, lab.far_site().host()])
    times = [float(told) for told in re.findall(r"time=([\d.]+) ms", done.stdout)]
    return min(times), statistics.median(times)


def check_delays(checks: Checks) -> None:
    """The first seconds without, then with, the scenario's way round."""
    with Scene(scenario_text("  - {name: path}\n", rtt="30ms", more="extra_delay: [[0s, 0ms], [4s, 60ms]]\n")) as lab:
        began = time.monotonic()
        for wanted in (30.0, 90.0):
            time.sleep(max(0.0, began + (4.1 if wanted > 30 else 0.0) - time.monotonic()))
            least, median = ping_ms(lab)
            checks.check(f"ping: {wanted:g} ms", wanted <= least <= median <= wanted + 1,
                         f"least {least:.2f}, median {median:.2f} ms")


def check_drops_told(checks: Checks) -> None:
    """Every frame that is missing at the far end is one that a link says it dropped."""
    with Scene(scenario_text("  - {name: path, loss: {ratio: 2%, burst: 5}}\n")) as lab:
        before = lab.path.ask("read")["out"]["dropped"]
        stream = Stream(lab, pps=5000, size=100)
        time.sleep(5)
        told = stream.stop()
        dropped = lab.path.ask("read")["out"]["dropped"] - before
        # What is lost behind the last one that arrived is missed by nobody.
        checks.check("each missing frame is a drop it counted",
                     told["sent"] - told["received"] == dropped and told["missing"] <= dropped,
                     f"{told['sent']} sent, {told['received']} received, {dropped} dropped")
        checks.check("no frame overtook another", told["reordered"] == 0 and told["repeated"] == 0, str(told))


def check_speed(checks: Checks, mbit: float, seconds: float) -> None:
    """By what a bit costs: how fast a sender can be beside it is the machine's affair."""
    with Scene(scenario_text(f"  - {{name: path, capacity: {mbit:g}mbit, buffer: {{depth: 5ms}}}}\n")) as lab:
        stream = Stream(lab, pps=1.02 * mbit * 1e6 / 8 / FULL_FRAME, size=FULL_PAYLOAD)
        time.sleep(1)
        before, cpu, begin = lab.path.ask("read")["out"], cpu_seconds(lab.path.pid), time.monotonic()
        time.sleep(seconds)
        after, used = lab.path.ask("read"), cpu_seconds(lab.path.pid) - cpu
        wall = time.monotonic() - begin
        told = stream.stop()
    forwarded, dropped = (after["out"][count] - before[count] for count in ("forwarded", "dropped"))
    bits = (after["out"]["bytes"] - before["bytes"]) * 8
    offered = bits / forwarded * (forwarded + dropped)
    print(f"a sender of {1.02 * mbit:.0f} Mbit/s offered {offered / wall / 1e6:.0f} Mbit/s, {bits / wall / 1e6:.0f} were forwarded at "
          f"{used / wall:.0%} of a core: {after['out']}", flush=True)
    checks.check(f"{mbit:g} Mbit/s of full frames through a buffer cost less than a core", bits / used >= mbit * 1e6,
                 f"{bits / used / 1e6:.0f} Mbit/s a core")
    checks.check("what was offered was forwarded up to the capacity, none lost or overtaken by lab_path itself",
                 bits >= 0.98 * min(offered, mbit * 1e6 * wall) and not after["void"] and told["reordered"] == 0,
                 f"{bits / min(offered, mbit * 1e6 * wall):.1%}, {told['reordered']} overtaken")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each flood")
    parser.add_argument("--speed", type=float, default=700, help="Mbit/s")
    arguments = parser.parse_args()
    need_root()
    checks = Checks()
    check_delays(checks)
    check_drops_told(checks)
    check_bottlenecks(checks, arguments.seconds)
    check_speed(checks, arguments.speed, arguments.seconds)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
