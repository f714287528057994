#!/usr/bin/env python3
"""The estimator's counts against those of the kernel that sent the segments, on a path that loses some.

Loss beyond the box is made on the provider's port, loss before it on arrival at lan0. The sum of the estimator's
classes must equal the sender's TcpRetransSegs; each class must match the losses that were really made.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass

from netlab import FarSite, Lab, Policer, Spec, wait_until
from netlab.namespace import need_root
from netlab.product import Weir, policy_text
from netlab.report import Checks, table
from netlab.topology import REPLICATION, REST
from netlab.traffic import Bulk
from netlab.truth import difference, sum_of_classes, tcp_counters, wait_for_quiet

SUM_TOLERANCE = 0.02    # of the sender's counter
PLACE_TOLERANCE = 0.05  # of the losses made: lost retransmissions and lost pure ACKs blur it
FLOW_BPS = 10e6         # bbr ignores the loss: unpaced it would fill the hosts' own queues, which drop uncounted


@dataclass(frozen=True)
class Case:
    name: str
    congestion: str
    beyond: float = 0.0
    before: float = 0.0
    burst: float = 1.0


CASES = [Case("beyond 1 %, cubic", "cubic", beyond=0.01),
         Case("beyond 1 %, bbr", "bbr", beyond=0.01),
         Case("before 0.5 %, cubic", "cubic", before=0.005),
         Case("beyond 10 %, cubic", "cubic", beyond=0.1),  # enough for the senders' timers to run out
         Case("beyond 2 % in runs of 5, bbr", "bbr", beyond=0.02, burst=5),
         Case("0.5 % on either side, bbr", "bbr", beyond=0.005, before=0.005)]
HEADER = ["path", "kernel", "estimated", "off %", "retransmitted", "spurious", "holes", "SYN", "made beyond",
          "made before", "timeouts", "of the kernel", "Mbit/s"]


def run_case(case: Case, seconds: float, rtt_ms: float, weir_binary: str | None, checks: Checks) -> list[object]:
    provider = Policer(loss=case.beyond, loss_burst=case.burst, seed=11)
    before = Policer(loss=case.before, loss_burst=case.burst, seed=12, ingress=True)
    with Lab(Spec(far=[FarSite(provider=provider, rtt_ms=rtt_ms)], before=before)) as lab:
        # Watched, not shaped: the site's rate is above anything that these flows reach, so our own queue drops nothing.
        policy = policy_text(lab, port_mbit=1000, start_mbit=900, ceiling_mbit=900, adapt=False)
        weir = Weir(lab, policy, weir_binary).start()
        observer = Observer(lab, weir)
        at_start = tcp_counters(lab.site)
        bulk = [Bulk(lab, flows=4, source=source, port=port, congestion=case.congestion, flow_bps=FLOW_BPS,
                     interval=1).start()
                for source, port in ((REST, 5201), (REPLICATION, 5202))]
        time.sleep(seconds)
        rate = sum(b.stop().goodput_bps for b in bulk)
        wait_for_quiet(lab)
        sender = difference(tcp_counters(lab.site), at_start)
        kernel = sender["TcpRetransSegs"]
        capture = weir.api.json("/v1/status")["capture"]
        counted, observed = capture["outbound_segments"], observer.segments()
        made_beyond, made_before = provider.read().lost, before.read().lost
    estimated = sum_of_classes(counted)
    for who, total in (("the daemon", estimated), ("weir observe", sum_of_classes(observed))):
        checks.check(f"{case.name}: {who}'s sum is the kernel's within 2 %",
                     abs(total - kernel) <= SUM_TOLERANCE * kernel, f"{total} against {kernel}")
    checks.check(f"{case.name}: enough losses to judge", kernel >= 300, str(kernel))
    checks.check(f"{case.name}: the capture lost nothing", capture["dropped_frames"] == 0)
    for place, found, made in (("beyond", counted["retransmitted"], made_beyond),
                               ("before", counted["hole_fill"], made_before)):
        checks.check(f"{case.name}: lost {place} the box", abs(found - made) <= max(PLACE_TOLERANCE * made, 10),
                     f"{found} found, {made} made")
    # What was lost before the tap and sent again by timeout is a hole fill here. Probes of the tail (RFC 8985, 7) are the
    # timer's as well.
    timers, probes = sender["TcpExtTCPTimeouts"], sender["TcpExtTCPLossProbes"]
    timeouts = observed["timeout"] + observed["syn_retransmitted"]
    if not case.before:
        checks.check(f"{case.name}: timeouts are those of the sender", timers - max(3, 0.1 * timers) <= timeouts
                     <= timers + probes + max(3, 0.1 * timers), f"{timeouts} against {timers} and {probes} probes")
    return [case.name, kernel, estimated, 100 * (estimated / kernel - 1) if kernel else None, counted["retransmitted"],
            counted["spurious"], counted["hole_fill"], counted["syn_retransmitted"], made_beyond, made_before,
            timeouts, timers, rate / 1e6]


class Observer:
    """`weir observe` on the WAN port, beside the daemon; it writes a line of JSON a second."""

    def __init__(self, lab: Lab, weir: Weir):
        self._process = lab.spawn(lab.gateway, "observe", [str(weir.binary), "observe", "--interface", "wan0",
                                                           "--inside", "10.1.0.0/16", "--json"])
        wait_until(self._lines, 10, "weir observe to see the port")

    def _lines(self) -> list[str]:
        return self._process.output().split("\n")[:-1]  # whole lines only

    def segments(self) -> dict[str, int]:
        seen = len(self._lines())
        wait_until(lambda: len(self._lines()) > seen, 5, "weir observe's next line")
        directions = json.loads(self._lines()[-1])["directions"]
        return next(d["segments"] for d in directions if d["name"] == "outbound")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    parser.add_argument("--seconds", type=float, default=15, help="of traffic per case")
    parser.add_argument("--rtt", type=float, default=10, help="ms")
    parser.add_argument("--quick", action="store_true", help="the first and the third case only")
    arguments = parser.parse_args()
    need_root()
    checks = Checks()
    cases = [CASES[0], CASES[2]] if arguments.quick else CASES
    rows = [run_case(case, arguments.seconds, arguments.rtt, arguments.weir, checks) for case in cases]
    print(table(HEADER, rows))
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
