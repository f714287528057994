"""What Weir is to reach in each scenario: one table, by the scenario's name, and beside it what is known to be missed.

A goal is met when the median of the seeds meets it; back-offs are counted over all seeds together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .runs import Result


@dataclass(frozen=True)
class Measure:
    """Of one run of Weir; `reference` is the law beside which it is measured, if any, and comes as that law's runs."""
    name: str
    of: Callable[[Result, Sequence[Result]], float | None]
    unit: str = "%"
    reference: str | None = None
    a_rate: bool = False  # events an hour: those of all seeds over the hours of all seeds

    def told(self, value: float | None) -> str:
        if value is None:
            return "never"
        return f"{value * 100:.4g} %" if self.unit == "%" else f"{value:.3g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Goal:
    measure: Measure
    bound: float
    at_least: bool

    @property
    def name(self) -> str:
        return f"{self.measure.name} {'>=' if self.at_least else '<='} {self.measure.told(self.bound)}"

    def met(self, value: float | None) -> bool:
        if value is None:  # what never happened took longer than any bound
            return False
        return value >= self.bound if self.at_least else value <= self.bound


def at_least(measure: Measure, bound: float) -> Goal:
    return Goal(measure, bound, at_least=True)


def at_most(measure: Measure, bound: float) -> Goal:
    return Goal(measure, bound, at_least=False)


UTIL = Measure("utilisation", lambda run, _: run.utilisation)
LOSS = Measure("loss", lambda run, _: run.loss)
QUEUE = Measure("queue p95", lambda run, _: run.queue_p95_ms, "ms")
FIRST = Measure("found from the start", lambda run, _: run.slowest("first"), "s")
DOWN = Measure("down", lambda run, _: run.slowest("down"), "s")
UP = Measure("up", lambda run, _: run.slowest("up"), "s")
FALSE_BACK_OFFS = Measure("false back-offs an hour", lambda run, _: run.false_back_offs(), "", a_rate=True)
RESTART = Measure("back after the restart", lambda run, _: run.slowest("restart"), "s")
JAIN = Measure("Jain's index between the sites", lambda run, _: run.jain(), "")
FLOOR = Measure("least rate, of the floor", lambda run, _: run.least_of_floor)


def back_offs(name: str, start: float, until: float) -> Measure:
    return Measure(f"{name} an hour", lambda run, _: run.back_offs_in(start, until), "", a_rate=True)


def util_in(start: int, until: int) -> Measure:
    return Measure(f"utilisation {start}-{until} s", lambda run, _: run.utilisation_in(start, until))


