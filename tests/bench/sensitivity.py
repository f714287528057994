#!/usr/bin/env python3
"""Which constants of the control law matter: each at half and at twice its value, in the simulator.

A weir_sim of its own is built in which estimator/control_constants.hpp reads each constant at its start, from the
environment; the product's own sources are compiled as they are. A constant between a half and two is scaled by its distance
from one (0.98 becomes 0.99 and 0.96). What ran once is kept. Tells for each constant in which scenario it changed what is
received, loss, queue or settling most, beyond what another seed of the simulator changes by itself.
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

from netlab.namespace import LabError  # noqa: E402
from netlab.report import table, write_csv  # noqa: E402
from proving.runs import SCENARIOS, SKIPPED, SOURCE  # noqa: E402

KEPT = SOURCE / ".cache/bench/sensitivity"
BUILD = SOURCE / "build/release"
CONSTANTS = SOURCE / "estimator/control_constants.hpp"
# Short ones that together need every part of the law.
WHERE = ["01-policer-10ms", "02-policer-steps", "03-buffer-steps", "04-sine-60s-policer", "05-random-loss", "08-codel",
         "09-flows-5", "13-cross-cbr", "13-cross-cubic-1"]
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
    overlay.mkdir(parents=True)
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


class Bench:
    def __init__(self, program: Path, place: Path):
        self._program = program
        objects = sorted(place.glob("*.o"))
        self._digest = hashlib.sha256(b"".join(o.read_bytes() for o in objects)).hexdigest()

    def run(self, scenario: str, seed: int, setting: str) -> Outcome:
        path = SCENARIOS / f"{scenario}.yaml"
        key = "\0".join([path.read_text(), str(seed), setting, self._digest])
        kept = KEPT / f"{scenario}-{seed}-{setting or 'as-it-is'}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        if kept.exists():
            return outcome(json.loads(kept.read_text()))
        scale = re.search(r"^simulate: \{scale: ([0-9.]+)\}", path.read_text(), re.MULTILINE)
        done = subprocess.run([str(self._program), str(path), "--law", "weir", "--seed", str(seed), "--scale",
                               scale.group(1) if scale else "1"], capture_output=True, text=True,
                              env={**os.environ, "WEIR_CONSTANT": setting}, check=False)
        if done.returncode != 0:
            raise LabError(f"{scenario} with {setting}: {done.stderr.strip()[-300:]}")
        KEPT.mkdir(parents=True, exist_ok=True)
        score = json.loads(done.stdout.strip().splitlines()[-1])
        kept.write_text(json.dumps(score))
        return outcome(score)


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
    with tempfile.TemporaryDirectory(prefix="weir-sensitivity-") as folder:
        try:
            program = build_tunable(Path(folder))
        except (LabError, OSError, subprocess.CalledProcessError) as error:
            print(f"skipped: {error} (the simulator needs ns-3: libns3-dev)")
            return SKIPPED
        bench = Bench(program, Path(folder))
        with ThreadPoolExecutor(arguments.parallel) as pool:
            plain = {s: [pool.submit(bench.run, s, seed, "") for seed in (1, 2, 3)] for s in WHERE}
            chosen = [c for c in constants() if arguments.only in c.name]
            runs = {(c.name, f): {s: pool.submit(bench.run, s, 1, f"{c.name}={f}") for s in WHERE}
                    for c in chosen for f in FACTORS}
            base = {s: futures[0].result() for s, futures in plain.items()}
            # By how much another seed is worse, without any change.
            usual = {s: {kind: max(0.0, *(other.result().less(base[s])[kind] for other in futures[1:])) for kind in UNITS}
                     for s, futures in plain.items()}
            rows = []
            for c in chosen:
                row = {"constant": c.name, "is": " ".join(c.value.split())}
                for factor in FACTORS:
                    changes = {s: f.result().less(base[s]) for s, f in runs[c.name, factor].items()}
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
