"""How the lab's test programs say what they found: checks with a closing count, tables, CSV, small charts."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

_BARS = "▁▂▃▄▅▆▇█"


class Checks:
    """Named expectations; each is printed as it is decided. exit_code() closes the program."""

    def __init__(self) -> None:
        self.passed = 0
        self.failures: list[str] = []

    def check(self, name: str, ok: bool, detail: str = "") -> bool:
        print(f"  {'pass' if ok else 'FAIL'}  {name}{': ' + detail if detail else ''}", flush=True)
        if ok:
            self.passed += 1
        else:
            self.failures.append(name)
        return ok

    def exit_code(self) -> int:
        print(f"{self.passed} passed, {len(self.failures)} failed", flush=True)
        return 1 if self.failures else 0


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as their widest cell; numbers to the right."""
    cells = [[_cell(c) for c in row] for row in rows]
    numeric = [all(isinstance(row[i], (int, float, type(None))) for row in rows) for i in range(len(header))] \
        if isinstance(rows, list) and rows else [False] * len(header)
    widths = [max(len(header[i]), *(len(row[i]) for row in cells)) if cells else len(header[i])
              for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric)).rstrip()

    return "\n".join([line(list(header)), "  ".join("-" * w for w in widths), *(line(row) for row in cells)])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)


def write_csv(path: Path, rows: Sequence[dict]) -> None:
    if not rows:
        return
    with open(path, "w", newline="") as out:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, default=str) + "\n")


def sparkline(values: Sequence[float], width: int = 60, top: float | None = None) -> str:
    """A line of bars, oldest first, each the mean of its share of the values."""
    if not values:
        return ""
    top = top or max(values) or 1.0
    width = min(width, len(values))
    bars = []
    for i in range(width):
        share = values[i * len(values) // width:max((i + 1) * len(values) // width, i * len(values) // width + 1)]
        height = sum(share) / len(share) / top
        bars.append(_BARS[min(int(height * len(_BARS)), len(_BARS) - 1)])
    return "".join(bars)
