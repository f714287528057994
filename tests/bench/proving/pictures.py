"""A picture of each scenario: Weir's seed 1 in full, and below, small, what each of the others did with the same."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .runs import Result

COLUMNS = 5
ROW_HEIGHT, WIDTH = 150, 1200
TALL = {"rate": 260, "queue": 120, "loss": 120}


def draw(out: Path, name: str, first_seeds: dict[str, Result]) -> None:
    """One SVG. Nothing without gnuplot, or without a run of Weir."""
    if shutil.which("gnuplot") is None or "weir" not in first_seeds:
        return
    weir = first_seeds["weir"]
    others = [law for law in first_seeds if law != "weir"]
    rows = (len(others) + COLUMNS - 1) // COLUMNS
    height = sum(TALL.values()) + rows * ROW_HEIGHT
    blocks = "".join(_block(law, r) for law, r in first_seeds.items())
    script = [f'set terminal svg size {WIDTH},{height} font "sans,10"', f'set output "{out / (name + ".svg")}"', blocks,
              "set multiplot", "set lmargin 9", "set rmargin 20", f"set xrange [0:{len(weir.seconds['time'])}]", "set grid y", "set key outside right"]
    top = height
    for panel, tall in TALL.items():
        top -= tall
        script += [f"set size 1,{tall / height:.4f}", f"set origin 0,{top / height:.4f}", *_panel(panel, name, weir)]
    for i, law in enumerate(others):
        bottom = (rows - 1 - i // COLUMNS) * ROW_HEIGHT
        script += [f"set size {1 / COLUMNS:.4f},{ROW_HEIGHT / height:.4f}",
                   f"set origin {i % COLUMNS / COLUMNS:.4f},{bottom / height:.4f}", *_small(law, first_seeds[law], weir)]
    done = subprocess.run(["gnuplot"], input="\n".join([*script, "unset multiplot", ""]), text=True, capture_output=True,
                          check=False)
    if done.returncode != 0:  # else it only warns of empty curves
        raise SystemExit(f"gnuplot: {done.stderr.strip()}")


def _sites(result: Result) -> list[str]:
    return [site["name"] for site in result.run.scenario.description["sites"]]


def _block(law: str, result: Result) -> str:
    """time, capacity, queue, loss, then what each site is shaped to; megabits, milliseconds, percent."""
    s = result.seconds
    loss = [100 * over / offered if offered else 0.0 for over, offered in zip(s["over_limit"], s["offered"])]
    columns: list[Sequence[float]] = [s["time"], _mbit(s["capacity_bps"]), s["queue_ms"], loss,
                                      *(_mbit(s[f"{name}_shaped_bps"]) for name in _sites(result))]
    lines = "\n".join(" ".join(f"{v:.4g}" for v in row) for row in zip(*columns))
    return f"$data_{law.replace('-', '_')} << EOD\n{lines}\nEOD\n"


def _mbit(values: Sequence[float]) -> list[float]:
    return [v / 1e6 for v in values]


def _data(result: Result) -> str:
    return f"$data_{result.run.law.replace('-', '_')}"


def _rates(result: Result, titled: bool) -> str:
    title = (lambda text: f'title "{text}"') if titled else (lambda _: "notitle")
    curves = [f'{_data(result)} using 1:2 with steps lw 2 lc rgb "#999999" {title("capacity")}'] if result.limited else []
    curves += [f"{_data(result)} using 1:{5 + i} with lines lw 1.5 lc {i + 1} {title('shaped ' + name)}"
               for i, name in enumerate(_sites(result))]
    return "plot " + ", ".join(curves)


def _top(weir: Result) -> float:
    """Of the rates' axis: what is shaped to, or what is there, and some more; not all that the start may be above it."""
    most = max(max(weir.seconds[f"{name}_shaped_bps"]) for name in _sites(weir))
    if weir.limited:
        capacity = max(weir.seconds["capacity_bps"])
        most = min(max(most, capacity), 2 * capacity)
    return 1.1 * most / 1e6


def _panel(panel: str, name: str, weir: Result) -> list[str]:
    if panel == "rate":
        return [f'set title "{name}: Weir, seed {weir.run.seed}"', 'set ylabel "Mbit/s"', f"set yrange [0:{_top(weir):.4g}]",
                _rates(weir, titled=True), "unset title"]
    unit, column, color = ("queue, ms", 3, "#cc6600") if panel == "queue" else ("loss, %", 4, "#cc0000")
    return [f'set ylabel "{unit}"', "set yrange [0:1<*]",
            f'plot {_data(weir)} using 1:{column} with impulses lc rgb "{color}" title "{panel}"']


def _small(law: str, result: Result, weir: Result) -> list[str]:
    said = f"lost {100 * result.loss:.2f} %, {result.queue_p95_ms:.0f} ms"
    if result.limited:
        said = f"{100 * result.utilisation:.0f} %, {said}"
    return ["unset key", "unset ylabel", "set lmargin 6", "set rmargin 1", "set ytics font ',8'", "set xtics font ',8'",
            f'set title "{law}: {said}" font ",7"', f"set yrange [0:{_top(weir):.4g}]", _rates(result, titled=False)]
