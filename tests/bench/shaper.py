#!/usr/bin/env python3
"""What a policy of many classes costs the shaper, beside `tc -batch` with the same tree, each in namespaces of its own.

For each size, in turns: Weir from nothing, the same again, with one subnet changed, all rates changed, one site's rate
changed; tc from nothing with the commands that `weir plan --tc` prints, and all its rates changed. Medians of the runs.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

from netlab.namespace import LabError, Namespace, need_root, new_run_name, reap_leftovers, remove_run_directory  # noqa: E402
from netlab.report import table, write_csv, write_json  # noqa: E402
from netlab.tools import built, weir_binary  # noqa: E402

SITES = 200
PER_SUBNET_KBIT, PORT_MBIT = 16, 10_000


def policy_text(classes: int, moved: bool = False) -> str:
    """A class for each subnet, over SITES sites or as many as there are classes for; `moved`: one subnet is another."""
    sites = min(SITES, max(1, classes // 10))
    lines = [f"wan: {{interface: wan0, rate: {PORT_MBIT}mbit}}", "sites:"]
    number = 0
    for site in range(sites):
        count = classes // sites + (1 if site < classes % sites else 0)
        subnets = [f"{ipaddress.ip_address((10 << 24) + (number + i) * 64)}/26" for i in range(count)]
        number += count
        if moved and site == 0:
            subnets[-1] = "172.16.0.0/26"
        floor = max(1.0, (count + 1) * PER_SUBNET_KBIT / 1000 * 1.2)
        lines.append(f"  - {{name: s{site}, subnets: [{', '.join(subnets)}], "
                     f"each_subnet: {{guarantee: {PER_SUBNET_KBIT}kbit, ceiling: 50%}}, "
                     f"rate: {{floor: {floor:.3f}mbit, ceiling: {PORT_MBIT}mbit, start: {2 * floor:.3f}mbit}}}}")
    return "\n".join(lines) + "\n"


class Port:
    """A namespace with wan0, and folders for what the shaper keeps."""

    def __init__(self) -> None:
        self.name = new_run_name()
        self.namespace = Namespace(self.name)
        self.folder = Path("/run") / self.name

    def __enter__(self) -> "Port":
        self.namespace.create()
        self.namespace.ip("link add wan0 type veth peer name far0\nlink set wan0 up\nlink set far0 up\n")
        bpf = self.folder / "bpf"
        bpf.mkdir(parents=True)
        subprocess.run(["mount", "-t", "bpf", "bpf", str(bpf)], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.namespace.delete()
        remove_run_directory(self.folder)

    @property
    def options(self) -> list[str]:
        return ["--state-dir", str(self.folder / "state"), "--bpf-dir", str(self.folder / "bpf/weir")]

    def timed(self, command: list[str], **keywords: object) -> tuple[dict[str, float], str]:
        """Runs it there: wall, user and system time of the process, and what it printed."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        done = subprocess.run(self.namespace.wrap(command), capture_output=True, text=True, check=False, **keywords)
        wall = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            raise LabError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-500:]}")
        return {"wall_s": wall, "user_s": after.ru_utime - before.ru_utime,
                "system_s": after.ru_stime - before.ru_stime}, done.stdout


def tc_batch(port: Port, policy: Path) -> str:
    """The tree alone, as tc's own commands: classification is not what is compared."""
    _, printed = port.timed([str(weir_binary()), "plan", str(policy), "--tc", *port.options])
    lines = [line.removeprefix("tc ") for line in printed.splitlines()
             if line.startswith("tc ") and "clsact" not in line and " filter " not in line]
    return "\n".join(lines) + "\n"


def changed_rates(batch: str) -> str:
    """`class change` for each class with 0.97 of its rate and ceiling."""
    def scaled(match: re.Match[str]) -> str:
        return f"{match[1]} {int(float(match[2]) * 0.97)}{match[3]}"
    classes = [line.replace("class add", "class change") for line in batch.splitlines() if line.startswith("class add")]
    return "\n".join(re.sub(r"\b(rate|ceil) (\d+)(\w+)", scaled, line) for line in classes) + "\n"


def weir_run(policy: Path, other: Path) -> dict:
    with Port() as port:
        _, printed = port.timed([str(built("bench/bench_shaper")), str(policy), "--other", str(other), *port.options])
        return json.loads(printed)


def tc_run(policy: Path, folder: Path) -> dict:
    with Port() as port:
        batch = tc_batch(port, policy)
        create, change = folder / "create.tc", folder / "change.tc"
        create.write_text(batch)
        change.write_text(changed_rates(batch))
        out = {"commands": len(batch.splitlines())}
        out["from_nothing"], _ = port.timed(["tc", "-batch", str(create)])
        out["all_rates"], _ = port.timed(["tc", "-batch", str(change)])
        return out


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(classes: int, runs: int) -> dict:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy, other = folder / "policy.yaml", folder / "other.yaml"
        policy.write_text(policy_text(classes))
        other.write_text(policy_text(classes, moved=True))
        weir, tc = [], []
        for _ in range(runs):
            weir.append(weir_run(policy, other))
            tc.append(tc_run(policy, folder))

    def median(results: list[dict], *path: str) -> float:
        def of(result: dict) -> float:
            for key in path:
                result = result[key]
            return float(result)
        return statistics.median(of(result) for result in results)

    rates = [r["wall_s"] for result in weir for r in result["all_rates"]]
    one_site = [t for result in weir for t in result["one_site_s"]]
    return {
        "classes": classes,
        "weir_nothing_s": median(weir, "from_nothing", "wall_s"), "weir_nothing_user_s": median(weir, "from_nothing", "user_s"),
        "tc_nothing_s": median(tc, "from_nothing", "wall_s"), "tc_nothing_user_s": median(tc, "from_nothing", "user_s"),
        "nothing_messages": median(weir, "from_nothing", "messages"),
        "again_s": median(weir, "the_same_again", "wall_s"), "again_messages": median(weir, "the_same_again", "messages"),
        "one_subnet_s": statistics.median(r["wall_s"] for result in weir for r in result["one_subnet"]),
        "one_subnet_messages": median(weir, "messages_of_one_subnet"),
        "weir_rates_ms": 1000 * statistics.median(rates), "tc_rates_ms": 1000 * median(tc, "all_rates", "wall_s"),
        "one_site_p50_ms": 1000 * percentile(one_site, 0.5), "one_site_p99_ms": 1000 * percentile(one_site, 0.99),
        "counters_p50_ms": 1000 * percentile([t for r in weir for t in r["site_counters_s"]], 0.5),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", default="10,100,1000,10000", help="sizes, comma between (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of each, in turns (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder for shaper.csv and shaper.json")
    arguments = parser.parse_args()
    need_root()
    reap_leftovers()
    rows = []
    for classes in (int(n) for n in arguments.classes.split(",")):
        rows.append(measure(classes, arguments.runs))
        print(f"  {classes} classes measured", file=sys.stderr)
    print(table(list(rows[0]), [[f"{v:.4g}" for v in row.values()] for row in rows]))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_csv(arguments.out / "shaper.csv", rows)
        write_json(arguments.out / "shaper.json", {"rows": rows, "kernel": os.uname().release})
    return 0


if __name__ == "__main__":
    sys.exit(main())
