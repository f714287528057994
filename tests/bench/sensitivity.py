#!/usr/bin/env python3
"""Which constants of the control law matter: each at half and at twice its value, in the simulator.

A weir_sim of its own is built in which estimator/control_constants.hpp reads each constant at its start, from the
environment; the product's own sources are compiled as they are. A constant between a half and two is scaled by its distance
from one (0.98 becomes 0.99 and 0.96). What ran once is kept. Tells for each constant in which scenario it made what is
received, loss, queue or settling worse most, beyond what another seed of the simulator does by itself: in some scenarios of
the proving ground, at low rates, and in the mean of some random paths of the search for the worst case.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path += [str(TESTS / "lab"), str(TESTS / "proving")]

import random_path  # noqa: E402
from netlab.namespace import LabError  # noqa: E402
from netlab.report import table, write_csv  # noqa: E402
from proving.runs import SCENARIOS, SKIPPED, SOURCE  # noqa: E402

KEPT = SOURCE / ".cache/bench/sensitivity"
PROGRAM = SOURCE / ".cache/bench/sensitivity-program"  # always there: what it is made of must not differ by its place
BUILD = SOURCE / "build/release"
CONSTANTS = SOURCE / "estimator/control_constants.hpp"
# Short ones that together need every part of the law, at rates near the random paths'.
WHERE = {"01-policer-10ms": 0.25, "02-policer-steps": 0.1, "03-buffer-steps": 0.1, "05-random-loss": 0.1, "13-cross-cbr": 0.1}
RANDOM_PATHS = range(5)
RANDOM = "random paths"
FACTORS = (0.5, 2.0)
NEVER_S = 60.0  # in place of a jump that was not followed
READER = r"""
#include <cstdlib>
#include <cstring>
#include <string>
namespace weir::control {
/// WEIR_CONSTANT=name=factor scales one constant; a share near one by its distance from one.
template <class T> T tuned(const char* name, T value) {
  const char* const told = std::getenv("WEIR_CONSTANT");
  const std::size_t length = std::strlen(name);
  if (told == nullptr || std::strncmp(told, name, length) != 0 || told[length] != '=') return value;
  const double factor = std::strtod(told + length + 1, nullptr);
  if constexpr (std::is_same_v<T, double>) {
    return value > 0.5 && value < 2.0 ? 1.0 + (value - 1.0) * factor : value * factor;
  } else if constexpr (std::is_same_v<T, std::array<double, 6>>) {
    for (double& one : value) one *= factor;
    return value;
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<double>(value) * factor + 0.5);
  } else {
    return std::chrono::duration_cast<T>(value * factor);
  }
}
"""


@dataclass(frozen=True)
class Constant:
    name: str
    value: str


@dataclass(frozen=True)
class Outcome:
    received_bps: float
    loss: float
    queue_ms: float
    settled_s: float

    def less(self, other: Outcome) -> dict[str, float]:
        """How much worse than the other, in the units below: negative is better."""
        return {"received": 100 * (1 - self.received_bps / other.received_bps), "loss": 100 * (self.loss - other.loss),
                "queue": self.queue_ms - other.queue_ms, "settling": self.settled_s - other.settled_s}


UNITS = {"received": "% less", "loss": "points", "queue": "ms", "settling": "s"}


def constants() -> list[Constant]:
    text = CONSTANTS.read_text()
    return [Constant(name, value) for name, value in
            re.findall(r"inline constexpr [\w:<>, ]+?\b(k\w+)\s*=\s*([^;]+);", text)]


def build_tunable(place: Path) -> Path:
    """The simulator whose constants can be set. Only the law's own files are compiled anew."""
    overlay = place / "include/estimator"
    overlay.mkdir(parents=True, exist_ok=True)
    text = CONSTANTS.read_text()
    text = re.sub(r"inline constexpr ([\w:<>, ]+?) (k\w+)\s*=\s*([^;]+);", r'inline const \1 \2 = tuned<\1>("\2", \3);', text)
    text = text.replace("namespace weir::control {", READER + "\n", 1)
    (overlay / "control_constants.hpp").write_text(text)
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    read_by = subprocess.run(["ninja", "-C", str(BUILD), "-t", "deps"], capture_output=True, text=True, check=True).stdout
    wanted = {block.split(":")[0] for block in read_by.split("\n\n")
              if block.startswith("estimator/") and "control_constants.hpp" in block}
    objects = []

    def compile_one(entry: dict) -> str:
        output = place / (Path(entry["file"]).stem + ".o")
        arguments = shlex.split(entry["command"])
        arguments[arguments.index("-o") + 1] = str(output)
        arguments[2:2] = [f"-I{place / 'include'}"] if Path(arguments[0]).name == "ccache" else []
        if f"-I{place / 'include'}" not in arguments:
            arguments.insert(1, f"-I{place / 'include'}")
        subprocess.run(arguments, cwd=entry["directory"], check=True)
        return str(output)

    entries = [e for e in commands if any(f"-o {out} " in e["command"] for out in wanted)]
    if not entries:
        raise LabError("the release build of the estimator is not there")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, entries))
    told = subprocess.run(["ninja", "-C", str(BUILD), "-t", "commands", "tests/proving/sim/weir_sim"], capture_output=True,
                          text=True, check=True).stdout.strip().splitlines()[-1]
    link = told.removeprefix(": && ").removesuffix(" && :")
    program = place / "weir_sim"
    # In front of the library, which then has nothing to add for them.
    link = link.replace("-o tests/proving/sim/weir_sim", f"{' '.join(objects)} -o {program}", 1)
    subprocess.run(shlex.split(link), cwd=BUILD, check=True)
    return program


