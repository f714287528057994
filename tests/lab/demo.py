#!/usr/bin/env python3
"""./run demo: what Weir does for two sites on a leased path, in about a minute, on this machine alone.

A 622 Mbit/s port, and behind it a provider who really carries 45. First without Weir, then Weir is started under the
running load, then the provider raises the capacity to 90. Everything happens in network namespaces of this run's own.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, field

from netlab import Buffer, FarSite, Lab, Spec
from netlab.namespace import LabError, need_root
from netlab.product import RateSampler, Weir, policy_text
from netlab.report import sparkline, table
from netlab.topology import INTERACTIVE, REPLICATION
from netlab.traffic import CS1, Bulk, BulkResult, Requests

PORT_MBIT, HIDDEN_MBIT, RAISED_MBIT, BUFFER_MS, RTT_MS, FLOWS = 622, 45, 90, 60, 20, 48
START_MBIT = 300  # what the policy starts with: nobody has told it the truth
# What the tables leave out of a phase: slow start and the search; after a raise also the wait for the next probe.
SETTLE_S, SETTLE_RAISED_S = 8, 16


@dataclass
class Second:
    """One line of the live display."""
    at: float
    through_bps: float
    loss: float
    ef_p50: float | None
    ef_p99: float | None
    shaped_bps: float | None
    capacity_bps: float


@dataclass
class Phase:
    title: str
    begin: float
    settled: float
    end: float = 0.0
    offered: int = 0     # packets offered to the provider, and dropped by it, since it is settled
    dropped: int = 0
    ef: dict = field(default_factory=dict)
    goodput_bps: float = 0.0
    shaped_bps: float | None = None


class Screen:
    """Plain lines, with colour only for a terminal that wants it."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def say(self, text: str = "", code: str = "") -> None:
        print(f"\033[{code}m{text}\033[0m" if self._colour and code else text, flush=True)

    def title(self, text: str) -> None:
        self.say(f"\n{text}", "1;36")

    def column_names(self) -> None:
        self.say("  time   path carries   path loss   voice p50    voice p99   shaped to", "2")

    def second(self, s: Second, zero: float) -> None:
        shaped = "unshaped" if s.shaped_bps is None else f"{s.shaped_bps / 1e6:.1f} Mbit/s"
        bad = s.loss > 0.005 or (s.ef_p99 or 0) > RTT_MS + 20
        self.say(f"{s.at - zero:5.0f} s  {s.through_bps / 1e6:6.1f} Mbit/s  {100 * s.loss:7.2f} %  "
                 f"{_ms(s.ef_p50):>10}  {_ms(s.ef_p99):>10}   {shaped}", "31" if bad else "32")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