def received(reference: str, part: tuple[int, int] | None = None, sites: Sequence[str] | None = None) -> Measure:
    """What came out at the far end, of the median of what came out there under another law."""
    where = (f" {part[0]}-{part[1]} s" if part else "") + (f", {' and '.join(sites)}" if sites else "")

    def share(run: Result, others: Sequence[Result]) -> float:
        return run.received(part, sites) / sorted(o.received(part, sites) for o in others)[len(others) // 2]

    return Measure(f"received, of {reference}'s{where}", share, reference=reference)


def _policer(util: float, loss: float) -> list[Goal]:
    return [at_least(UTIL, util), at_most(LOSS, loss), at_most(FIRST, 2)]


_GOODPUT = [at_least(received("oracle"), 0.97)]
_FOREIGN = [at_least(received("none"), 0.90), at_least(FLOOR, 1.0)]
_SHARED = [at_least(UTIL, 0.95), at_most(QUEUE, 15), at_least(JAIN, 0.9)]
_AQM = [at_least(UTIL, 0.95), at_most(QUEUE, 15)]

GOALS: dict[str, list[Goal]] = {
    "policer-10ms": _policer(0.96, 0.0005),
    "policer-8kB": _policer(0.90, 0.0005),
    "policer-1s": _policer(0.96, 0.0015),
    "policer-2MB": _policer(0.96, 0.0015),
    "policer-steps": [at_most(DOWN, 1), at_most(UP, 15), at_most(LOSS, 0.001)],
    "buffer-steps": [at_most(DOWN, 2), at_most(QUEUE, 15)],
    "buffer-rtt200": [at_most(DOWN, 4), at_most(QUEUE, 15)],
    "sine-60s-policer": [at_least(UTIL, 0.94), at_most(LOSS, 0.003)],
    "sine-600s-policer": [at_least(UTIL, 0.97), at_most(LOSS, 0.003)],
    "sine-60s-buffer": [at_least(UTIL, 0.94), at_most(LOSS, 0.003), at_most(QUEUE, 20)],
    "sine-600s-buffer": [at_least(UTIL, 0.97), at_most(LOSS, 0.003), at_most(QUEUE, 20)],
    "random-loss": [at_most(FALSE_BACK_OFFS, 1), at_least(received("oracle", (10, 180)), 0.97),
                    at_least(received("oracle", (180, 360)), 0.95)],
    "bursty-loss": [at_most(FALSE_BACK_OFFS, 2)],
    "local-loss": [at_most(FALSE_BACK_OFFS, 0)],
    "mixed-rtt": _AQM,
    "red": _AQM,
    "codel": _AQM,
    # What is sent again for nothing is carried as well: without it in D the capacity read a fifth too low (83 %).
    "flows-short": [at_least(UTIL, 0.93), at_most(QUEUE, 15)],
    "flows-1": _GOODPUT,
    "flows-5": _GOODPUT,
    "flows-50": _GOODPUT,
    "flows-200": _GOODPUT,
    "bbr": _GOODPUT,
    "cubic-bbr": _GOODPUT,
    "udp-30": [at_most(LOSS, 0.001)],
    "udp-60": [at_most(LOSS, 0.001)],
    "udp-90": [at_most(LOSS, 0.001)],
    # No lasting cut: while the route is long, and again when it is short.
    "route": [at_least(UTIL, 0.96), at_least(util_in(150, 210), 0.96), at_least(util_in(270, 300), 0.96)],
    "reverse": [at_most(FALSE_BACK_OFFS, 1), at_least(UTIL, 0.95)],
    "cross-cbr": [at_most(DOWN, 2), at_most(UP, 15)],
    "cross-cubic-1": _FOREIGN,
    "cross-cubic-10": _FOREIGN,
    "cross-cubic-50": _FOREIGN,
    "own-bottleneck": [at_least(received("oracle", sites=("a", "b")), 0.99)],
    # Without the coordinator: 0.84 where one comes late (MIMD keeps what shares there were), 7.9 % loss at the policer
    # (each site takes the others' loss for harmless), 97 ms of queue for ten (each takes it for somebody else's).
    "shared-bottleneck": _SHARED,
    "shared-late": _SHARED,
    "shared-policer": [at_least(UTIL, 0.96), at_most(LOSS, 0.006), at_least(JAIN, 0.9)],
    "shared-ten": _SHARED,
    "idle": [at_most(back_offs("back-offs while idle", 60, 960), 0)],
    "restart": [at_most(RESTART, 10)],
}

# Where a scenario has no such goal of its own: what "keeps loss and queue low" means when laws are compared.
USUAL_LOSS, USUAL_QUEUE_MS = 0.003, 20.0


def is_foreign(scenario: str) -> bool:
    """Loss and queue are somebody else's there: no law can keep them low, all it can do is to hold its share."""
    return GOALS[scenario] is _FOREIGN


def limits(scenario: str) -> tuple[float, float]:
    """The most loss, and the most queue at the 95th percentile, that a law of this scenario may have."""
    if is_foreign(scenario):
        return float("inf"), float("inf")
    bounds = {goal.measure.name: goal.bound for goal in GOALS[scenario]}
    return bounds.get(LOSS.name, USUAL_LOSS), bounds.get(QUEUE.name, USUAL_QUEUE_MS)


# Goals that Weir misses today with the seed of --quick: told as FAIL like any other, but continuous integration does not
# stop at them. A goal that is met again is told, too: take it out here.
KNOWN_TO_BE_MISSED: dict[str, set[str]] = {
    "policer-8kB": {FIRST.name},
    "reverse": {UTIL.name},
}
