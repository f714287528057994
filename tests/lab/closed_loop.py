#!/usr/bin/env python3
"""The whole loop on real traffic: does the shaped rate find, hold and follow a capacity that nobody told it?

One run: idle, an unshaped load for comparison, then Weir and 8 cubic flows against a hidden rate; it must converge,
hold, follow a doubling and a halving. Prints a table, writes samples (CSV) and results (JSON) into --out.

A run in which one of the machine's processors stood still for more than STALL_LIMIT_MS after the rate was found is void,
whatever it showed: no provider stops serving its queue for so long. It is told, counted and run again.

Exit code 75: nothing failed, but of some case each run was void. Nothing is proven then; tests/vm/closed_loop.py, whose time
is virtual, proves it on any machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from netlab import Buffer, FarSite, Lab, Policer, Spec, wait_until
from netlab.namespace import LabError, need_root, unwind_when_terminated
from netlab.product import RateSample, RateSampler, Weir, policy_text
from netlab.provider import ProviderCounts
from netlab.report import Checks, sparkline, table, write_csv, write_json
from netlab.topology import INTERACTIVE, REPLICATION, REST
from netlab.traffic import STALL_LIMIT_MS, Bulk, BulkResult, HostWitness, Requests

TOLERANCE = 0.10      # of the true capacity
SETTLED_FOR = 2.0     # seconds inside the tolerance that count as having arrived
FROM_ABOVE, FROM_BELOW, DOUBLED, HALVED = 10.0, 20.0, 30.0, 3.0  # seconds allowed
LOSS_LIMIT, UTILISATION_LIMIT, EF_ALLOWANCE_MS, EF_UNSHAPED_MS = 0.005, 0.90, 10.0, 80.0
MOST_TRIES = 3
NOT_MEASURED = 75     # the exit code, EX_TEMPFAIL of sysexits.h
UNTIL_WEIR = 20.0  # seconds from the start of a run to that of Weir; what comes before takes less


@dataclass(frozen=True)
class Case:
    kind: str           # policer | buffer
    rtt_ms: float
    start_mbit: float
    hidden_mbit: float
    hold_s: float
    unshaped_s: float

    @property
    def name(self) -> str:
        return f"{self.kind}-rtt{self.rtt_ms:g}-from{self.start_mbit:g}-hidden{self.hidden_mbit:.1f}"


@dataclass
class Result:
    case: Case
    converged_s: float | None = None
    inside: float | None = None           # share of the samples of the hold that were within the tolerance
    worst: float | None = None            # largest deviation during the hold
    loss: float | None = None
    utilisation: float | None = None
    ef_base: float | None = None
    ef_unshaped_p99: float | None = None
    ef_p99: float | None = None
    ef_lost: int | None = None
    doubled_s: float | None = None
    halved_s: float | None = None
    retransmits: int | None = None
    stall_ms: float | None = None         # longest standstill of a processor of this machine since the rate was found
    expectations: list[tuple[str, bool, str]] = field(default_factory=list)

    def expect(self, name: str, ok: bool, detail: str) -> None:
        self.expectations.append((name, ok, detail))

    @property
    def void(self) -> bool:
        return self.stall_ms is not None and self.stall_ms > STALL_LIMIT_MS

    @property
    def verdict(self) -> str:
        if self.void:
            return "void"
        return "ok" if all(ok for _, ok, _ in self.expectations) else "FAIL"

    def row(self) -> list[object]:
        c = self.case
        return [c.kind, c.rtt_ms, c.start_mbit, c.hidden_mbit, self.converged_s, percent(self.inside),
                percent(self.worst), percent(self.loss), percent(self.utilisation), self.ef_base,
                self.ef_unshaped_p99, self.ef_p99, self.doubled_s, self.halved_s, self.stall_ms, self.verdict]


HEADER = ["kind", "rtt", "start", "hidden", "found s", "inside %", "worst %", "loss %", "util %", "EF base", "EF bare",
          "EF p99", "x2 s", "/2 s", "stall", ""]


def percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def deviation(sample: RateSample, capacity_bps: float) -> float:
    return sample.shaped_bps / capacity_bps - 1


def arrival(samples: list[RateSample], capacity_bps: float) -> float | None:
    """When the rate came within the tolerance to stay for SETTLED_FOR; None: not within these samples."""
    since: float | None = None
    for sample in samples:
        if abs(deviation(sample, capacity_bps)) > TOLERANCE:
            since = None
        elif since is None:
            since = sample.at
        if since is not None and sample.at - since >= SETTLED_FOR:
            return since
    return None


class Run:
    """One lab from idle to halved; fills a Result."""

    def __init__(self, case: Case, weir_binary: str | None, out: Path, weir_at: float = 0.0):
        """Weir starts at `weir_at` (time.monotonic()), or as soon as all is ready if that is later."""
        self.case, self.result, self._binary, self._out = case, Result(case), weir_binary, out
        self._weir_at = weir_at
        self._bps = case.hidden_mbit * 1e6
        self._provider = (Policer(self._bps, bucket_ms=10) if case.kind == "policer"
                          else Buffer(self._bps, buffer_ms=100))
        self._marks: list[tuple[float, float]] = []  # (instant, true capacity from then on)

    def go(self) -> Result:
        with Lab(Spec(far=[FarSite(provider=self._provider, rtt_ms=self.case.rtt_ms)])) as lab:
            self._lab, self._requests, self._witness = lab, Requests(lab, source=INTERACTIVE), HostWitness(lab)
            self.result.ef_base = self._ef_over(3.0, "p50")  # a stall of the host is not the path
            if self.case.unshaped_s > 0:
                load = self._start_load()
                time.sleep(2)  # slow start and its overshoot are not the picture
                self.result.ef_unshaped_p99 = self._ef_over(self.case.unshaped_s, "p99")
                self._stop_load(load)
                # The provider's queue must be empty again, or Weir would inherit what it did not cause.
                wait_until(lambda: self._provider.read().backlog_bytes == 0, 5, "the provider's queue to drain")
            time.sleep(max(0.0, self._weir_at - time.monotonic()))
            weir = Weir(lab, policy_text(lab, start_mbit=self.case.start_mbit), self._binary).start()
            with RateSampler(weir.socket, lab.far_site().name) as self._sampler:
                try:
                    self._shaped_phases()
                finally:
                    self._write_samples(weir)
        self._judge()
        return self.result

    def _shaped_phases(self) -> None:
        load = self._start_load()
        begin = self._mark(self._bps)
        limit = FROM_ABOVE if self.case.start_mbit > self.case.hidden_mbit else FROM_BELOW
        found = self._wait_for_arrival(begin, self._bps, limit + 10)
        if found is None:
            return
        self.result.converged_s = found - begin
        try:
            self._hold_and_follow(load)
        finally:
            self.result.stall_ms = self._witness.longest_ms(found, time.monotonic())

    def _hold_and_follow(self, load: list[Bulk]) -> None:
        self._hold()
        doubled = self._change_capacity(2 * self._bps)
        follow = self._wait_for_arrival(doubled, 2 * self._bps, DOUBLED + 10)
        if follow is None:
            return  # from a rate that never rose, a halving would prove nothing
        self.result.doubled_s = follow - doubled
        halved = self._change_capacity(self._bps)
        follow = self._wait_for_arrival(halved, self._bps, HALVED + 10)
        self.result.halved_s = None if follow is None else follow - halved
        self.result.retransmits = sum(r.retransmits for r in self._stop_load(load))

    def _hold(self) -> None:
        start, before = time.monotonic(), self._provider.read()
        time.sleep(self.case.hold_s)
        end, truth = time.monotonic(), self._provider.read().since(before)
        deviations = [abs(deviation(s, self._bps)) for s in self._sampler.between(start, end)]
        r = self.result
        r.inside = sum(d <= TOLERANCE for d in deviations) / max(len(deviations), 1)
        r.worst = max(deviations, default=None)
        self._score_provider(truth, end - start)
        ef = self._requests.read(start, end - 1)  # the last second's answers may still be under way
        r.ef_p99, r.ef_lost = ef["rtt_ms"].get("p99"), ef["lost"]

    def _score_provider(self, truth: ProviderCounts, seconds: float) -> None:
        self.result.loss = truth.loss
        self.result.utilisation = truth.forwarded_bytes * 8 / (self._bps * seconds)

    def _start_load(self) -> list[Bulk]:
        # Half of the flows in each of two classes: sharing inside the site is part of the scene.
        return [Bulk(self._lab, flows=4, source=REST, port=5201, interval=1).start(),
                Bulk(self._lab, flows=4, source=REPLICATION, port=5202, interval=1).start()]

    @staticmethod
    def _stop_load(load: list[Bulk]) -> list[BulkResult]:
        return [bulk.stop() for bulk in load]

    def _ef_over(self, seconds: float, percentile: str) -> float | None:
        start = time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
        time.sleep(0.5)  # for the last answers
        return self._requests.read(start, end)["rtt_ms"].get(percentile)

    def _mark(self, capacity_bps: float) -> float:
        now = time.monotonic()
        self._marks.append((now, capacity_bps))
        return now

    def _change_capacity(self, bps: float) -> float:
        self._provider.set_rate(bps)
        return self._mark(bps)

    def _wait_for_arrival(self, since: float, capacity_bps: float, patience: float) -> float | None:
        try:
            return wait_until(lambda: arrival(self._sampler.between(since, time.monotonic()), capacity_bps),
                              patience, "the rate to arrive", every=0.1)
        except LabError:
            return None

    def _judge(self) -> None:
        r, c = self.result, self.case
        limit = FROM_ABOVE if c.start_mbit > c.hidden_mbit else FROM_BELOW
        r.expect(f"within 10 % of the hidden rate in {limit:g} s", r.converged_s is not None
                 and r.converged_s <= limit, seconds_or_never(r.converged_s))
        if r.converged_s is None:
            return
        r.expect(f"stays within 10 % for {c.hold_s:g} s", r.inside == 1.0,
                 f"{percent(r.inside):.1f} % of samples inside, worst {percent(r.worst):.1f} %")
        r.expect("loss beyond the box <= 0.5 %", r.loss <= LOSS_LIMIT, f"{percent(r.loss):.3f} %")
        r.expect("utilisation >= 90 %", r.utilisation >= UTILISATION_LIMIT, f"{percent(r.utilisation):.1f} %")
        r.expect("EF p99 <= base + 10 ms", r.ef_p99 is not None
                 and r.ef_p99 <= r.ef_base + EF_ALLOWANCE_MS, f"{r.ef_p99} ms, base {r.ef_base} ms")
        if r.ef_unshaped_p99 is not None and c.kind == "buffer":
            r.expect("unshaped EF p99 >= base + 80 ms", r.ef_unshaped_p99 >= r.ef_base + EF_UNSHAPED_MS,
                     f"{r.ef_unshaped_p99} ms")
        r.expect("a doubled capacity is followed in 30 s", r.doubled_s is not None and r.doubled_s <= DOUBLED,
                 seconds_or_never(r.doubled_s))
        r.expect("a halved capacity is followed in 3 s", r.halved_s is not None and r.halved_s <= HALVED,
                 seconds_or_never(r.halved_s))

    def _write_samples(self, weir: Weir) -> None:
        self._out.mkdir(parents=True, exist_ok=True)
        zero = self._marks[0][0] if self._marks else 0.0
        capacity_at = lambda t: next((bps for at, bps in reversed(self._marks) if at <= t), None)  # noqa: E731
        rows = [{"t": round(s.at - zero, 3), "capacity_bps": capacity_at(s.at), "shaped_bps": s.shaped_bps,
                 "state": s.state, "mode": s.mode, "sent_bps": s.site["sent_bps"],
                 "delivered_bps": s.site["delivered_bps"], "loss_beyond": s.site["loss"]["beyond"],
                 "queue_ms": s.site.get("queue_ms"), "demand": s.site["demand"], "reason": s.site["reason"]}
                for s in self._sampler.samples]
        write_csv(self._out / f"{self.case.name}.csv", rows)
        (self._out / f"{self.case.name}.weir.log").write_text(weir.log())
        shaped = [s.shaped_bps for s in self._sampler.samples if not self._marks or s.at >= zero]
        print(f"  {sparkline(shaped, 100)}  shaped, top {max(shaped, default=0) / 1e6:.0f} Mbit/s", flush=True)


def seconds_or_never(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def result_from_json(data: dict) -> Result:
    return Result(**{**data, "case": Case(**data["case"]), "expectations": [tuple(e) for e in data["expectations"]]})


def as_json(result: Result) -> dict:
    return {**vars(result), "case": vars(result.case)}


def run_case(case: Case, arguments: argparse.Namespace) -> Result:
    print(f"{case.name}", flush=True)
    try:
        result = Run(case, arguments.weir, arguments.out, arguments.weir_at).go()
    except LabError as error:
        result = Result(case)
        result.expect("the run came to its end", False, str(error))
    write_json(arguments.out / f"{case.name}.json", as_json(result))
    return result


class Worklist:
    """The cases still to be run, and what came of those that were: a void run goes back to the end of the list."""

    def __init__(self, cases: list[Case]):
        self.waiting, self.results = list(cases), []

    def add(self, result: Result) -> None:
        self.results.append(result)
        print(table(HEADER, [result.row()]), flush=True)
        if result.void and sum(r.case is result.case for r in self.results) < MOST_TRIES:
            self.waiting.append(result.case)


def run_in_parallel(work: Worklist, arguments: argparse.Namespace) -> None:
    """`--parallel` cases at a time, each in a process of its own; their labs never meet. But they share the machine: where
    a kernel is not preemptible, the ring of a tap that opens takes a processor for tens of milliseconds. So a round
    starts its Weirs at one instant, and the next round waits for all of it."""
    unwind_when_terminated()
    while work.waiting:
        cases, work.waiting = work.waiting[:arguments.parallel], work.waiting[arguments.parallel:]
        weir_at = time.monotonic() + UNTIL_WEIR
        running = []
        try:
            for case in cases:
                (arguments.out / f"{case.name}.json").unlink(missing_ok=True)  # of an earlier try
                log = open(arguments.out / f"{case.name}.log", "w")
                # Should this process be killed outright, the labs of its children still come down.
                command = ["setpriv", "--pdeathsig", "TERM", sys.executable, __file__, "--case", json.dumps(vars(case)),
                           "--out", str(arguments.out), "--weir-at", f"{weir_at:.3f}"]
                if arguments.weir:
                    command += ["--weir", arguments.weir]
                running.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
                log.close()
            for case, child in zip(cases, running):
                child.wait()
                result = result_from_json(json.loads((arguments.out / f"{case.name}.json").read_text()))
                result.case = case
                work.add(result)
        finally:
            for child in running:
                child.terminate()
                child.wait()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=["policer", "buffer", "all"], default="all")
    parser.add_argument("--rtt", type=float, action="append", help="ms; may be repeated (default: 0 and 30)")
    parser.add_argument("--start", type=float, action="append", help="Mbit/s; may be repeated (default: 300 and 12)")
    parser.add_argument("--hidden", type=float, help="Mbit/s (default: drawn anew per run from 25-80)")
    parser.add_argument("--seed", type=int, help="of the drawn rates")
    parser.add_argument("--runs", type=int, default=1, help="in a row, of each combination")
    parser.add_argument("--hold", type=float, default=60, help="seconds to stay within 10 %%")
    parser.add_argument("--quick", action="store_true", help="a short hold and no unshaped load")
    parser.add_argument("--parallel", type=int, default=1, help="labs at the same time")
    parser.add_argument("--out", type=Path, help="directory for samples and results")
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    # One case as JSON, and when its Weir is to start: how --parallel starts its children.
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--weir-at", type=float, default=0.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.out is None:
        arguments.out = Path(tempfile.mkdtemp(prefix="weir-closed-loop-"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    return arguments


def cases_of(arguments: argparse.Namespace) -> list[Case]:
    if arguments.case:
        return [Case(**json.loads(arguments.case))]
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}, results in {arguments.out}")
    draw = random.Random(seed)
    kinds = ["policer", "buffer"] if arguments.kind == "all" else [arguments.kind]
    combinations = itertools.product(range(arguments.runs), kinds, arguments.rtt or [0.0, 30.0],
                                     arguments.start or [300.0, 12.0])
    hold, unshaped = (15.0, 0.0) if arguments.quick else (arguments.hold, 8.0)
    return [Case(kind, rtt, start, arguments.hidden or round(draw.uniform(25, 80), 2), hold, unshaped)
            for _, kind, rtt, start in combinations]


def main() -> int:
    arguments = parse_arguments()
    need_root()
    work = Worklist(cases_of(arguments))
    if arguments.case:  # the parent decides whether to run it again
        work.add(run_case(work.waiting.pop(), arguments))
    elif arguments.parallel > 1:
        run_in_parallel(work, arguments)
    else:
        while work.waiting:
            work.add(run_case(work.waiting.pop(0), arguments))
    print(table(HEADER, [r.row() for r in work.results]))
    write_csv(arguments.out / "results.csv", [dict(zip(HEADER, r.row())) for r in work.results])
    return judge_all(work.results)


def judge_all(results: list[Result]) -> int:
    """The exit code. Void runs are told but count neither way; a case that had nothing else is not measured."""
    checks = Checks()
    for result in results:
        print(result.case.name)
        if result.void:
            print(f"  void  this machine stood still for {result.stall_ms:.0f} ms", flush=True)
        else:
            for name, ok, detail in result.expectations:
                checks.check(name, ok, detail)
    measured = {id(result.case) for result in results if not result.void}
    unmeasured = {id(r.case): r.case.name for r in results if id(r.case) not in measured}
    for name in unmeasured.values():
        print(f"not measured: {name}: this machine stood still in each run", flush=True)
    code = checks.exit_code()
    return NOT_MEASURED if unmeasured and not checks.failures else code


if __name__ == "__main__":
    sys.exit(main())
