#!/usr/bin/python3
"""Are the search's rules to be trusted? Each is shown a run that breaks it, and one like it that does not. And are the
random scenarios the same whenever they are drawn, and within what random_path.py promises?"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import invariants as rules
import random_path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

from netlab.report import Checks  # noqa: E402

BINS = 6000
M = 1e6


def site(shaped: list[float], sent_share: float = 1.0, backlogged: bool = False) -> rules.SiteSeries:
    ticks = shaped[::10]
    return rules.SiteSeries(shaped=shaped, received=[0.0] * len(shaped), demand=[True] * len(shaped),
                            tick_sent=[sent_share * rate for rate in ticks], tick_rate=ticks,
                            tick_backlogged=[backlogged] * len(ticks))


def run(mine: rules.SiteSeries, queue_ms: list[float] | None = None, dropped: dict[int, int] | None = None,
        base_ms: float = 30) -> rules.Run:
    drops = [0] * len(mine.shaped)
    for b, n in (dropped or {}).items():
        drops[b] = n
    return rules.Run(capacity=[10 * M] * len(mine.shaped), queue_ms=queue_ms or [0.0] * len(mine.shaped), dropped=drops,
                     sites=[mine], queue_p95_ms=0.0, loss=0.0, base_ms=base_ms)


def steps(*parts: tuple[float, float]) -> list[float]:
    """[seconds, Mbit/s] one after the other, the last to the end."""
    out: list[float] = []
    for seconds, mbps in parts:
        out += [mbps * M] * round(seconds / rules.BIN_S)
    return out + [parts[-1][1] * M] * (BINS - len(out))


def check_rules(checks: Checks) -> None:
    def told(name: str, broken, sound) -> None:
        checks.check(f"{name}: found", broken is not None, broken.says if broken else "")
        checks.check(f"{name}: not found where it is kept", sound is None, sound.says if sound else "")

    told("floor", rules.floor_holds(steps((30, 5), (1, 1.9), (1, 5)), 2 * M), rules.floor_holds(steps((30, 5), (1, 2)), 2 * M))
    told("ceiling", rules.ceiling_holds(steps((30, 5), (1, 20.1), (1, 5)), 20 * M), rules.ceiling_holds(steps((30, 20)), 20 * M))

    cut = site(steps((30, 10), (30, 7)))
    told("evidence down", rules.evidence_down(run(cut), cut), rules.evidence_down(run(cut, dropped={2500: 1}), cut))
    old = rules.evidence_down(run(cut, dropped={1900: 1}), cut)
    checks.check("evidence down: a drop of 11 s before is none", old is not None)
    queue = [3.0 if 2900 < b < 2990 else 0.0 for b in range(BINS)]
    checks.check("evidence down: a queue is some", rules.evidence_down(run(cut, queue), cut) is None)
    probe = site(steps((30, 10), (1, 10.4), (1, 10)))
    checks.check("evidence down: a probe's way back needs none", rules.evidence_down(run(probe), probe) is None)

    raised = steps((30, 10), (30, 10.4))
    told("evidence up", rules.evidence_up(site(raised, 0.5)), rules.evidence_up(site(raised, 0.95)))
    checks.check("evidence up: waiting packets are demand", rules.evidence_up(site(raised, 0.5, backlogged=True)) is None)
    restored = steps((30, 10), (5, 7), (5, 10))
    checks.check("evidence up: going back needs none", rules.evidence_up(site(restored, 0.2)) is None)

    told("spacing", rules.spacing(site(steps((30, 10), (0.1, 8), (1, 6))), 0.150), rules.spacing(site(steps((30, 10), (0.2, 8), (1, 6))), 0.150))

    told("queue", rules.queue_bounded(run(cut, [20.0 if 1000 <= b < 1520 else 0.0 for b in range(BINS)])),
         rules.queue_bounded(run(cut, [20.0 if b % 300 > 10 else 0.0 for b in range(BINS)])))
    checks.check("queue: the bound grows with the base", rules.queue_bounded(run(cut, [20.0] * BINS, base_ms=150)) is None)


def check_cycle(checks: Checks) -> None:
    def found(value_at) -> rules.Finding | None:
        return rules.cycle(site([M * value_at(b * rules.BIN_S) for b in range(BINS)]), [0.0], 60.0)

    r = random.Random(1)
    sine = found(lambda t: 10 + math.sin(2 * math.pi * t / 2.3))
    checks.check("cycle: a sine of 10 %", sine is not None and abs(sine.worse * rules.LINE_AMPLITUDE - 0.1) < 0.005,
                 sine.says if sine else "")
    square = found(lambda t: 11 if t % 3 < 1.5 else 9)
    checks.check("cycle: on and off by 10 %", square is not None, square.says if square else "")
    checks.check("cycle: none in a sine of 4 %", found(lambda t: 10 + 0.4 * math.sin(2 * math.pi * t / 2.3)) is None)
    noise = [r.gauss(0, 1) for _ in range(700)]
    checks.check("cycle: none in noise of 10 %", found(lambda t: 10 + noise[int(t * 10)]) is None)
    checks.check("cycle: none in a ramp", found(lambda t: 5 + t / 5) is None)
    starts, now = [], 0.0
    while now < 70:
        starts.append(now)
        now += 8 * r.uniform(0.8, 1.2)
    checks.check("cycle: none in probes of 8 % every 8 s",
                 found(lambda t: 10.8 if any(s <= t < s + 0.8 for s in starts) else 10) is None)
    checks.check("cycle: nothing is said of a time that has no demand", rules.cycle(
        rules.SiteSeries(shaped=[M * (11 if b % 300 < 150 else 9) for b in range(BINS)], received=[], demand=[False] * BINS,
                         tick_sent=[], tick_rate=[], tick_backlogged=[]), [0.0], 60.0) is None)


def check_goals(checks: Checks) -> None:
    checks.check("utilisation", rules.keeps_up(0.84, 1.0) is not None and rules.keeps_up(0.86, 1.0) is None)
    checks.check("p95 of the queue", rules.short_queue(17, 0, 30) is not None and rules.short_queue(17, 18, 30) is None
                 and rules.short_queue(17, 0, 150) is None)
    # Jain, Chiu, Hawe: two users of whom one has all: 1/2.
    checks.check("Jain's index", math.isclose(rules.jain([1, 0]), 0.5) and math.isclose(rules.jain([2, 2]), 1.0)
                 and rules.fair([1, 3]) is not None and rules.fair([1, 1.5]) is None)


def check_scenarios(checks: Checks) -> None:
    drawn = [random_path.scenario(n) for n in range(300)]
    checks.check("a number is one scenario", all(s.yaml() == random_path.scenario(s.number).yaml() for s in drawn))
    checks.check("no two are the same", len({s.yaml().split("\n", 2)[2] for s in drawn}) > 290)
    checks.check("capacities are within the limits that random_path.py names",
                 all(random_path.LEAST_CAPACITY <= mbps <= random_path.MOST_CAPACITY for s in drawn for _, mbps in s.capacity))
    checks.check("all kinds come", all(any(word in s.limit for s in drawn) for word in ("policer", "red", "codel", "ms}"))
                 and any(s.loss for s in drawn) and any(s.shared for s in drawn))


def main() -> int:
    checks = Checks()
    check_rules(checks)
    check_cycle(checks)
    check_goals(checks)
    check_scenarios(checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
