"""Runs of scenarios: in the simulator, on this machine's kernel or on Debian's in the virtual machine; in parallel, each kept
in a cache under what determines it."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from netlab.laws import PEER, needs_peer
from netlab.path import describe
from netlab.tools import built, lab_tool, weir_binary

SOURCE = Path(__file__).resolve().parents[3]
SCENARIOS = SOURCE / "tests/proving/scenarios"
KEPT = SOURCE / ".cache/bench/control"
SKIPPED = 77
BINS_A_SECOND = 100
SIM, REAL, VM = "sim", "real", "vm"  # where a scenario runs
LONGEST_S = {SIM: 1800, REAL: 1800, VM: 10_800}  # one run, on a machine that does other things
SERIES = "series.csv"


@cache
def digest(*paths: Path) -> str:
    """Of the files, and of the C++ in folders, tests left out."""
    h = hashlib.sha256()
    for path in paths:
        sources = [f for f in sorted(path.glob("*.[ch]pp")) if not f.stem.endswith("_test")] if path.is_dir() else [path]
        for file in sources:
            h.update(file.name.encode() + b"\0" + file.read_bytes())
    return h.hexdigest()


@dataclass(frozen=True)
class Scenario:
    path: Path
    told: str  # what lab_path --describe says, as JSON: hashable

    @property
    def description(self) -> dict:
        return json.loads(self.told)

    @property
    def name(self) -> str:
        return self.description["name"]

    @property
    def length_s(self) -> float:
        return self.description["length_s"]


def scenarios(patterns: str) -> list[Scenario]:
    """Those whose name contains one of the patterns (comma between)."""
    return [Scenario(p, json.dumps(describe(p))) for p in sorted(SCENARIOS.glob("*.yaml"))
            if any(pattern in p.stem for pattern in patterns.split(","))]


def law_names() -> list[str]:
    return subprocess.run([str(built("proving/sim/weir_sim")), "--laws"], capture_output=True, text=True,
                          check=True).stdout.split()


@dataclass(frozen=True)
class Run:
    scenario: Scenario
    law: str
    seed: int
    where: str
    scale: float

    def key(self) -> str:
        proving = SOURCE / "tests/proving"
        weirs = self.law in ("weir", "weir-apart", "weir-inbound")
        # What tunes Weir's controller leaves the others' runs as they are.
        if self.where == SIM:
            program = digest(built("proving/sim/weir_sim")) if weirs else digest(proving / "laws", proving / "path", proving / "sim")
        elif needs_peer(self.law):
            program = digest(lab_tool("lab_path"), Path(os.environ.get(PEER, "")) / "cake-autorate.sh")
        else:
            program = digest(weir_binary() if weirs else SOURCE / "shaper", lab_tool("lab_path"))
        parts = [digest(self.scenario.path), self.law, str(self.seed), repr(self.scale), self.where, program]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]

    def kept_at(self) -> Path:
        return KEPT / f"{self.scenario.path.stem}-{self.law}-{self.seed}-{self.where}-{self.key()}.json"

    def command(self, folder: Path) -> list[str]:
        """Writes what happened to `series` in the folder."""
        options = [str(self.scenario.path), "--law", self.law, "--seed", str(self.seed), "--scale", repr(self.scale)]
        on_kernels = [sys.executable, str(SOURCE / "tests/lab/scenario.py"), *options, "--tries", "3"]
        if self.where == SIM:
            return [str(built("proving/sim/weir_sim")), *options, "--series", str(self.series(folder))]
        if self.where == REAL:
            return [*on_kernels, "--series", str(self.series(folder))]
        environment = {"WEIR_BIN": weir_binary(), "WEIR_LAB_TOOLS": lab_tool("lab_path").parent,
                       **({PEER: os.environ[PEER]} if PEER in os.environ else {})}
        return [sys.executable, str(SOURCE / "tests/vm/vm.py"), "run", "--timeout", str(LONGEST_S[VM]), "--out", str(folder),
                *(f"--env={name}={value}" for name, value in environment.items()), "--",
                "sh", "-c", f'exec "$@" --series "$WEIR_VM_OUT/{SERIES}"', "sh", *on_kernels]

    @staticmethod
    def series(folder: Path) -> Path:
        return folder / SERIES


class Result:
    """Of one run: the score, and a row for each second of what happened."""

    def __init__(self, run: Run, kept: dict):
        self.run = run
        self.skipped: str | None = kept.get("skipped")
        if self.skipped is not None:
            return
        self.score, self.seconds = kept["score"], kept["seconds"]
        self._told = run.scenario.description
        out = {link["name"] for link in self._told["links"] if not link["back"]}
        self._links = [link for link in self.score["links"] if link["name"] in out]

    @property
    def limited(self) -> bool:
        """Something on the way out carries less than the port."""
        return any(link["limited"] and not link["back"] for link in self._told["links"])

    @property
    def sites(self) -> int:
        return len(self._told["sites"])

    @property
    def utilisation(self) -> float:
        """Of the first link."""
        return self._links[0]["utilisation"]

    @property
    def loss(self) -> float:
        return max(link["loss"] for link in self._links)

    @property
    def queue_p95_ms(self) -> float:
        return max(link["queue_p95_ms"] for link in self._links)

    @property
    def priority_p99_ms(self) -> float | None:
        return self.score["priority"]["p99_ms"]

    @property
    def scored_hours(self) -> float:
        return (self._told["length_s"] - self._told["warm_up_s"]) / 3600

    def jain(self) -> float:
        """Of what came out at the far end: 1 when all sites have the same (Jain, Chiu and Hawe, DEC-TR-301, 1984)."""
        got = [site["received_bps"] for site in self.score["sites"]]
        return sum(got) ** 2 / (len(got) * sum(g * g for g in got)) if any(got) else 1.0

    def back_offs_in(self, start: float = 0, until: float = 1e9) -> float:
        return sum(start <= at < until for site in self.score["sites"] for at in site["back_offs_at_s"])

    def false_back_offs(self) -> float:
        """Those that nothing on the way out called for, as the emulator recorded it (tests/proving/path/truth.hpp)."""
        return sum(len(site["false_back_offs_at_s"]) for site in self.score["sites"])

    def settlings(self) -> list[tuple[str, float | None]]:
        """Of all sites, in order of time: what kind of jump, and how long until the rate stayed within 5 %."""
        found = sorted(((s["at_s"], site["name"], s) for site in self.score["sites"] for s in site["settlings"]),
                       key=lambda entry: entry[:2])
        return [(self._kind(s), s["seconds"]) for _, _, s in found]

    @staticmethod
    def _kind(s: dict) -> str:
        if s["to_bps"] == s["from_bps"]:
            return "restart" if s["at_s"] > 0 else "first"
        return "first" if s["at_s"] == 0 else "down" if s["to_bps"] < s["from_bps"] else "up"

    def slowest(self, kind: str) -> float | None:
        """Of the jumps of this kind; None: at least one was never followed, or there was none."""
        times = [t for k, t in self.settlings() if k == kind]
        return None if not times or None in times else max(t for t in times if t is not None)

    @property
    def least_of_floor(self) -> float:
        sites = zip(self.score["sites"], self._told["sites"])
        return min(s["shaped_least_bps"] / (told["floor_bps"] * self.run.scale) for s, told in sites)

    def received(self, part: tuple[int, int] | None = None, sites: Sequence[str] | None = None) -> float:
        """Bits a second at the far end, of each site at most its ceiling: where nothing shapes, the model's port is
        wider than the real one."""
        start, until = part or (int(self._told["warm_up_s"]), len(self.seconds["time"]))
        total = 0.0
        for site in self._told["sites"]:
            if sites is None or site["name"] in sites:
                bits = self.seconds[f"{site['name']}_received_bits"][start:until]
                total += min(sum(bits) / len(bits), site["ceiling_bps"] * self.run.scale)
        return total

    def utilisation_in(self, start: int, until: int) -> float:
        """Of the first link, whatever was asked for."""
        capacity = sum(self.seconds["capacity_bps"][start:until])
        return sum(self.seconds["forwarded_bits"][start:until]) / capacity if capacity > 0 else 0.0


def by_seconds(series: Path, description: dict) -> dict[str, list[float]]:
    """The rows of 10 ms that write_csv writes, one a second: sums, means, and the longest queue."""
    out = [link["name"] for link in description["links"] if not link["back"]]
    names = [site["name"] for site in description["sites"]]
    with open(series, newline="") as file:
        rows = csv.reader(file)
        header = {name: i for i, name in enumerate(next(rows))}
        columns = list(zip(*([float(value) for value in row] for row in rows)))
    length = len(columns[0]) if columns else 0

    def bins(name: str, reduce) -> list[float]:
        column = columns[header[name]]
        return [round(reduce(column[at:at + BINS_A_SECOND]), 3) for at in range(0, length, BINS_A_SECOND)]

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    def over_links(name: str, reduce, join) -> list[float]:
        return [join(values) for values in zip(*(bins(f"{link}_{name}", reduce) for link in out))]

    found = {"time": [float(i) for i in range((length + BINS_A_SECOND - 1) // BINS_A_SECOND)],
             "capacity_bps": bins(f"{out[0]}_capacity_bps", mean),
             "forwarded_bits": bins(f"{out[0]}_forwarded_bytes", lambda v: 8 * sum(v)),
             "queue_ms": over_links("queue_ms", max, max),
             "offered": bins(f"{out[0]}_offered", sum),
             "over_limit": over_links("over_limit", sum, sum)}
    for name in names:
        found[f"{name}_shaped_bps"] = bins(f"{name}_shaped_bps", mean)
        found[f"{name}_received_bits"] = bins(f"{name}_received_bytes", lambda v: 8 * sum(v))
    return found


class Runner:
    """Runs what is not kept, so many at a time. Its programs end with it."""

    def __init__(self, parallel: int):
        self._parallel = parallel
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._ended = False

    @staticmethod
    def kept(runs: Iterable[Run]) -> list[Result]:
        return [Result(run, json.loads(run.kept_at().read_text())) for run in runs if run.kept_at().exists()]

    def results(self, runs: Iterable[Run], fresh: bool = False) -> list[Result]:
        """Of all runs; those that failed are told and left out."""
        runs, found, missing = list(runs), {}, []
        KEPT.mkdir(parents=True, exist_ok=True)
        for run in runs:
            if run.kept_at().exists() and not fresh:
                found[run] = Result(run, json.loads(run.kept_at().read_text()))
            else:
                missing.append(run)
        if missing:
            print(f"{len(runs) - len(missing)} runs are kept, {len(missing)} to do", flush=True)
        pool = ThreadPoolExecutor(self._parallel)
        try:
            doing = {pool.submit(self._go, run): run for run in missing}
            for i, future in enumerate(as_completed(doing), 1):
                run = doing[future]
                kept = future.result()
                if kept is not None:
                    found[run] = Result(run, kept)
                if sys.stdout.isatty() or i % 20 == 0 or i == len(missing):
                    print(f"  {i} of {len(missing)} done: {run.scenario.path.stem}, {run.law}, seed {run.seed}", flush=True)
        finally:
            self._end()
            pool.shutdown(cancel_futures=True)
        return [found[run] for run in runs if run in found]

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            for child in self._running:
                child.terminate()

    def _go(self, run: Run) -> dict | None:
        with tempfile.TemporaryDirectory(prefix="weir-control-") as folder:
            with self._lock:
                if self._ended:
                    return None
                child = subprocess.Popen(run.command(Path(folder)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                self._running.add(child)
            try:
                out, err = child.communicate(timeout=LONGEST_S[run.where])
            except subprocess.TimeoutExpired:
                child.terminate()  # the lab tidies up
                out, err = child.communicate()
            finally:
                with self._lock:
                    self._running.discard(child)
            kept = self._kept(run, child.returncode, out, err, Path(folder))
        if kept is not None:
            place = run.kept_at()
            beside = place.with_suffix(f".{os.getpid()}.new")
            beside.write_text(json.dumps(kept))
            beside.replace(place)
        return kept

    @staticmethod
    def _kept(run: Run, code: int, out: str, err: str, folder: Path) -> dict | None:
        if code == SKIPPED:
            return {"skipped": err.strip().splitlines()[-1] if err.strip() else "it cannot run here"}
        if code != 0:
            print(f"  FAILED: {' '.join(run.command(folder))}: exit code {code}: {err.strip()[-300:]}", flush=True)
            return None
        told = json.loads(out.strip().splitlines()[-1])
        score = told if run.where == SIM else told["score"]
        return {"score": score, "seconds": by_seconds(run.series(folder), run.scenario.description)}
