#!/usr/bin/env python3
"""How fast is the estimator, beside tcptrace, tcpdump and tshark on the same files?

CPU time of each program, medians of interleaved runs, so that a noisy machine is noisy for all of them. Prints tables,
writes them as CSV and as plots (gnuplot) into --out. The traffic is made by bench_traffic, deterministically.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

from netlab.report import Checks, table, write_csv  # noqa: E402
from netlab.tools import bench_tool, weir_binary  # noqa: E402

SNAP = 96
AT_LEAST_TIMES_TCPTRACE, AT_MOST_FLOWS_FACTOR = 6.0, 1.7
place = Path()  # of the files, while in_memory() is open
# A connection's record is 128 bytes (static_assert in flow_table.hpp). Counted here is all memory that a process with
# a million of them has more than one with a thousand: index, rounding up to huge pages, working memory.
AT_MOST_BYTES_A_FLOW = 160
SOME_PACKETS = 10_000_000
# Of a longer file: between these every connection of a million is established, and the end has not come yet.
ALL_PACKETS, FROM_PACKET, TO_PACKET = 25_000_000, 10_000_000, 24_000_000
PCAP_HEADER = 24


@dataclass(frozen=True)
class Cost:
    user_s: float
    system_s: float
    peak_bytes: int

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.system_s


def cpu_cost(command: list[str]) -> Cost:
    """User and system time of one run, and its largest resident memory."""
    with open(os.devnull, "wb") as nothing:
        child = subprocess.Popen(command, stdout=nothing, stderr=nothing)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {child.returncode}")
    return Cost(usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024)


@dataclass(frozen=True)
class Stretch:
    """Of one run, between two packets of its file."""
    ns_a_packet: float  # as scheduled: user and system
    peak_bytes: int


def stretch_cost(command: list[str], path: Path) -> Stretch:
    """What the packets from FROM_PACKET to TO_PACKET cost, by what the process had read and run when it was asked."""
    a_packet = (path.stat().st_size - PCAP_HEADER) / ALL_PACKETS
    seen = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        kernel = Path("/proc") / str(child.pid)
        for packet in (FROM_PACKET, TO_PACKET):
            read = 0
            while read < PCAP_HEADER + packet * a_packet:
                if child.poll() is not None:
                    raise SystemExit(f"{' '.join(command)}: ended before its {packet}th packet")
                time.sleep(0.0005)  # nobody tells when it has read so far
                read = int((kernel / "io").read_text().split()[1])
            seen.append((read, int((kernel / "schedstat").read_text().split()[0])))
        peak = next(int(line.split()[1]) * 1024 for line in (kernel / "status").read_text().splitlines()
                    if line.startswith("VmHWM"))
        if child.wait() != 0:
            raise SystemExit(f"{' '.join(command)}: exit code {child.returncode}")
    (first, before), (last, after) = seen
    return Stretch((after - before) / ((last - first) / a_packet), peak)


def in_memory() -> ExitStack:
    """The files' place: memory of our own in huge pages, gone when this is closed.

    A file in the page cache of a disk lies there in pieces as large as memory had just then: reading it takes 7 to
    17 ns a packet, another time and in another file of the same run, 5 here. Differences of two files would mean
    nothing. Without the right to mount it is the disk's after all, and that is said."""
    global place
    stack = ExitStack()
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weir-bench-")))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12g,huge=always", "weir-bench", str(place)],
                             stderr=subprocess.DEVNULL, check=False).returncode == 0
    if mounted:
        stack.callback(subprocess.run, ["umount", str(place)], check=True)
    else:
        print("no memory of our own may be mounted: files lie as the disk's page cache has them")
    return stack


def traffic(flows: int, packets: int) -> Path:
    """A capture of so many packets over so many connections; made once."""
    path = place / f"flows{flows}-packets{packets}.pcap"
    if not path.exists():
        subprocess.run([str(bench_tool("bench_traffic")), "--flows", str(flows), "--packets", str(packets), "--snap",
                        str(SNAP), "--out", str(path)], check=True)
    return path


def observe(binary: str, path: Path) -> list[str]:
    return [binary, "observe", "--read", str(path), "--inside", "10.1.0.0/16", "--json"]


