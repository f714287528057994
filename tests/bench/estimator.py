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
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

from netlab.report import Checks, table, write_csv  # noqa: E402
from netlab.tools import bench_tool, weir_binary  # noqa: E402

SNAP = 96
CACHE = Path(__file__).resolve().parent.parent.parent / ".cache" / "bench"
fresh: set[Path] = set()
AT_LEAST_TIMES_TCPTRACE, AT_MOST_FLOWS_FACTOR, AT_MOST_BYTES_A_FLOW = 6.0, 1.7, 128


@dataclass(frozen=True)
class Cost:
    cpu_s: float
    peak_bytes: int


def cpu_cost(command: list[str]) -> Cost:
    """User and system time of one run, and its largest resident memory."""
    with open(os.devnull, "wb") as nothing:
        child = subprocess.Popen(command, stdout=nothing, stderr=nothing)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {child.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def traffic(flows: int, packets: int) -> Path:
    """A capture of so many packets over so many connections; made once.

    Written anew in each run: a file lies in the page cache as it was written, in large pieces. One that came back
    from the disk may lie there page by page, which costs every reader some nanoseconds a packet."""
    path = CACHE / f"flows{flows}-packets{packets}.pcap"
    if path in fresh:
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    if path.exists():
        shutil.copyfile(path, part)
    else:
        subprocess.run([str(bench_tool("bench_traffic")), "--flows", str(flows), "--packets",
                        str(packets), "--snap", str(SNAP), "--out", str(part)], check=True)
    part.rename(path)
    fresh.add(path)
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
    """The cost of a packet, and of a connection's memory, from a thousand connections to a million."""
    counts = [1000, 10_000, 100_000, 1_000_000]
    packets = max(arguments.packets, 10_000_000)
    costs: dict[int, list[Cost]] = {n: [] for n in counts}
    paths = {n: traffic(n, packets) for n in counts}
    for _ in range(arguments.runs):
        for n in counts:
            costs[n].append(cpu_cost(observe(arguments.weir, paths[n])))
    ns = {n: statistics.median(c.cpu_s for c in costs[n]) / packets * 1e9 for n in counts}
    peak = {n: statistics.median(c.peak_bytes for c in costs[n]) for n in counts}
    rows = [{"flows": n, "ns a packet": ns[n], "to 1000 flows": ns[n] / ns[1000], "peak MB": peak[n] / 1e6,
             "bytes a flow": (peak[n] - peak[1000]) / (n - 1000) if n > 1000 else None} for n in counts]
    print(table(["flows", "ns a packet", "to 1000 flows", "peak MB", "bytes a flow"], [list(r.values()) for r in rows]))
    capture = json.loads(subprocess.run(observe(arguments.weir, paths[counts[-1]]), capture_output=True, text=True,
                                        check=True).stdout)["capture"]
    checks.check("every connection of the million was followed", capture["flows_refused"] == 0
                 and capture["flows_evicted"] == 0, f"{capture['flows_refused']} packets refused")
    checks.check(f"<= {AT_MOST_BYTES_A_FLOW} bytes a connection, all memory counted",
                 rows[-1]["bytes a flow"] <= AT_MOST_BYTES_A_FLOW, f"{rows[-1]['bytes a flow']:.0f}")
    factor = statistics.median(b.cpu_s / a.cpu_s for a, b in zip(costs[1000], costs[1_000_000]))
    checks.check(f"a packet among 1 M flows costs <= {AT_MOST_FLOWS_FACTOR:g}x one among 1000",
                 factor <= AT_MOST_FLOWS_FACTOR, f"{factor:.2f}x")
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
    if arguments.only in (None, "programs"):
        rows = bench_programs(arguments, checks)
        write_csv(arguments.out / "programs.csv", rows)
        plot(arguments.out, "programs", rows, "program", "ns a packet", "CPU time of a packet, ns", log=True)
        write_csv(arguments.out / "tcptrace.csv", bench_tcptrace_by_flows(arguments))
    if arguments.only in (None, "flows"):
        rows = bench_flows(arguments, checks)
        write_csv(arguments.out / "flows.csv", rows)
        plot(arguments.out, "flows", rows, "flows", "ns a packet", "CPU time of a packet by connections, ns", log=False)
    print(f"tables and plots: {arguments.out}")
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
