#!/usr/bin/env python3
"""again.py [--virtual-time] COMMAND...: runs a lab's program, and once more when it fails, to tell the machine from the
program.

A lab measures milliseconds on a machine that others share. A try that failed while one of the machine's processors stood
still for more than STALL_LIMIT_MS says nothing about the program, so it is told and not counted; after MOST_TRIES the
failure stands whatever the machine did. In virtual time the machine does not matter: every try counts. The exit code is
the last try's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from netlab.namespace import unwind_when_terminated
from netlab.tools import lab_tool
from netlab.traffic import STALL_LIMIT_MS

COUNTED_TRIES, MOST_TRIES = 2, 3
NOT_A_FAILURE = (0, 75, 77)  # done; not measured; cannot run here


class Witness:
    """One `lab_probe witness` a processor."""

    def __init__(self, processors: list[int]) -> None:
        self._watchers = [subprocess.Popen([lab_tool("lab_probe"), "witness", "--processor", str(n)],
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for n in processors]

    def longest_ms(self) -> float:
        """Ends them. The longest time since the start in which one of the processors did not run; 0 where none could
        be watched, so that the try counts."""
        told = [watcher.communicate(timeout=10)[0].splitlines() for watcher in self._watchers]
        return max((json.loads(lines[-1]).get("longest_ms", 0.0) for lines in told if lines), default=0.0)

    def __enter__(self) -> Witness:
        return self

    def __exit__(self, *error: object) -> None:
        for watcher in self._watchers:
            watcher.kill()
            watcher.wait()


def main(arguments: list[str]) -> int:
    unwind_when_terminated()
    virtual = arguments[0] == "--virtual-time"
    command = arguments[1:] if virtual else arguments
    processors = [] if virtual else sorted(os.sched_getaffinity(0))
    counted = 0
    for number in range(1, MOST_TRIES + 1):
        began = time.monotonic()
        with Witness(processors) as witness:
            code = subprocess.run(command, check=False).returncode
            if code in NOT_A_FAILURE:
                return code
            stall_ms = witness.longest_ms()
        counted += stall_ms <= STALL_LIMIT_MS
        last = counted == COUNTED_TRIES or number == MOST_TRIES
        print(f"FAILED in try {number}: exit code {code} after {time.monotonic() - began:.0f} s; a processor stood still for "
              f"{stall_ms:.0f} ms{'' if last else '; once more'}: {' '.join(command)}", flush=True)
        if last:
            break
    return code


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
