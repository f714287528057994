"""Tables of a scenario's runs, its goals, and whether Weir is ahead of each of the others."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netlab.report import Checks, table

from .goals import GOALS, KNOWN_TO_BE_MISSED, Goal, is_foreign, limits
from .runs import Result

LEVEL = 0.01  # two laws that differ by less are level
REFERENCES = ("oracle",)  # told the truth: nobody is compared with it but by a goal
AHEAD, LEVEL_WITH, BEHIND = "ahead", "level", "behind"


@dataclass(frozen=True)
class Standing:
    """A law in a scenario: medians over its seeds."""
    carried: float  # utilisation of a path of its own; of one that is shared, or limits nothing, bits a second at the far end
    loss: float  # of what the scenario allows, as is the queue: up to 1 is kept
    queue: float

    @property
    def excess(self) -> float:
        return max(self.loss, self.queue)

    @property
    def keeps(self) -> bool:
        return self.excess <= 1.0

    @property
    def breaks(self) -> str:
        return "loss" if self.loss >= self.queue else "queue"


def standing(scenario: str, runs: Sequence[Result]) -> Standing:
    most_loss, most_queue = limits(scenario)
    loss, queue = (statistics.median(get(r) for r in runs) for get in (lambda r: r.loss, lambda r: r.queue_p95_ms))
    own = runs[0].limited and runs[0].sites == 1 and not is_foreign(scenario)
    carried = statistics.median(r.utilisation if own else r.received() for r in runs)
    return Standing(carried, loss / most_loss, queue / most_queue)


def compare(weir: Standing, other: Standing) -> tuple[str, str]:
    """Where Weir stands beside another law, and by what. A law that keeps loss and queue within the scenario's limits is
    ahead of one that does not; of two that do, the one that carries more; of two that do not, the one that exceeds them
    less."""
    if weir.keeps != other.keeps:
        return (AHEAD, other.breaks) if weir.keeps else (BEHIND, weir.breaks)
    if weir.keeps:
        return _order(weir.carried, other.carried), "carried"
    return _order(other.excess, weir.excess), "loss and queue"


def _order(weir: float, other: float) -> str:
    if abs(weir - other) <= LEVEL * max(abs(weir), abs(other)):
        return LEVEL_WITH
    return AHEAD if weir > other else BEHIND


def _spread(runs: Sequence[Result], get: Callable[[Result], float | None], factor: float, worst, digits: int = 2) -> str:
    """Median, and the worst seed in brackets."""
    values = [get(r) for r in runs]
    known = [v * factor for v in values if v is not None]
    if not known:
        return "-"
    middle = f"{statistics.median(known):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({worst(known):.{digits}f})"


def _settled(runs: Sequence[Result]) -> str:
    """After each jump the median of the seeds; '-': most never followed it."""
    told = []
    for jump in zip(*(r.settlings() for r in runs)):
        times = sorted((float("inf") if t is None else t) for _, t in jump)
        middle = times[len(times) // 2]
        told.append("-" if middle == float("inf") else f"{middle:.1f}")
    return " ".join(told)


def back_offs_an_hour(runs: Sequence[Result], get: Callable[[Result], float]) -> float:
    return sum(get(r) for r in runs) / sum(r.scored_hours for r in runs)


def law_row(scenario: str, law: str, runs: Sequence[Result], by_law: dict[str, Sequence[Result]], weir: str) -> dict:
    oracle = by_law.get("oracle")
    reference = statistics.median(r.received() for r in oracle) if oracle else None
    limited = runs[0].limited
    return {"law": law, "seeds": len(runs),
            "utilisation %": _spread(runs, lambda r: r.utilisation, 100, min, 1) if limited else "-",
            "loss %": _spread(runs, lambda r: r.loss, 100, max, 3),
            "queue p95 ms": _spread(runs, lambda r: r.queue_p95_ms, 1, max, 1),
            "settled s": _settled(runs),
            "priority p99 ms": _spread(runs, lambda r: r.priority_p99_ms, 1, max, 1),
            "back-offs/h (false)": f"{back_offs_an_hour(runs, lambda r: r.back_offs_in()):.0f} "
                                   f"({back_offs_an_hour(runs, lambda r: r.false_back_offs()):.0f})",
            "of oracle %": _spread(runs, lambda r: r.received(), 100 / reference, min, 1) if reference else "-",
            "Weir is": weir}


def judge(scenario: str, by_law: dict[str, Sequence[Result]]) -> tuple[list[dict], dict[str, str]]:
    """The scenario's table, and by law where Weir stands."""
    weir = by_law.get("weir")
    words, verdicts = {}, {}
    for law, runs in by_law.items():
        words[law] = ""
        if weir and law != "weir" and law not in REFERENCES:
            verdicts[law], why = compare(standing(scenario, weir), standing(scenario, runs))
            words[law] = f"{verdicts[law]} ({why})"
    rows = [law_row(scenario, law, runs, by_law, words[law]) for law, runs in by_law.items()]
    print(table(list(rows[0]), [list(r.values()) for r in rows]))
    return rows, verdicts


def value_of(goal: Goal, runs: Sequence[Result], others: Sequence[Result]) -> tuple[float | None, float | None]:
    """The median that is judged, and the worst seed."""
    values = [goal.measure.of(r, others) for r in runs]
    if goal.measure.a_rate:
        return back_offs_an_hour(runs, lambda r: goal.measure.of(r, others) or 0.0), max(v or 0.0 for v in values)
    bad = float("-inf") if goal.at_least else float("inf")
    ordered = sorted((bad if v is None else v for v in values), reverse=goal.at_least)

    def known(value: float) -> float | None:
        return None if value == bad else value

    return known(statistics.median(ordered)), known(ordered[-1])


def check_goals(scenario: str, by_law: dict[str, Sequence[Result]], checks: Checks, known: Checks) -> list[dict]:
    """Each goal of the scenario; those that are known to be missed go to `known`."""
    rows = []
    for goal in GOALS[scenario]:
        others = by_law.get(goal.measure.reference, []) if goal.measure.reference else []
        if goal.measure.reference and not others:
            print(f"  no run of {goal.measure.reference} to measure beside: {goal.name}")
            continue
        value, worst = value_of(goal, by_law["weir"], others)
        expected = goal.measure.name in KNOWN_TO_BE_MISSED.get(scenario, set())
        met = goal.met(value)
        said = goal.measure.told(value)
        if len(by_law["weir"]) > 1:
            said += f", worst seed {goal.measure.told(worst)}{' in all' if goal.measure.a_rate else ''}"
        if expected:
            said += "; known to be missed" if not met else "; was known to be missed: met now"
        (known if expected else checks).check(f"{scenario}: {goal.name}", met, said)
        rows.append({"scenario": scenario, "goal": goal.name, "value": goal.measure.told(value),
                     "worst": goal.measure.told(worst), "met": met})
    return rows