def programs(binary: str, path: Path) -> dict[str, list[str]]:
    """The same question to each: read the headers, keep the state of every connection, say what was sent again."""
    known = {
        "weir observe": observe(binary, path),
        "tcptrace -n -r -l": ["tcptrace", "-n", "-r", "-l", str(path)],
        "tcpdump -n": ["tcpdump", "-n", "-r", str(path)],
        "tshark": ["tshark", "-n", "-r", str(path), "-q", "-z", "io,stat,0,tcp.analysis.retransmission"],
    }
    missing = [command[0] for command in known.values() if shutil.which(command[0]) is None]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)} (./run bench installs what .debian-packages lists)")
    return known


def bench_programs(arguments: argparse.Namespace, checks: Checks) -> list[dict]:
    path, small = traffic(1000, arguments.packets), traffic(1000, arguments.packets // 10)
    costs: dict[str, list[float]] = {}
    for _ in range(arguments.runs):
        for name, command in programs(arguments.weir, path).items():
            slow = name == "tshark"
            command = [str(small) if part == str(path) else part for part in command] if slow else command
            packets = arguments.packets // 10 if slow else arguments.packets
            costs.setdefault(name, []).append(cpu_cost(command).cpu_s / packets * 1e9)
    rows = [{"program": name, "ns a packet": statistics.median(c), "packets/s": 1e9 / statistics.median(c),
             "least": min(c), "most": max(c)} for name, c in costs.items()]
    print(table(["program", "ns a packet", "M packets/s", "least", "most"],
                [[r["program"], r["ns a packet"], r["packets/s"] / 1e6, r["least"], r["most"]] for r in rows]))
    ratios = [t / w for t, w in zip(costs["tcptrace -n -r -l"], costs["weir observe"])]
    checks.check(f">= {AT_LEAST_TIMES_TCPTRACE:g}x the packets/s of tcptrace",
                 statistics.median(ratios) >= AT_LEAST_TIMES_TCPTRACE,
                 f"{statistics.median(ratios):.2f}x, per run " + " ".join(f"{r:.2f}" for r in sorted(ratios)))
    return rows


def bench_tcptrace_by_flows(arguments: argparse.Namespace) -> list[dict]:
    """The one program that keeps the state of connections as well, among few of them and many; no goal."""
    rows = []
    for flows in (10, 1000, 20_000):
        path = traffic(flows, 1_000_000)
        costs: dict[str, list[float]] = {}
        for _ in range(arguments.runs):
            for name in ("weir observe", "tcptrace -n -r -l"):
                command = programs(arguments.weir, path)[name]
                costs.setdefault(name, []).append(cpu_cost(command).cpu_s / 1e6 * 1e9)
        weir, tcptrace = (statistics.median(c) for c in costs.values())
        rows.append({"flows": flows, "weir ns a packet": weir, "tcptrace ns a packet": tcptrace,
                     "times": tcptrace / weir})
    print(table(list(rows[0]), [list(r.values()) for r in rows]))
    return rows


def bench_flows(arguments: argparse.Namespace, checks: Checks) -> list[dict]:
    """The cost of a packet, and of a connection's memory, from a thousand connections to a million.

    With set-up: everything, from the first SYN on. Established: what packets of the same connections cost later in the
    run, which leaves out that each of a million opens, and that the process starts and ends. (The difference of two runs
    of unlike length will not do: what the kernel spends on the memory of a million connections is not the same in both.)"""
    counts = [1000, 10_000, 100_000, 1_000_000]
    established = [counts[0], counts[-1]]
    some: dict[int, list[Cost]] = {n: [] for n in counts}
    later: dict[int, list[Stretch]] = {n: [] for n in established}
    paths = {n: traffic(n, SOME_PACKETS) for n in counts}
    longer = {n: traffic(n, ALL_PACKETS) for n in established}
    for _ in range(arguments.runs):
        for n in counts:
            some[n].append(cpu_cost(observe(arguments.weir, paths[n])))
            if n in longer:
                later[n].append(stretch_cost(observe(arguments.weir, longer[n]), longer[n]))
    rows = flows_rows(some, later)
    print(table(list(rows[0]), [list(r.values()) for r in rows]))
    capture = json.loads(subprocess.run(observe(arguments.weir, longer[counts[-1]]), capture_output=True, text=True,
                                        check=True).stdout)["capture"]
    checks.check("every connection of the million was followed", capture["flows_refused"] == 0
                 and capture["flows_evicted"] == 0, f"{capture['flows_refused']} packets refused")
    bytes_a_flow = rows[len(counts) - 1]["bytes a flow"]
    checks.check(f"<= {AT_MOST_BYTES_A_FLOW} bytes a connection, all memory counted (in the table: 128)",
                 bytes_a_flow <= AT_MOST_BYTES_A_FLOW, f"{bytes_a_flow:.0f}")
    factors = sorted(b.ns_a_packet / a.ns_a_packet for a, b in zip(later[1000], later[1_000_000]))
    checks.check(f"a packet among 1 M established flows costs <= {AT_MOST_FLOWS_FACTOR:g}x one among 1000",
                 statistics.median(factors) <= AT_MOST_FLOWS_FACTOR,
                 f"{statistics.median(factors):.2f}x, per run " + " ".join(f"{f:.2f}" for f in factors))
    return rows


def flows_rows(some: dict[int, list[Cost]], later: dict[int, list[Stretch]]) -> list[dict]:
    """Medians: with set-up for all numbers of connections, established for those with a longer file."""
    peak = {n: statistics.median(c.peak_bytes for c in costs) for n, costs in some.items()}
    rows = []
    for n, costs in some.items():
        user, system, both = ([part(c) / SOME_PACKETS * 1e9 for c in costs]
                              for part in (lambda c: c.user_s, lambda c: c.system_s, lambda c: c.cpu_s))
        rows.append({"packets": "with set-up", "flows": n, "ns a packet": statistics.median(both),
                     "user": statistics.median(user), "system": statistics.median(system), "peak MB": peak[n] / 1e6,
                     "bytes a flow": (peak[n] - peak[1000]) / (n - 1000) if n > 1000 else None})
    for n, stretches in later.items():
        rows.append({"packets": "established", "flows": n, "ns a packet": statistics.median(s.ns_a_packet for s in stretches),
                     "user": None, "system": None,
                     "peak MB": statistics.median(s.peak_bytes for s in stretches) / 1e6, "bytes a flow": None})
    return rows


def plot(out: Path, name: str, rows: list[dict], key: str, value: str, title: str, log: bool) -> None:
    if shutil.which("gnuplot") is None:
        return
    data = "\n".join(f'"{r[key]}" {r[value]}' for r in rows)
    script = (f'set terminal svg size 720,360 font "sans,11"\nset output "{out / (name + ".svg")}"\n'
              f'set title "{title}"\nset style data histograms\nset style fill solid 0.6\nset boxwidth 0.7\n'
              f'set yrange [{"1" if log else "0"}:*]\n{"set logscale y" if log else ""}\nset grid y\nunset key\n'
              f'$rows << EOD\n{data}\nEOD\nplot $rows using 2:xtic(1)\n')
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--packets", type=int, default=3_000_000)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    parser.add_argument("--only", choices=["programs", "flows"])
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "weir-bench")
    arguments = parser.parse_args()
    arguments.weir = str(arguments.weir or weir_binary())
    arguments.out.mkdir(parents=True, exist_ok=True)
    checks = Checks()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the memory is given back then as well
    with in_memory():
        if arguments.only in (None, "programs"):
            rows = bench_programs(arguments, checks)
            write_csv(arguments.out / "programs.csv", rows)
            plot(arguments.out, "programs", rows, "program", "ns a packet", "CPU time of a packet, ns", log=True)
            write_csv(arguments.out / "tcptrace.csv", bench_tcptrace_by_flows(arguments))
        if arguments.only in (None, "flows"):
            rows = bench_flows(arguments, checks)
            write_csv(arguments.out / "flows.csv", rows)
            plot(arguments.out, "flows", [r for r in rows if r["packets"] == "with set-up"], "flows", "ns a packet",
                 "CPU time of a packet by connections, ns", log=False)
    print(f"tables and plots: {arguments.out}")
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