def outcome(score: dict) -> Outcome:
    link = score["links"][0]
    settled = [NEVER_S if s["seconds"] is None else s["seconds"] for site in score["sites"] for s in site["settlings"]]
    received = sum(site["received_bps"] for site in score["sites"])
    return Outcome(received, link["loss"], link["queue_p95_ms"], max(settled, default=0.0))


@dataclass(frozen=True)
class Run:
    """One run of the simulator but for the seed and the constants."""

    name: str
    text: str
    scale: float


def runs_of_places() -> dict[str, list[Run]]:
    named = {name: [Run(name, (SCENARIOS / f"{name}.yaml").read_text(), scale)] for name, scale in WHERE.items()}
    paths = [Run(f"random-{n}", random_path.scenario(n).yaml(), 1.0) for n in RANDOM_PATHS]
    return {**named, RANDOM: paths}


class Bench:
    def __init__(self, program: Path, place: Path):
        self._program, self._place = program, place
        objects = sorted(place.glob("*.o"))
        self._digest = hashlib.sha256(b"".join(o.read_bytes() for o in objects)).hexdigest()

    def run(self, run: Run, seed: int, setting: str) -> Outcome:
        key = "\0".join([run.text, str(run.scale), str(seed), setting, self._digest])
        kept = KEPT / f"{run.name}-{seed}-{setting or 'as-it-is'}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        if kept.exists():
            return outcome(json.loads(kept.read_text()))
        path = self._place / f"{run.name}.yaml"
        done = subprocess.run([str(self._program), str(path), "--law", "weir", "--seed", str(seed), "--scale",
                               str(run.scale)], capture_output=True, text=True,
                              env={**os.environ, "WEIR_CONSTANT": setting}, check=False)
        if done.returncode != 0:
            raise LabError(f"{run.name} with {setting}: {done.stderr.strip()[-300:]}")
        KEPT.mkdir(parents=True, exist_ok=True)
        score = json.loads(done.stdout.strip().splitlines()[-1])
        kept.write_text(json.dumps(score))
        return outcome(score)


def mean_less(outcomes: list[Outcome], base: list[Outcome]) -> dict[str, float]:
    """How much worse than the others, run by run, in the mean."""
    each = [one.less(other) for one, other in zip(outcomes, base, strict=True)]
    return {kind: sum(one[kind] for one in each) / len(each) for kind in UNITS}


def worst(changes: dict[str, dict[str, float]], usual: dict[str, dict[str, float]], share: dict[str, float]) -> str:
    """What got worse most, measured in what each kind of change is allowed to be."""
    found = [((value - usual[scenario][kind]) / share[kind], scenario, kind, value)
             for scenario, by_kind in changes.items() for kind, value in by_kind.items()]
    excess, scenario, kind, value = max(found)
    return f"{scenario}: {kind} {value:+.2g} {UNITS[kind]}" if excess > 1.0 else "-"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="constants whose name contains this")
    parser.add_argument("--parallel", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "weir-bench", help="for the CSV")
    arguments = parser.parse_args()
    share = {"received": 1.0, "loss": 0.05, "queue": 5.0, "settling": 3.0}  # less is not told
    try:
        program = build_tunable(PROGRAM)
    except (LabError, OSError, subprocess.CalledProcessError) as error:
        print(f"skipped: {error} (the simulator needs ns-3: libns3-dev)")
        return SKIPPED
    bench = Bench(program, PROGRAM)
    places = runs_of_places()
    for run in (one for runs in places.values() for one in runs):
        (PROGRAM / f"{run.name}.yaml").write_text(run.text)
    with ThreadPoolExecutor(arguments.parallel) as pool:
        def start(seed: int, setting: str) -> dict[str, list[Future]]:
            return {place: [pool.submit(bench.run, run, seed, setting) for run in runs] for place, runs in places.items()}

        def done(started: dict[str, list[Future]]) -> dict[str, list[Outcome]]:
            return {place: [one.result() for one in futures] for place, futures in started.items()}

        plain = [start(seed, "") for seed in (1, 2, 3)]
        chosen = [c for c in constants() if arguments.only in c.name]
        runs = {(c.name, f): start(1, f"{c.name}={f}") for c in chosen for f in FACTORS}
        base, *others = [done(one) for one in plain]
        # By how much another seed is worse, without any change.
        usual = {p: {kind: max(0.0, *(mean_less(other[p], base[p])[kind] for other in others)) for kind in UNITS}
                 for p in places}
        rows = []
        for c in chosen:
            row = {"constant": c.name, "is": " ".join(c.value.split())}
            for factor in FACTORS:
                changes = {p: mean_less(outcomes, base[p]) for p, outcomes in done(runs[c.name, factor]).items()}
                row[f"x {factor:g}"] = worst(changes, usual, share)
            rows.append(row)
            print(" | ".join(row.values()), flush=True)
    print()
    print(table(list(rows[0]), [list(r.values()) for r in rows]))
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_csv(arguments.out / "sensitivity.csv", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
