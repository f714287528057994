#!/usr/bin/env python3
"""A scenario of the proving ground on real kernels: Weir's box and real TCP in front of the very path that the simulator
has (lab_path). Prints what it measured as one line of JSON, the score as weir_sim prints it.

A run in which one of the machine's processors stood still for more than STALL_LIMIT_MS, or in which lab_path itself lost
a frame, is void, whatever it showed: it is told and run again, --tries times in all.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from pathlib import Path

from netlab.laws import LAWS, PERIOD
from netlab.loads import Priority, make_load
from netlab.namespace import LabError, need_root, unwind_when_terminated
from netlab.path import PathLab
from netlab.traffic import STALL_LIMIT_MS, HostWitness

LEAD = 0.3  # seconds from the order to begin to the beginning


class Teller(threading.Thread):
    """Asks the law what is in force and tells the path, which scores; the only one to talk with either meanwhile."""

    def __init__(self, lab: PathLab, law, begin: float):
        super().__init__(daemon=True)
        self._lab, self._law, self._begin = lab, law, begin
        self._ended = threading.Event()
        self.restarts: list[float] = list(lab.description["restarts_s"])
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            due = self._begin
            while not self._ended.wait(max(0.0, due - time.monotonic())):
                self._tell()
                due = max(due + PERIOD, time.monotonic())
        except BaseException as error:  # noqa: BLE001: the main thread tells it
            self.failure = error

    def end(self) -> None:
        self._ended.set()
        self.join()
        if self.failure is not None:
            raise self.failure

    def _tell(self) -> None:
        now = time.monotonic() - self._begin
        if self.restarts and now >= self.restarts[0]:
            self.restarts.pop(0)
            self._law.restart()
        for site, state in self._law.step(self._available).items():
            if state.shaped_bps is None:
                continue  # what was told last stands in the kernel
            demand = state.backlogged or self._endless(site, now)
            self._lab.path.ask(f"site {site} shaped_bps={state.shaped_bps:.0f} demand={int(demand)}")

    def _available(self) -> dict[str, float]:
        return self._lab.path.ask("available")["bps"]

    def _endless(self, site: str, now: float) -> bool:
        """A load that always has more to send."""
        return any(load["site"] == site and not load["foreign"] and load["kind"] == "tcp" and not load["back"]
                   and load["bytes"] == 0 and load["from_s"] <= now
                   and (load["until_s"] is None or now < load["until_s"]) for load in self._lab.loads)


class Run:
    def __init__(self, arguments: argparse.Namespace):
        self._arguments = arguments

    def go(self) -> dict:
        a = self._arguments
        with PathLab(a.scenario, a.scale, a.seconds, a.seed, a.series, a.drops) as lab:
            length = lab.description["length_s"]
            self._loads = [make_load(lab, i) for i in range(len(lab.loads))]
            witness, law = HostWitness(lab), LAWS[a.law](lab, a.weir)
            law.start()
            begin = time.monotonic() + LEAD
            lab.path.ask(f"start {begin:.6f}")
            teller = Teller(lab, law, begin)
            teller.start()
            try:
                self._drive(lab, begin, length)
            finally:
                teller.end()
                if a.log is not None:
                    a.log.write_text(law.log())
            end = begin + length
            time.sleep(max(0.0, end + 0.05 - time.monotonic()))
            scored = begin + lab.description["warm_up_s"]
            stall = witness.longest_ms(scored, end)
            priority = self._priority(scored, end)
            failed = [f for f in (load.failed() for load in self._loads) if f]
            account = lab.close_path()
        if failed:
            raise LabError("; ".join(failed))
        score = account["score"]
        score["priority"] = priority
        return {"scenario": lab.description["name"], "law": a.law, "scale": a.scale, "seconds": length,
                "void": self._void(stall, account["path"]), "stall_ms": stall, "score": score, "path": account["path"]}

    def _drive(self, lab: PathLab, begin: float, length: float) -> None:
        """Starts and ends each load at its time; its handshakes are on its own."""
        what_to_do = []
        for load, running in zip(lab.loads, self._loads):
            until = min(load["until_s"] if load["until_s"] is not None else length, length)
            if load["from_s"] < until:
                what_to_do.append((load["from_s"], lambda r=running, t=until - load["from_s"]: r.start(t)))
            if until < length:
                what_to_do.append((until, running.stop))
        for at, action in sorted(what_to_do, key=lambda step: step[0]):
            time.sleep(max(0.0, begin + at - time.monotonic()))
            action()
        time.sleep(max(0.0, begin + length - time.monotonic()))

    def _priority(self, start: float, end: float) -> dict:
        measured = [load for load in self._loads if isinstance(load, Priority)]
        if not measured:
            return {"p50_ms": None, "p99_ms": None, "loss": 0.0}
        time.sleep(max(0.0, end + 1.0 - time.monotonic()))  # an answer is waited for so long
        return measured[0].score(start, end - 1)

    @staticmethod
    def _void(stall_ms: float, path: dict) -> str | None:
        if stall_ms > STALL_LIMIT_MS:
            return f"this machine stood still for {stall_ms:.0f} ms"
        return "lab_path lost frames of its own" if path["void"] else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", type=Path, help="YAML file (tests/proving/scenarios)")
    parser.add_argument("--law", choices=list(LAWS), default="weir")
    parser.add_argument("--scale", type=float, default=1.0, help="all rates times this")
    parser.add_argument("--seconds", type=float, help="no more of it than so long")
    parser.add_argument("--seed", type=int, default=1, help="of the path's random loss")
    parser.add_argument("--series", type=Path, help="write what happened, a row every 10 ms, as CSV")
    parser.add_argument("--drops", type=Path, help="write every frame that a link dropped, as CSV")
    parser.add_argument("--log", type=Path, help="write what the law said")
    parser.add_argument("--tries", type=int, default=1, help="at most so many runs while they are void")
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    arguments = parser.parse_args()
    need_root()
    unwind_when_terminated()
    for _ in range(arguments.tries):
        try:
            result = Run(arguments).go()
        except LabError as error:
            print(f"scenario.py: {error}", file=sys.stderr)
            return 1
        print(json.dumps(result), flush=True)
        if result["void"] is None:
            return 0
        print(f"void: {result['void']}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
