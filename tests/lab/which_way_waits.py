#!/usr/bin/env python3
"""Does `weir observe` tell on which way a queue stands?

The provider has a buffer on each way, and truth is what the kernel says waits in them. Uploads fill the one, downloads
the other. A thin upload with a mark of its own runs all the time and sends evenly: its samples are as the time, so that
their percentiles must be the truth's. Those of all uploads weigh the times more in which these are fast.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass

from netlab import Buffer, FarSite, Lab, Spec, usec_timestamps, wait_until
from netlab.namespace import Process, need_root
from netlab.report import Checks, table
from netlab.tools import weir_binary
from netlab.topology import REPLICATION, REST
from netlab.traffic import CS1, Bulk

RATE = 20e6
THIN_BPS = 2e6
LEARN_S = 0.7  # with the thin upload alone, until its clock is known
QUIET_S = 1.0
HEADER = ["queue", "way", "truth p50", "told p50", "truth p95", "told p95", "within", "share %", "all p50", "all p95",
          "all within", "all share %"]


@dataclass(frozen=True)
class Case:
    name: str
    uploads: int
    downloads: int


CASES = [Case("on the way out", 3, 0), Case("on the way back", 0, 3), Case("on both ways", 3, 3)]


class Truth:
    """How long what arrives now will wait in each buffer, asked again and again."""

    def __init__(self, buffers: dict[str, Buffer]):
        self._buffers = buffers
        self.waits: dict[str, list[float]] = {way: [] for way in buffers}

    def watch(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for way, buffer in self._buffers.items():
                self.waits[way].append(buffer.read().backlog_bytes * 8e3 / buffer.rate_bps)

    def percentile(self, way: str, fraction: float) -> float:
        ordered = sorted(self.waits[way])
        return ordered[min(int(fraction * len(ordered)), len(ordered) - 1)]


def lines(observer: Process) -> list[str]:
    return observer.output().split("\n")[:-1]  # whole lines only


def run_case(case: Case, seconds: float, usec: bool, weir: str | None, checks: Checks) -> list[list[object]]:
    out, back = Buffer(RATE, buffer_ms=60), Buffer(RATE, buffer_ms=60)
    with Lab(Spec(far=[FarSite(provider=out, rtt_ms=20)])) as lab:
        back.start(lab.provider_ns, "cust0", lab.spawn)
        if usec:
            lab.far().run([sys.executable, usec_timestamps.__file__, f"10.{lab.far_site().number}.0.5", "ret"])
        observer = lab.spawn(lab.gateway, "observe", [str(weir_binary(weir)), "observe", "--interface", "wan0",
                                                      "--inside", "10.1.0.0/16", "--json"])
        wait_until(lambda: len(lines(observer)) > 0, 10, "weir observe to see the port")
        truth = Truth({"forward": out, "reverse": back})
        flows = [Bulk(lab, source=REST, port=5201, flow_bps=THIN_BPS, dscp=CS1).start()]
        Truth({"forward": out, "reverse": back}).watch(LEARN_S)
        truth.watch(QUIET_S)
        if case.uploads:
            flows.append(Bulk(lab, flows=case.uploads, source=REPLICATION, port=5202).start())
        if case.downloads:
            flows.append(Bulk(lab, flows=case.downloads, source=REPLICATION, port=5203, reverse=True).start())
        truth.watch(seconds)
        seen = len(lines(observer))
        wait_until(lambda: len(lines(observer)) > seen, 5, "weir observe's next line")
        observed = json.loads(lines(observer)[-1])
        for flow in flows:
            flow.stop()
    outbound = next(d for d in observed["directions"] if d["name"] == "outbound")
    thin = next(d for d in outbound["dscp"] if d["dscp"] == "cs1")["queue_ms"]
    everything = outbound["queue_ms"]
    checks.check(f"{case.name}: the capture lost nothing", observed["capture"]["kernel_drops"] == 0)
    checks.check(f"{case.name}: most of the thin upload's samples tell", thin.get("share", 0) > 0.8,
                 f"{100 * thin.get('share', 0):.0f} %")
    checks.check(f"{case.name}: samples of all uploads tell", everything.get("share", 0) > 0.3,
                 f"{100 * everything.get('share', 0):.0f} %")
    # Of a flow that began in a queue no bound is tighter than the least queue that it saw.
    tolerance = max(4.0, 0.1 * max(truth.percentile(way, 0.95) for way in truth.waits))
    rows: list[list[object]] = []
    for way, busy in (("forward", case.uploads > 0), ("reverse", case.downloads > 0)):
        row: list[object] = [case.name, way]
        for name, fraction in (("p50", 0.5), ("p95", 0.95)):
            true, said = truth.percentile(way, fraction), thin.get(way, {}).get(name, float("nan"))
            row += [true, said]
            allowed = 4.0 if name == "p95" else tolerance
            checks.check(f"{case.name}: {name} of the {way} way", abs(said - true) <= allowed,
                         f"{said:.1f} ms told, {true:.1f} ms waited")
        true, said = truth.percentile(way, 0.95), everything.get(way, {}).get("p95", float("nan"))
        checks.check(f"{case.name}: p95 of the {way} way, of all uploads", abs(said - true) <= tolerance,
                     f"{said:.1f} ms told, {true:.1f} ms waited")
        checks.check(f"{case.name}: the {way} way {'has a' if busy else 'has no'} queue",
                     true > 20 if busy else true < 4, f"{true:.1f} ms")
        rows.append([*row, thin.get("within"), 100 * thin.get("share", 0), everything.get(way, {}).get("p50"), said,
                     everything.get("within"), 100 * everything.get("share", 0)])
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    parser.add_argument("--seconds", type=float, default=7, help="of load per case")
    parser.add_argument("--usec", action="store_true", help="the far hosts' timestamps tick in microseconds (Linux 6.7)")
    arguments = parser.parse_args()
    need_root()
    checks = Checks()
    rows = [row for case in CASES for row in run_case(case, arguments.seconds, arguments.usec, arguments.weir, checks)]
    print(table(HEADER, rows))
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
