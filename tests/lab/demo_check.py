#!/usr/bin/env python3
"""The demo itself: interrupted in any phase it leaves nothing behind; left alone it shows what it promises."""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from netlab.namespace import NETNS_DIR, PREFIX, RUN_DIR, need_root
from netlab.report import Checks

PHASES = {"without Weir": "Without Weir", "with Weir": "Weir starts", "after the raise": "The provider now carries"}
LONGEST_S = 150


class Demo:
    """One demo with its output read line by line; killed when it takes longer than it may."""

    def __init__(self, weir_binary: str | None):
        command = [sys.executable, str(Path(__file__).with_name("demo.py"))]
        if weir_binary:
            command += ["--weir", weir_binary]
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._watchdog = threading.Timer(LONGEST_S, self._child.kill)
        self._watchdog.start()
        self.lines: list[str] = []

    def read_until(self, text: str | None) -> bool:
        """Reads to the first line with the text (None: to the end); False when it never came."""
        assert self._child.stdout
        for line in self._child.stdout:
            self.lines.append(line.rstrip("\n"))
            if text is not None and text in line:
                return True
        return text is None

    def interrupt(self) -> None:
        self._child.send_signal(signal.SIGINT)

    def end(self) -> int:
        self.read_until(None)
        code = self._child.wait()
        self._watchdog.cancel()
        return code

    def leftovers(self) -> list[str]:
        mine = f"{PREFIX}-{self._child.pid}-"
        places = [d for d in (NETNS_DIR, RUN_DIR) if d.is_dir()]
        files = [p.name for d in places for p in d.iterdir() if p.name.startswith(mine)]
        processes = [p.name for p in Path("/proc").iterdir() if p.name.isdigit() and mine in _command_line(p)]
        mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if mine in line]
        return files + processes + mounts


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def check_interrupted(checks: Checks, phase: str, headline: str, weir_binary: str | None) -> None:
    demo = Demo(weir_binary)
    reached = demo.read_until(headline) and demo.read_until("Mbit/s  ")  # its first line of figures
    demo.interrupt()
    code = demo.end()
    left = demo.leftovers()
    checks.check(f"Ctrl-C {phase}: ends at once and leaves nothing", reached and code == 130 and not left,
                 f"exit {code} {' '.join(left)}" + (f" after '{demo.lines[-1]}'" if code != 130 else ""))


def check_whole(checks: Checks, weir_binary: str | None) -> None:
    demo = Demo(weir_binary)
    code = demo.end()
    text = "\n".join(demo.lines)
    print(text)
    checks.check("the demo runs to its end and leaves nothing", code == 0 and not demo.leftovers(), f"exit {code}")
    checks.check("plain text when not on a terminal", "\033" not in text)
    losses = row(text, "packets lost on the path", r"([\d.]+) %")
    voice = row(text, "voice p99", r"([\d.]+) ms")
    goodput = row(text, "goodput of replication", r"([\d.]+) Mbit/s")
    if checks.check("the table has its three columns", len(losses) == len(voice) == len(goodput) == 3):
        checks.check("Weir takes the loss off the path", losses[1] < losses[0] / 2, f"{losses} %")
        checks.check("Weir takes the queue out of voice's way", voice[1] < voice[0] - 30, f"{voice} ms")
        checks.check("the rate follows the raise", goodput[2] > 1.5 * goodput[1], f"{goodput} Mbit/s")


def row(text: str, name: str, pattern: str) -> list[float]:
    line = next((line for line in text.splitlines() if line.startswith(name)), "")
    return [float(number) for number in re.findall(pattern, line)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    parser.add_argument("--whole", action="store_true", help="the uninterrupted run only")
    arguments = parser.parse_args()
    need_root()
    checks = Checks()
    if not arguments.whole:
        for phase, headline in PHASES.items():
            check_interrupted(checks, phase, headline, arguments.weir)
    check_whole(checks, arguments.weir)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
