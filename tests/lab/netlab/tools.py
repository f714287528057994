"""Where the built programs are: the lab's own tools and the product under test."""

from __future__ import annotations

import os
from pathlib import Path

from .namespace import LabError

_SOURCE_ROOT = Path(__file__).resolve().parents[3]


def _found(name: str) -> Path | None:
    """Of the release build when there is one: the sanitizers' are no measure of speed. Else the newest."""
    found = [p for p in (_SOURCE_ROOT / "build").glob(f"*/{name}") if p.is_file()]
    return max(found, key=lambda p: (p.relative_to(_SOURCE_ROOT).parts[1] == "release", p.stat().st_mtime),
               default=None)


def lab_tool(name: str) -> Path:
    """A tool of this folder: from $WEIR_LAB_TOOLS, else the release build's, or the newest one under build/."""
    directory = os.environ.get("WEIR_LAB_TOOLS")
    tool = Path(directory) / name if directory else _found(f"tests/lab/{name}")
    if tool is None or not tool.is_file():
        raise LabError(f"{name} is not built ({directory or 'build/*/tests/lab'})")
    return tool


def bench_tool(name: str) -> Path:
    """A tool of the benchmarks: the release build's, or the newest one under build/."""
    return built(f"bench/{name}")


def built(name: str) -> Path:
    """A tool of tests/: the release build's, or the newest one under build/."""
    tool = _found(f"tests/{name}")
    if tool is None:
        raise LabError(f"{name} is not built (build/*/tests)")
    return tool


def weir_binary(given: str | None = None) -> Path:
    """The product: as given, else $WEIR_BIN, else the release build's, or the newest one under build/."""
    path = given or os.environ.get("WEIR_BIN")
    binary = Path(path) if path else _found("weir")
    if binary is None or not os.access(binary, os.X_OK):
        raise LabError(f"the weir binary is not there ({path or 'build/*/weir'}); name it with --weir or WEIR_BIN")
    return binary.resolve()
