#!/usr/bin/env python3
"""How much does the live capture lose, beside `tcpdump -w /dev/null` at the same rate, ring and share of a core?

A sender on one core puts 64-byte TCP frames of 1000 connections on a veth pair in a namespace of this run's own; the
program under test watches its far end on the other core, one program at a time, in turns. What was lost is told twice:
by the program's own count of kernel drops, and by the frames that it counted beside those that were sent. Medians of the
runs. Under overload weir follows a share of the connections, and counts one frame in eight of the others for eight: its
own count is an estimate then, and may be above what was sent; and a frame that the ring dropped, one in its count of drops,
may have been such an eighth. So both are compared with tcpdump's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

from netlab.namespace import (Namespace, Process, need_root, new_run_name, on_every_exit, reap_leftovers,  # noqa: E402
                              wait_until)
from netlab.quota import CpuQuota  # noqa: E402
from netlab.report import Checks, table, write_csv  # noqa: E402
from netlab.tools import bench_tool, weir_binary  # noqa: E402

RING_MIB = 32  # what weir takes
RATES = [100_000, 200_000, 300_000, 2_000_000]  # the last is more than the sender has
PREFERRED = ["nice", "-n", "-10"]  # to whatever else runs on the machine, the sender as well as the programs under test
SENDER_CORE, CAPTURE_CORE = "0", "1"
NOTHING_LOST, COUNTED_WITHIN = 1e-4, 0.02


@dataclass(frozen=True)
class Seen:
    frames: int
    dropped: int
    followed: float = 1.0  # share of the TCP frames that were not only counted


@dataclass(frozen=True)
class Run:
    sent: int
    seconds: float
    cpu_s: float  # of the program under test, from the first frame to the last
    seen: Seen

    @property
    def dropped(self) -> float:
        return self.seen.dropped / self.sent

    @property
    def missing(self) -> float:
        return 1 - self.seen.frames / self.sent


def read_weir(process: Process) -> Seen:
    capture = json.loads(process.output().splitlines()[-1])["capture"]
    return Seen(capture["packets"], capture["kernel_drops"], 1 - capture["unsampled_packets"] / max(capture["tcp_packets"], 1))


def read_tcpdump(process: Process) -> Seen:
    def count(what: str) -> int:
        found = re.search(rf"(\d+) packets? {what}", process.errors())
        assert found, process.errors()
        return int(found[1])
    return Seen(count("captured"), count("dropped by kernel"))


def programs(weir: str, workers: int = 1) -> dict:
    """What is run, how it tells what it saw, and how many such shares of a core it has."""
    observe = [weir, "observe", "--interface", "v1", "--inside", "10.1.0.0/16", "--json"]
    several = {f"weir, {workers} workers": ([*observe, "--workers", str(workers)], read_weir, workers)} if workers > 1 else {}
    return {
        "weir": (observe, read_weir, 1),
        **several,
        "tcpdump": (["tcpdump", "-n", "-i", "v1", "-B", str(RING_MIB * 1024), "-w", "/dev/null"], read_tcpdump, 1),
    }


def cpu_ns(process: Process) -> int:
    """Of all its threads."""
    return sum(int(f.read_text().split()[0]) for f in Path(f"/proc/{process.pid}/task").glob("*/schedstat"))


def wait_until_idle(process: Process) -> None:
    """Until it waits for frames: less than half of what the least quota gives in half a second is used."""
    history: list[int] = []

    def idle() -> bool:
        history.append(cpu_ns(process))
        return len(history) > 10 and history[-1] - history[-11] < 2_500_000

    wait_until(idle, 60, f"{process.name} to wait for frames", every=0.05)


class Bench:
    def __init__(self, arguments: argparse.Namespace, name: str, logs: Path):
        self.arguments, self.name, self.logs = arguments, name, logs
        self.space = Namespace(name)
        on_every_exit(self.space.delete)
        self.space.create()
        self.space.sysctl({"net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1})
        self.space.ip("link add v0 type veth peer name v1\nlink set v0 up\nlink set v1 up\n")

    def has_tap(self) -> bool:
        """Whether a packet socket looks at v1: /proc/net/packet has its index in the fifth column."""
        index = str(self.space.json(["ip", "-j", "link", "show", "v1"])[0]["ifindex"])
        lines = self.space.run(["cat", "/proc/net/packet"]).stdout.splitlines()[1:]
        return any(line.split()[4] == index for line in lines)

    def reached(self) -> int:
        return self.space.json(["ip", "-j", "-s", "link", "show", "v1"])[0]["stats64"]["rx"]["packets"]

    def run(self, program: str, rate: int, percent: int) -> Run:
        command, read, shares = programs(self.arguments.weir, self.arguments.workers)[program]
        cores = CAPTURE_CORE if shares == 1 else f"{SENDER_CORE},{CAPTURE_CORE}"
        with CpuQuota(f"{self.name}-{percent}", percent * shares) as quota:
            command = self.space.wrap(quota.wrap([*PREFERRED, "taskset", "-c", cores, *command]))
            process = Process(program, command, self.logs)
            try:
                wait_until(self.has_tap, 30, f"{program} to open its tap")
                wait_until_idle(process)  # its filter is in place as well
                before, cpu_before = self.reached(), cpu_ns(process)
                sender = json.loads(self.space.run(
                    [*PREFERRED, "taskset", "-c", SENDER_CORE, str(bench_tool("bench_sender")), "--interface", "v0", "--rate",
                     str(rate), "--seconds", str(self.arguments.seconds)]).stdout)
                if self.reached() - before != sender["sent"]:
                    raise SystemExit(f"the veth pair itself lost frames of {sender['sent']}: not for the taps to see")
                wait_until_idle(process)
                cpu_s = (cpu_ns(process) - cpu_before) / 1e9
                process.signal(signal.SIGINT)
                process.wait(60)
            finally:
                process.stop()
        return Run(sender["sent"], sender["seconds"], cpu_s, read(process))


def bench(arguments: argparse.Namespace, bench: Bench, percent: int, checks: Checks) -> list[dict]:
    runs: dict[tuple[int, str], list[Run]] = {}
    for _ in range(arguments.runs):
        for rate in arguments.rates:
            for program in programs(arguments.weir, arguments.workers):
                runs.setdefault((rate, program), []).append(bench.run(program, rate, percent))
    rows = []
    for rate in arguments.rates:
        dropped, missing = {}, {}
        for program in programs(arguments.weir, arguments.workers):
            of = runs[rate, program]
            dropped[program] = statistics.median(r.dropped for r in of)
            missing[program] = statistics.median(r.missing for r in of)
            rows.append({"core %": percent, "program": program,
                         "sent/s": round(statistics.median(r.sent / r.seconds for r in of)),
                         "dropped %": 100 * dropped[program], "not counted %": 100 * missing[program],
                         "ns a frame": 1e9 * statistics.median(r.cpu_s / max(r.seen.frames, 1) for r in of),
                         "followed %": 100 * statistics.median(r.seen.followed for r in of)})
        load = f"{percent} % of a core, {rows[-1]['sent/s']} frames/s"
        for what, share, nothing in (("its own count of drops", dropped, NOTHING_LOST),
                                     ("the frames counted", missing, COUNTED_WITHIN)):
            checks.check(f"{load}: weir loses less than tcpdump, or both nothing, by {what}",
                         share["weir"] < share["tcpdump"] or max(share.values()) <= nothing,
                         f"{100 * share['weir']:.2f} % to {100 * share['tcpdump']:.2f} %")
        checks.check(f"{load}: weir's count of frames is within {100 * COUNTED_WITHIN:g} % of what was sent",
                     abs(missing["weir"]) <= COUNTED_WITHIN, f"{-100 * missing['weir']:+.2f} %")
    print(table(list(rows[0]), [list(r.values()) for r in rows]))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="of sending, each time")
    parser.add_argument("--rates", type=int, nargs="+", default=RATES)
    parser.add_argument("--percent", type=int, nargs="+", default=[1, 100], help="of a core, for the program under test")
    parser.add_argument("--workers", type=int, default=1, help="also weir with so many workers, each with that share of a core")
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "weir-bench")
    arguments = parser.parse_args()
    need_root()
    if (os.cpu_count() or 1) < 2:
        print("skipped: needs two cores")
        return 0
    if shutil.which("tcpdump") is None:
        raise SystemExit("not installed: tcpdump (./run bench installs what .debian-packages lists)")
    arguments.weir = str(weir_binary(arguments.weir))
    arguments.out.mkdir(parents=True, exist_ok=True)
    reap_leftovers()
    checks = Checks()
    with tempfile.TemporaryDirectory() as logs:
        measured = Bench(arguments, new_run_name(), Path(logs))
        rows = [row for percent in arguments.percent for row in bench(arguments, measured, percent, checks)]
        measured.space.delete()
    write_csv(arguments.out / "live-capture.csv", rows)
    print(f"table: {arguments.out / 'live-capture.csv'}")
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