class Demo:
    def __init__(self, lab: Lab, weir_binary: str | None):
        self.lab, self.binary, self.screen = lab, weir_binary, Screen()
        self.provider = lab.provider()
        self.requests = Requests(lab, source=INTERACTIVE)
        self.seconds: list[Second] = []
        self.phases: list[Phase] = []
        self.sampler: RateSampler | None = None
        self.zero = time.monotonic()

    def play(self) -> None:
        self.screen.title(f"A {PORT_MBIT} Mbit/s port; the provider behind it carries {HIDDEN_MBIT} and says nothing "
                          f"({BUFFER_MS} ms buffer, {RTT_MS} ms round trip)")
        time.sleep(2)
        self.idle_p99 = self.requests.read(self.zero, time.monotonic() - 0.2)["rtt_ms"]["p99"]
        self.screen.say(f"An idle path answers a voice request (DSCP EF) within {self.idle_p99:.1f} ms, p99.")
        self.load_began = time.monotonic()
        self.load = Bulk(self.lab, flows=FLOWS, source=REPLICATION, dscp=CS1).start()
        self.run_phase(f"Without Weir: replication starts, {FLOWS} flows marked CS1", "without", 12 + 3)
        weir = Weir(self.lab, policy_text(self.lab, port_mbit=PORT_MBIT, start_mbit=START_MBIT,
                                          replication_ceiling="100%"), self.binary).start()
        with RateSampler(weir.socket, self.lab.far_site().name) as self.sampler:
            self.run_phase(f"Weir starts under this load, at {START_MBIT} Mbit/s: it has to find the rate itself",
                           "with Weir", 25)
            self.explain(weir)
            self.provider.set_rate(RAISED_MBIT * 1e6)
            self.run_phase(f"The provider now carries {RAISED_MBIT} Mbit/s; nobody tells Weir", "raised", 26,
                           SETTLE_RAISED_S)
            self.explain(weir)
        self.account(self.load.stop())

    def run_phase(self, headline: str, title: str, seconds: float, settle_s: float = SETTLE_S) -> None:
        self.screen.title(headline)
        self.screen.column_names()
        begin = time.monotonic()
        phase = Phase(title, begin, begin + settle_s)
        self.phases.append(phase)
        self.last = time.monotonic(), self.provider.read()
        counts_at_settled = None
        while self.last[0] < phase.begin + seconds - 0.5:
            self.show_one_second(phase.begin)
            if counts_at_settled is None and self.last[0] >= phase.settled - 0.5:
                counts_at_settled = self.last[1]
        phase.end = time.monotonic()
        settled = self.last[1].since(counts_at_settled)
        phase.offered, phase.dropped = settled.offered_packets, settled.drops
        phase.ef = self.requests.read(phase.settled, phase.end - 0.3)
        phase.shaped_bps = self.seconds[-1].shaped_bps

    def show_one_second(self, phase_begin: float) -> None:
        begin, before = self.last
        # The next whole second of the phase: a late line does not make the next one short.
        until = phase_begin + round(begin - phase_begin) + 1
        time.sleep(max(0.0, until - time.monotonic()))
        self.last = end, counts = time.monotonic(), self.provider.read()
        passed = counts.since(before)
        ef = self.requests.read(begin - 0.3, end - 0.3)["rtt_ms"]  # the youngest answers are still under way
        shaped = self.sampler.samples[-1].shaped_bps if self.sampler and self.sampler.samples else None
        second = Second(end, passed.forwarded_bytes * 8 / (end - begin), passed.loss, ef.get("p50"), ef.get("p99"),
                        shaped, self.provider.rate_bps)
        self.seconds.append(second)
        self.screen.second(second, self.zero)

    def explain(self, weir: Weir) -> None:
        site = weir.api.site(self.lab.far_site().name)
        self.screen.say(f"Weir's reason: {site['reason']}", "2")

    def account(self, bulk: BulkResult) -> None:
        for phase in self.phases:
            begin, end = phase.settled - self.load_began, phase.end - self.load_began
            inside = [i for i in bulk.received_intervals if i[0] >= begin and i[1] <= end]
            if inside:
                phase.goodput_bps = sum(i[2] for i in inside) * 8 / (inside[-1][1] - inside[0][0])
        self.screen.title(f"Before and after (each without its first {SETTLE_S} s, the raise without {SETTLE_RAISED_S})")
        header = ["", *(p.title for p in self.phases)]
        self.screen.say(table(header, [
            ["provider carries", *(f"{c:g} Mbit/s" for c in (HIDDEN_MBIT, HIDDEN_MBIT, RAISED_MBIT))],
            ["shaped to", *("-" if p.shaped_bps is None else f"{p.shaped_bps / 1e6:.1f} Mbit/s" for p in self.phases)],
            ["goodput of replication", *(f"{p.goodput_bps / 1e6:.1f} Mbit/s" for p in self.phases)],
            ["packets lost on the path", *(f"{100 * p.dropped / max(p.offered, 1):.2f} %" for p in self.phases)],
            ["voice p50", *(_ms(p.ef.get("rtt_ms", {}).get("p50")) for p in self.phases)],
            ["voice p99", *(_ms(p.ef.get("rtt_ms", {}).get("p99")) for p in self.phases)],
            ["voice requests lost", *(f"{p.ef.get('lost', 0)} of {p.ef.get('sent', 0)}" for p in self.phases)]]))
        self.screen.say()
        top = 1.1e6 * RAISED_MBIT
        self.screen.say("capacity   " + sparkline([s.capacity_bps for s in self.seconds], 72, top), "2")
        self.screen.say("shaped to  " + "".join(
            "·" if s.shaped_bps is None else sparkline([min(s.shaped_bps, top)], 1, top) for s in self.seconds))
        self.screen.say(f"           one column a second, full height {top / 1e6:.0f} Mbit/s; goodput counts TCP "
                        "payload, about 95 % of a rate")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    arguments = parser.parse_args()
    need_root()
    provider = Buffer(HIDDEN_MBIT * 1e6, buffer_ms=BUFFER_MS)
    try:
        with Lab(Spec(far=[FarSite(provider=provider, rtt_ms=RTT_MS)])) as lab:
            Demo(lab, arguments.weir).play()
    except KeyboardInterrupt:
        print("\nstopped; everything the demo made is gone again", flush=True)
        return 130
    except (LabError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
