#!/usr/bin/python3
"""Looks for the paths on which Weir's control law does worst: random scenarios (random_path.py), each run in weir_sim
with Weir's law and with the oracle's, held against the invariants and goals of invariants.py.

Every run is determined by its number, and kept in a cache beside the program it was made with: what was interrupted goes
on where it was, and another look at the same numbers takes seconds. A goal that is missed is tried with six more seeds of
the simulator, and counts if the median misses: with one connection on a lossy path two runs differ by chance, and so do
medians of three. An invariant counts at once.

Prints what was found and the worst ten; writes the scenario of each failure to --out, to be run again by itself:

    build/release/tests/proving/sim/weir_sim FILE --seed 1 --decisions decisions.csv --series series.csv
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import invariants as rules
import random_path

PROJECT = Path(__file__).resolve().parent.parent.parent
SIMULATOR = PROJECT / "build/release/tests/proving/sim/weir_sim"
CACHE = PROJECT / ".cache/search"
KEPT_PROGRAMS = 3
LONGEST_RUN_S = 600
MORE_SEEDS = range(2, 8)


@dataclass
class Result:
    number: int
    about: str
    findings: list[rules.Finding] = field(default_factory=list)
    of_oracle: float | None = None
    jain: float | None = None
    p95_ms: float = 0.0
    loss: float = 0.0
    seeds: int = 1  # of which the goals' figures are the medians

    @property
    def worst(self) -> float:
        return max((f.worse for f in self.findings), default=0.0)


class Simulator:
    def __init__(self, program: Path, cache: Path, nice: int):
        self.program, self.nice = program, nice
        self.folder = cache / hashlib.sha256(program.read_bytes()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        os.utime(self.folder)
        for old in sorted(cache.iterdir(), key=lambda p: p.stat().st_mtime)[:-KEPT_PROGRAMS]:
            shutil.rmtree(old)

    def run(self, scenario: random_path.Scenario, law: str, seed: int) -> dict:
        """What weir_sim wrote; {"crashed": ...} when it did not end as it should."""
        text = scenario.yaml()
        kept = self.folder / (hashlib.sha256(f"{law} {seed} {text}".encode()).hexdigest()[:32] + ".json.gz")
        if kept.exists():
            with gzip.open(kept, "rt") as file:
                return json.load(file)
        with tempfile.TemporaryDirectory(prefix="weir-search-") as folder:
            out = self.simulate(Path(folder), text, law, seed)
        part = kept.with_suffix(f".{os.getpid()}")
        with gzip.open(part, "wt", compresslevel=3) as file:
            json.dump(out, file)
        part.rename(kept)
        return out

    def simulate(self, folder: Path, text: str, law: str, seed: int) -> dict:
        (folder / "scenario.yaml").write_text(text)
        command = ["nice", "-n", str(self.nice), str(self.program), str(folder / "scenario.yaml"), "--law", law, "--seed", str(seed),
                   "--series", str(folder / "series.csv"), "--ticks", str(folder / "ticks.csv")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_RUN_S, check=False)
        except subprocess.TimeoutExpired:
            return {"crashed": f"did not end within {LONGEST_RUN_S} s"}
        if done.returncode != 0:
            return {"crashed": f"exit code {done.returncode}: {done.stderr.strip()[-200:]}"}
        return {"score": json.loads(done.stdout), "series": columns(folder / "series.csv"), "ticks": columns(folder / "ticks.csv")}


def columns(path: Path) -> dict[str, list]:
    with open(path, newline="") as file:
        rows = csv.reader(file)
        names = next(rows)
        return dict(zip(names, ([number(v) for v in column] for column in zip(*rows)), strict=True))


def number(text: str):
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def as_run(scenario: random_path.Scenario, out: dict) -> rules.Run:
    series, ticks = out["series"], out["ticks"]
    sites = []
    for site in scenario.sites:
        mine = [i for i, name in enumerate(ticks["site"]) if name == site.name]
        sites.append(rules.SiteSeries(
            shaped=series[f"{site.name}_shaped_bps"], received=series[f"{site.name}_received_bytes"],
            demand=[d == 1 for d in series[f"{site.name}_demand"]], tick_sent=[ticks["sent_bps"][i] for i in mine],
            tick_rate=[ticks["rate_bps"][i] for i in mine], tick_backlogged=[ticks["backlogged"][i] == 1 for i in mine]))
    link = out["score"]["links"][0]
    return rules.Run(capacity=series["path_capacity_bps"], queue_ms=series["path_queue_ms"],
                     dropped=[a + b for a, b in zip(series["path_over_limit"], series["path_at_random"])], sites=sites,
                     queue_p95_ms=link["queue_p95_ms"], loss=link["loss"],
                     base_ms=min(statistics.median([b for b in ticks["base_ms"] if b != ""] or [0.0]), max(scenario.rtts_ms)))


def broken_invariants(scenario: random_path.Scenario, run: rules.Run) -> list[rules.Finding]:
    found = [rules.queue_bounded(run)] if scenario.buffered else []
    for site in run.sites:
        found += [rules.floor_holds(site.shaped, random_path.FLOOR * 1e6), rules.ceiling_holds(site.shaped, random_path.CEILING * 1e6),
                  rules.evidence_down(run, site), rules.evidence_up(site), rules.spacing(site, min(scenario.rtts_ms) / 1e3)]
        if not scenario.shared:  # two that meet disturb each other
            found.append(rules.cycle(site, scenario.edges_s, scenario.length_s))
    return [f for f in found if f]


@dataclass
class Goals:
    of_oracle: float | None = None
    p95_ms: float = 0.0
    oracle_p95_ms: float = 0.0
    base_ms: float = 0.0
    received: list[float] = field(default_factory=list)

    def missed(self, scenario: random_path.Scenario) -> list[rules.Finding]:
        found = []
        if scenario.shared:
            found.append(rules.fair(self.received))
        else:
            found.append(rules.keeps_up(self.of_oracle, 1.0))
        if scenario.buffered and not scenario.shared:
            found.append(rules.short_queue(self.p95_ms, self.oracle_p95_ms, self.base_ms))
        return [f for f in found if f]


def goals(scenario: random_path.Scenario, run: rules.Run, simulator: Simulator, seed: int) -> Goals:
    half = len(run.capacity) // 2
    if scenario.shared:  # the oracle would give each of the two all of it
        return Goals(p95_ms=run.queue_p95_ms, received=[sum(site.received[half:]) for site in run.sites])
    out = simulator.run(scenario, "oracle", seed)
    if "crashed" in out:
        raise RuntimeError(f"number {scenario.number}, law oracle: {out['crashed']}")
    oracle = as_run(scenario, out)
    first = round(random_path.WARM_UP_S / rules.BIN_S)
    most = sum(oracle.sites[0].received[first:])
    return Goals(of_oracle=sum(run.sites[0].received[first:]) / most if most else 1.0, p95_ms=run.queue_p95_ms,
                 oracle_p95_ms=oracle.queue_p95_ms, base_ms=run.base_ms)


def median_goals(all_goals: list[Goals]) -> Goals:
    def of(figures):
        return statistics.median(figures)

    if all_goals[0].received:
        by_jain = sorted(all_goals, key=lambda g: rules.jain(g.received))
        return by_jain[len(by_jain) // 2]
    return Goals(of([g.of_oracle for g in all_goals]), of([g.p95_ms for g in all_goals]), of([g.oracle_p95_ms for g in all_goals]),
                 of([g.base_ms for g in all_goals]))


def examine(job: tuple[int, Simulator]) -> Result:
    scenario_number, simulator = job
    scenario = random_path.scenario(scenario_number)
    result = Result(scenario_number, ", ".join(scenario.about))
    # Two boxes of two customers hear nothing of one another, as two sites of one would.
    law = "weir-apart" if scenario.shared else "weir"
    out = simulator.run(scenario, law, 1)
    if "crashed" in out:
        result.findings.append(rules.Finding("crash", 0.0, 1000.0, out["crashed"]))
        return result
    run = as_run(scenario, out)
    result.findings += broken_invariants(scenario, run)
    seen = [goals(scenario, run, simulator, 1)]
    if seen[0].missed(scenario):
        for seed in MORE_SEEDS:
            again = simulator.run(scenario, law, seed)
            if "crashed" in again:
                result.findings.append(rules.Finding("crash", 0.0, 1000.0, f"seed {seed}: {again['crashed']}"))
                return result
            seen.append(goals(scenario, as_run(scenario, again), simulator, seed))
    usual = median_goals(seen)
    result.seeds = len(seen)
    result.findings += usual.missed(scenario)
    result.of_oracle, result.p95_ms, result.loss = usual.of_oracle, usual.p95_ms, run.loss
    result.jain = rules.jain(usual.received) if scenario.shared else None
    return result


def report(results: list[Result], out: Path) -> None:
    failed = sorted((r for r in results if r.findings), key=lambda r: -r.worst)
    counts = Counter(f.rule for r in failed for f in r.findings)
    print(f"\n{len(results)} paths, {len(failed)} with findings: " + (", ".join(f"{n} {rule}" for rule, n in counts.most_common()) or "none"))
    again = [r for r in results if r.seeds > 1 and not r.findings]
    if again:
        print("missed a goal with seed 1, not with the median of more: " + ", ".join(str(r.number) for r in again))
    alone = sorted(r.of_oracle for r in results if r.of_oracle is not None)
    if alone:
        print(f"received, of the oracle's: median {100 * statistics.median(alone):.1f} %, "
              f"5th percentile {100 * alone[len(alone) // 20]:.1f} %, least {100 * alone[0]:.1f} %")
    shared = sorted(r.jain for r in results if r.jain is not None)
    if shared:
        print(f"Jain's index of two boxes: median {statistics.median(shared):.3f}, least {shared[0]:.3f} of {len(shared)}")
    for r in failed[:10]:
        print(f"\nnumber {r.number}: {r.about}")
        for f in sorted(r.findings, key=lambda f: -f.worse):
            print(f"  {f.rule:12} {f.says}" + (f" at {f.at_s:.1f} s" if f.at_s else ""))
    out.mkdir(parents=True, exist_ok=True)
    for r in failed:
        lines = [f"# {f.rule}: {f.says}" + (f" at {f.at_s:.2f} s" if f.at_s else "") for f in r.findings]
        (out / f"{r.number}.yaml").write_text("\n".join(lines) + "\n" + random_path.scenario(r.number).yaml())
    if failed:
        print(f"\nscenarios of all that failed: {out}/NUMBER.yaml")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=500, metavar="N", help="how many numbers (%(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="the first of them (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at a time (%(default)s)")
    parser.add_argument("--nice", type=int, default=5, help="of the simulator (%(default)s)")
    parser.add_argument("--sim", type=Path, default=SIMULATOR, help="the simulator (%(default)s)")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=CACHE.parent / "search-failures", help="for failures' scenarios (%(default)s)")
    arguments = parser.parse_args()
    if not arguments.sim.exists():
        print(f"skipped: no simulator at {arguments.sim} (needs ns-3; ./run build)")
        return 77
    simulator = Simulator(arguments.sim, arguments.cache, arguments.nice)
    numbers = range(arguments.first, arguments.first + arguments.seeds)
    results, began = [], time.monotonic()
    with multiprocessing.Pool(arguments.jobs) as pool:
        for result in pool.imap_unordered(examine, [(n, simulator) for n in numbers]):
            results.append(result)
            for f in result.findings:
                print(f"{result.number:5} {f.rule:12} {f.says}", flush=True)
            if len(results) % 50 == 0:
                print(f"      {len(results)} of {len(numbers)} after {time.monotonic() - began:.0f} s", flush=True)
    report(results, arguments.out)
    return 1 if any(r.findings for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
