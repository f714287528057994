#!/usr/bin/env python3
"""Weir's control law beside its peers' on every scenario of the proving ground (docs/PROVING.md).

In the simulator, each scenario at the scale that its file says; with --real on this machine's kernel, one run at a time;
with --vm on Debian's kernel, in a virtual machine's own time and at the simulator's scale: the leaves are fq_codel there,
and the real cake-autorate runs beside when CAKE_AUTORATE names its folder. What ran once is kept under what determines it
(scenario, law, seed, scale, program): a run that was interrupted goes on, and after a change of Weir only Weir runs again.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

from netlab.laws import LAWS as KERNEL_LAWS, PEER, needs_peer  # noqa: E402
from netlab.namespace import LabError, need_root  # noqa: E402
from netlab.report import Checks, table, write_csv  # noqa: E402
from proving.goals import GOALS  # noqa: E402
from proving.judge import AHEAD, BEHIND, LEVEL_WITH, check_goals, judge  # noqa: E402
from proving.pictures import draw  # noqa: E402
from proving.runs import REAL, SIM, SKIPPED, VM, Result, Run, Runner, Scenario, law_names, scenarios  # noqa: E402

QUICK_S = 240  # the longest scenario of --quick
OTHER_TASKS = ("weir-inbound",)  # what they do is not what the others do: only where --laws names them
SEEDS = {SIM: (10, 3), REAL: (3, 1), VM: (1, 1)}  # of Weir, and of each of the others


def wanted(arguments: argparse.Namespace, found: list[Scenario], laws: list[str]) -> list[Run]:
    runs = []
    for scenario in found:
        if arguments.quick and scenario.length_s > QUICK_S:
            continue
        needed = {g.measure.reference for g in GOALS[scenario.name]} | {"oracle"}
        for law in laws:
            if law == "weir-apart" and len(scenario.description["sites"]) < 2:
                continue  # the same as weir
            if arguments.quick and law != "weir" and law not in needed:
                continue
            if arguments.where == VM and needs_peer(law) and len(scenario.description["sites"]) > 1:
                continue  # it has one rate for the port
            seeds = arguments.seeds if law == "weir" else arguments.seeds_of_others
            scale = arguments.scale or (1.0 if arguments.where == REAL else scenario.description["simulate_scale"])
            runs += [Run(scenario, law, seed, arguments.where, scale) for seed in range(1, seeds + 1)]
    return sorted(runs, key=lambda r: -r.scenario.length_s)  # the long ones first: none runs alone at the end


def kernel_laws(where: str) -> list[str]:
    with_peer = where == VM and PEER in os.environ  # this machine's kernel may have no cake
    return [law for law in KERNEL_LAWS if with_peer or not needs_peer(law)]


def tell(arguments: argparse.Namespace, found: list[Scenario], laws: list[str], results: list[Result]) -> int:
    checks, known = Checks(), Checks()
    all_rows, goal_rows, standings = [], [], []
    for scenario in found:
        by_law = {law: [r for r in results if r.run.scenario == scenario and r.run.law == law] for law in laws}
        by_law = {law: runs for law, runs in by_law.items() if runs}
        if not by_law:
            continue
        print(f"\n== {scenario.path.stem} ({scenario.length_s:g} s, scale {next(iter(by_law.values()))[0].run.scale:g})")
        skipped = [runs[0].skipped for runs in by_law.values() if runs[0].skipped]
        if skipped:
            print(f"skipped: {skipped[0]}")
            continue
        rows, verdicts = judge(scenario.name, by_law)
        all_rows += [{"scenario": scenario.path.stem, **row} for row in rows]
        standings.append((scenario.path.stem, verdicts))
        if "weir" in by_law:
            goal_rows += check_goals(scenario.name, by_law, checks, known)
        if arguments.out is not None:
            draw(arguments.out, scenario.path.stem, {law: runs[0] for law, runs in by_law.items() if runs[0].run.seed == 1})
    tell_standings(standings)
    if arguments.out is not None:
        write_csv(arguments.out / "laws.csv", all_rows)
        write_csv(arguments.out / "goals.csv", goal_rows)
        print(f"tables and pictures: {arguments.out}")
    if known.passed or known.failures:
        print(f"known to be missed: {len(known.failures)}, of these met now: {known.passed}")
    code = checks.exit_code()
    return code if arguments.quick else code or (1 if known.failures else 0)


def tell_standings(standings: list[tuple[str, dict[str, str]]]) -> None:
    peers = list(dict.fromkeys(law for _, verdicts in standings for law in verdicts))
    if not peers:
        return
    print("\n== Weir beside each of the others, scenarios")
    rows = []
    for law in peers:
        where = {v: [name for name, verdicts in standings if verdicts.get(law) == v] for v in (AHEAD, LEVEL_WITH, BEHIND)}
        rows.append([law, *(len(where[v]) for v in where), ", ".join(where[BEHIND])])
    print(table(["law", AHEAD, LEVEL_WITH, BEHIND, "behind where"], rows))


def told_seeds(whose: int) -> str:
    return ", ".join(f"{where}: {seeds[whose]}" for where, seeds in SEEDS.items())


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="scenarios whose file's name contains this, or one of these (comma between)")
    parser.add_argument("--laws", type=lambda text: text.split(","), help="of these only, comma between")
    parser.add_argument("--seeds", type=int, help=f"of Weir: 1 to this ({told_seeds(0)})")
    parser.add_argument("--seeds-of-others", type=int, help=f"({told_seeds(1)})")
    parser.add_argument("--scale", type=float, help="all rates times this, instead of what the scenario says")
    parser.add_argument("--quick", action="store_true",
                        help=f"scenarios of at most {QUICK_S} s, one seed of Weir and of what its goals refer to; fails "
                        "only for goals that are not known to be missed")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--real", dest="where", action="store_const", const=REAL, default=SIM,
                       help="on real kernels (as root; a scenario takes its length)")
    where.add_argument("--vm", dest="where", action="store_const", const=VM,
                       help="on Debian's kernel (as root; a scenario takes two to ten times its length)")
    parser.add_argument("--kept", action="store_true", help="tell what was run before, run nothing")
    parser.add_argument("--fresh", action="store_true", help="run what is kept as well")
    parser.add_argument("--parallel", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="for CSV and pictures (default, but for --quick: under the temporary folder)")
    arguments = parser.parse_args()
    own, others = SEEDS[arguments.where]
    arguments.seeds = arguments.seeds or (1 if arguments.quick else own)
    arguments.seeds_of_others = arguments.seeds_of_others or (1 if arguments.quick else others)
    if arguments.out is None and not arguments.quick:
        arguments.out = Path(tempfile.gettempdir()) / "weir-bench" / "control"
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
    return arguments


def main() -> int:
    arguments = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what runs is ended then as well
    if arguments.where != SIM:
        need_root()
    try:
        names = law_names() if arguments.where == SIM else kernel_laws(arguments.where)
        found = scenarios(arguments.only)
    except LabError as error:
        print(f"skipped: {error} (the simulator needs ns-3: libns3-dev)")
        return SKIPPED
    laws = [law for law in names if (law in arguments.laws if arguments.laws else law not in OTHER_TASKS)]
    if not found or not laws or (arguments.laws and set(arguments.laws) - set(names)):
        print(f"no such scenario or law; laws are {', '.join(names)}", file=sys.stderr)
        return 2
    runs = wanted(arguments, found, laws)
    if arguments.kept:
        results = Runner.kept(runs)
        print(f"{len(results)} of {len(runs)} runs are kept")
        return tell(arguments, found, laws, results)
    results = Runner(1 if arguments.where == REAL else arguments.parallel).results(runs, arguments.fresh)
    code = tell(arguments, found, laws, results)
    if len(results) < len(runs):
        print(f"{len(runs) - len(results)} runs failed")
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
