#!/usr/bin/python3
"""The estimator against the sending kernel on netem's paths: run it inside the virtual machine (vm.py run --
estimator_truth.py [CASE...]).

    site --- gateway (weir observe on wan0) --- provider (netem: loss, reordering, copies) --- far site (netem: delay)

What it counts as sent again must be the sender's TcpRetransSegs, loss must be found on the side where it was made, and
the RTT must be netem's. Exit code 1 when a figure misses its bound.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

from netlab import FarSite, Lab, NetemDelay, Policer, Spec, wait_until  # noqa: E402
from netlab.product import weir_binary  # noqa: E402
from netlab.provider import ProviderCounts  # noqa: E402
from netlab.report import Checks, table  # noqa: E402
from netlab.topology import REPLICATION, REPLICATION6  # noqa: E402
from netlab.traffic import Bulk  # noqa: E402
from netlab.truth import difference, sum_of_classes, tcp_counters, wait_for_quiet  # noqa: E402

RTT_MS, EXTRA_MS, FLOWS = 30, 20, 4
SUM_TOLERANCE = 0.01    # of TcpRetransSegs
RTT_TOLERANCE = 0.05    # of netem's delay
PLACE_TOLERANCE = 0.01  # of the losses made


class NetemPath:
    """The provider's port with netem's faults at a rate that the emulated CPU can carry; `limit` deep enough that it
    never drops for want of room."""

    def __init__(self, faults: str, rate: str = "100mbit"):
        self._arguments = ["netem", "limit", "20000", "rate", rate, *faults.split()]

    def start(self, namespace, interface, spawn):
        self._ns, self._interface = namespace, interface
        namespace.run(["tc", "qdisc", "add", "dev", interface, "root", "handle", "b:", *self._arguments])

    def set_rate(self, rate_bps):
        raise NotImplementedError("netem's rate stays")

    def read(self):
        queue = next(q for q in self._ns.json(["tc", "-s", "-j", "qdisc", "show", "dev", self._interface])
                     if q["kind"] == "netem")
        return ProviderCounts(queue["packets"], queue["bytes"], 0, queue["drops"], queue["backlog"])


class LossyReturn(NetemDelay):
    """The way back, which loses acknowledgments as well."""

    def __init__(self, rtt_ms, loss_percent):
        super().__init__(rtt_ms)
        self._loss = loss_percent

    def _command(self, verb):
        return [*super()._command(verb), "loss", f"{self._loss}%"]


@dataclass(frozen=True)
class Case:
    faults: str = ""
    congestion: str = "cubic"
    acks_lost_percent: float = 0.0
    before: float = 0.0
    v6: bool = False
    overtakes: bool = False  # segments arrive late or twice: spurious retransmissions are part of it
    seconds: float = 15.0


CASES = {
    "random": Case("loss 1%"),
    "bursty": Case("loss gemodel 0.3% 20% 100% 0%"),
    "bbr": Case("loss 1%", congestion="bbr"),
    "ipv6": Case("loss 1%", v6=True),
    "reordered": Case(f"delay {EXTRA_MS}ms reorder 2% 25%", overtakes=True),
    "copied": Case("duplicate 2%", overtakes=True),
    "acks-lost": Case("loss 0.5%", acks_lost_percent=5),
    "before": Case(before=0.01),
}
HEADER = ["case", "kernel", "estimated", "off %", "retransmitted", "spurious", "holes", "lost retr.", "DSACKs", "made",
          "RTT p50", "of netem"]


def observe(lab, binary):
    return lab.spawn(lab.gateway, "observe", [str(binary), "observe", "--interface", "wan0", "--inside", "10.1.0.0/16",
                                              "--inside", "2001:db8:1::/48", "--json"])


def lines_of(process):
    return process.output().split("\n")[:-1]  # whole lines only


def run_case(name, case, binary, checks):
    provider = NetemPath(case.faults)
    delay = LossyReturn(RTT_MS, case.acks_lost_percent) if case.acks_lost_percent else NetemDelay(RTT_MS)
    before = Policer(loss=case.before, seed=12, ingress=True) if case.before else None
    with Lab(Spec(far=[FarSite(provider=provider, delay=delay)], before=before)) as lab:
        observer = observe(lab, binary)
        wait_until(lambda: lines_of(observer), 30, "weir observe to see the port")
        at_start = tcp_counters(lab.site)
        bulk = Bulk(lab, flows=FLOWS, source=REPLICATION6 if case.v6 else REPLICATION, congestion=case.congestion,
                    flow_bps=4e6, interval=1).start()
        time.sleep(case.seconds)
        bulk.stop()
        wait_for_quiet(lab, 60)
        sender = difference(tcp_counters(lab.site), at_start)
        seen = len(lines_of(observer))
        wait_until(lambda: len(lines_of(observer)) > seen, 30, "weir observe's next line")
        page = json.loads(lines_of(observer)[-1])
        made = before.read().lost if before else provider.read().lost
    outbound = next(d for d in page["directions"] if d["name"] == "outbound")
    s, rtt = outbound["segments"], outbound["rtt_ms"]
    kernel = sender["TcpRetransSegs"]
    estimated = sum_of_classes(s)
    # What was sent again and dropped in front of the tap, nobody saw: the sender knows of it, all else arrived.
    came = kernel - (sender["TcpExtTCPLostRetransmit"] if case.before else 0)
    # One segment is the least that any count can be off.
    checks.check(f"{name}: the sum is the kernel's within 1 %", abs(estimated - came) <= max(SUM_TOLERANCE * kernel, 1),
                 f"{estimated} against {kernel}" + (f", of which {came} came to the tap" if case.before else ""))
    checks.check(f"{name}: the capture lost nothing", page["capture"]["kernel_drops"] == 0)
    if not case.overtakes and not case.acks_lost_percent:
        found = s["hole_fill"] if before else s["retransmitted"]
        elsewhere = s["retransmitted"] if before else s["hole_fill"]
        checks.check(f"{name}: found on the side where it was lost", elsewhere <= max(PLACE_TOLERANCE * made, 1)
                     and abs(found - made) <= max(5 * PLACE_TOLERANCE * made, 3), f"{found} of {made}, {elsewhere} elsewhere")
    setting = RTT_MS + (EXTRA_MS if f"delay {EXTRA_MS}ms" in case.faults else 0)
    # Pacing keeps the queue before netem's rate short: p50 sees little of it.
    checks.check(f"{name}: RTT p50 within 5 % of netem's", abs(rtt["p50"] / setting - 1) <= RTT_TOLERANCE,
                 f"{rtt['p50']:.2f} ms of {setting} ms")
    return [name, kernel, estimated, 100 * (estimated / kernel - 1) if kernel else None, s["retransmitted"],
            s["spurious"], s["hole_fill"], sender.get("TcpExtTCPLostRetransmit"), sender.get("TcpExtTCPDSACKRecv"), made,
            rtt["p50"], setting]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    arguments = parser.parse_args()
    checks = Checks()
    rows = [run_case(name, CASES[name], weir_binary(), checks) for name in arguments.cases or CASES]
    print(table(HEADER, rows))
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
