#!/usr/bin/env python3
"""Does `weir observe` tell a provider that honours DSCP from one that does not?

Marked and unmarked TCP share a path that the unmarked flows fill. One provider serves EF first, the others treat all
alike; where loss is random, or the path is never full, there is nothing to tell.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass

from netlab import Buffer, FarSite, Lab, Policer, ProviderCounts, Spec, wait_until
from netlab.namespace import LabError, Namespace, need_root
from netlab.provider import Provider, Spawn
from netlab.report import Checks, table
from netlab.tools import weir_binary
from netlab.topology import REPLICATION, REST
from netlab.traffic import EF, Bulk
from netlab.truth import qdiscs

RATE = 20e6
HEADER = ["provider", "verdict", "confidence", "windows", "EF lost %", "rest lost %", "EF p50 ms", "rest p50 ms"]


class PriorityBuffer:
    """A provider with two queues on one link: what is marked EF has half of it for itself, and goes first."""

    def __init__(self, rate_bps: float, buffer_ms: float):
        self._rate, self._limit = int(rate_bps), int(rate_bps / 8 * buffer_ms / 1000)

    def start(self, namespace: Namespace, interface: str, spawn: Spawn) -> None:
        def tc(kind: str, *arguments: object) -> None:
            namespace.run(["tc", kind, "add", "dev", interface, *map(str, arguments)])

        self._ns, self._interface = namespace, interface
        tc("qdisc", "root", "handle", "1:", "htb", "default", "12")
        tc("class", "parent", "1:", "classid", "1:1", "htb", "rate", self._rate)
        for number, priority in ((11, 0), (12, 1)):
            tc("class", "parent", "1:1", "classid", f"1:{number}", "htb", "rate", self._rate // 2, "ceil", self._rate,
               "prio", priority)
            tc("qdisc", "parent", f"1:{number}", "bfifo", "limit", self._limit)
        tc("filter", "parent", "1:", "protocol", "ip", "u32", "match", "ip", "dsfield", hex(EF << 2), "0xfc",
           "flowid", "1:11")

    def set_rate(self, rate_bps: float) -> None:
        raise LabError("this provider's rate is fixed")

    def read(self) -> ProviderCounts:
        for qdisc in qdiscs(self._ns, self._interface):
            if qdisc["kind"] == "htb":
                return ProviderCounts(qdisc["packets"], qdisc["bytes"], qdisc["drops"], 0, qdisc["backlog"])
        raise LabError(f"the provider's queues on {self._interface} are gone")


@dataclass(frozen=True)
class Case:
    name: str
    provider: Provider
    verdict: str
    bulk_bps: float | None = None  # None: as fast as it goes


def cases() -> list[Case]:
    return [Case("two queues, EF first", PriorityBuffer(RATE, 60), "honoured"),
            Case("one queue for all", Buffer(RATE, 60), "ignored"),
            Case("policer", Policer(RATE, bucket_ms=20), "ignored"),
            Case("random loss, never full", Policer(loss=0.02, seed=5), "unknown", bulk_bps=1e6),
            Case("never full", Buffer(10 * RATE, 60), "unknown", bulk_bps=1e6)]


def run_case(case: Case, seconds: float, rtt_ms: float, weir: str, checks: Checks) -> list[object]:
    with Lab(Spec(far=[FarSite(provider=case.provider, rtt_ms=rtt_ms)])) as lab:
        observer = lab.spawn(lab.gateway, "observe", [weir, "observe", "--interface", "wan0", "--inside",
                                                      "10.1.0.0/16", "--json"])
        wait_until(lambda: "\n" in observer.output(), 10, "weir observe to see the port")
        bulk = [Bulk(lab, flows=4, source=REST, port=5201, dscp=EF, flow_bps=1e6, interval=1).start(),
                Bulk(lab, flows=4, source=REPLICATION, port=5202, flow_bps=case.bulk_bps, interval=1).start()]
        time.sleep(seconds)
        for b in bulk:
            b.stop()
        time.sleep(2)
        outbound = json.loads(observer.output().split("\n")[-2])["directions"][0]
    found = outbound.get("dscp_honoured", {"verdict": "none", "confidence": 0.0, "windows": 0})
    marks = {d["dscp"]: d for d in outbound["dscp"]}
    checks.check(f"{case.name}: {case.verdict}", found["verdict"] == case.verdict,
                 f"{found['verdict']}, confidence {found['confidence']:.4f}, {found['windows']} windows, "
                 f"capacity {outbound['capacity']['mode']}")
    return [case.name, found["verdict"], found["confidence"], found["windows"],
            *(100 * (marks[m]["loss"]["beyond"] or 0) for m in ("ef", "default")),
            *(marks[m]["rtt_ms"].get("p50") for m in ("ef", "default"))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    parser.add_argument("--seconds", type=float, default=30, help="of traffic per case")
    parser.add_argument("--rtt", type=float, default=20, help="ms")
    parser.add_argument("--quick", action="store_true", help="the two providers with buffers only")
    arguments = parser.parse_args()
    need_root()
    checks = Checks()
    weir = str(weir_binary(arguments.weir))
    rows = [run_case(case, arguments.seconds, arguments.rtt, weir, checks)
            for case in (cases()[:2] if arguments.quick else cases())]
    print(table(HEADER, rows))
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
