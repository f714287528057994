"""A share of one core for the programs under test: a control group of the run's own, which goes when it ends."""

from __future__ import annotations

import os
from pathlib import Path

from .namespace import LabError, cancel_exit_action, on_every_exit

PERIOD_US = 100_000  # the kernel gives out no less than 1 ms at a time: 1 % of this


def _root() -> tuple[Path, int]:
    """Where groups with a CPU quota are made, and the version of their interface."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and "cpu" in options.split(","):
            return Path(where), 1
        if kind == "cgroup2" and "cpu" in (Path(where) / "cgroup.controllers").read_text().split():
            return Path(where), 2
    raise LabError("no control groups with a CPU quota here")


class CpuQuota:
    """`percent` of one core, 1 at least, given out anew every 100 ms: waiting is short beside what a ring holds."""

    def __init__(self, name: str, percent: int):
        root, version = _root()
        self.path = root / name
        if version == 2:
            (root / "cgroup.subtree_control").write_text("+cpu")
        self.path.mkdir()
        self._key = on_every_exit(self.remove)
        quota = PERIOD_US * percent // 100
        if version == 2:
            (self.path / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        else:
            (self.path / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (self.path / "cpu.cfs_quota_us").write_text(str(quota))

    def wrap(self, command: list[str]) -> list[str]:
        """The command line that enters the group and becomes `command`."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.path / "cgroup.procs"), *command]

    def remove(self) -> None:
        if self.path.exists():
            os.rmdir(self.path)
        cancel_exit_action(self._key)

    def __enter__(self) -> CpuQuota:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()
