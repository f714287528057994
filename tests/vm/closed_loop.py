#!/usr/bin/python3
"""The whole loop on Debian's own kernel: run it inside the virtual machine (vm.py run -- closed_loop.py CASE).

    site --- gateway (Weir, HTB with fq_codel leaves) --- provider (tbf, 100 ms of buffer) --- far site (netem, 40 ms)

Eight cubic flows press against a capacity that the policy does not know and that changes while they run. The provider's
own counters are the truth. One line a second while it runs, then the figures and a verdict; exit code 1 when a figure
misses its bound.
"""

import argparse
import bisect
import itertools
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

from netlab import Buffer, FarSite, Lab, NetemDelay, Spec, wait_until  # noqa: E402
from netlab.topology import REPLICATION  # noqa: E402

MBIT = 1e6
RTT_MS = 40
BUFFER_MS = 100
FLOWS = 8
SAMPLES_PER_SECOND = 20


@dataclass
class Step:
    """From `at` seconds on the provider carries `rate` bit/s."""
    at: float
    rate: float


@dataclass
class Case:
    duration: float
    steps: list[Step]
    utilisation: float           # at least, over the settled seconds
    queue_p95_ms: float          # at most, over the settled seconds
    settle: list[float] = field(default_factory=list)  # seconds after each step that do not count
    least_queue_p50_ms: float = 0.0

    def rate_at(self, now):
        return self.steps[bisect.bisect_right([step.at for step in self.steps], now) - 1].rate

    def settled(self, now):
        number = bisect.bisect_right([step.at for step in self.steps], now) - 1
        return now >= self.steps[number].at + self.settle[number]


CASES = {
    # What the provider does to traffic that nobody holds back: it fills its buffer and keeps it full. If this case
    # does not see that, the lab is wrong and the other cases prove nothing.
    "baseline": Case(36, [Step(0, 50 * MBIT), Step(12, 22 * MBIT), Step(24, 40 * MBIT)], settle=[3, 3, 3],
                     utilisation=0.97, queue_p95_ms=110, least_queue_p50_ms=60),
}


class QueueWatch:
    """The provider's queue, many times a second: one `tc` that answers lines, since starting one per look would cost
    the emulated CPU more than the traffic does. It ends with its namespace."""

    def __init__(self, namespace, interface):
        self.request = f"qdisc show dev {interface}\n"
        # stdbuf: tc does not flush after each answer by itself.
        self.process = subprocess.Popen(namespace.wrap(["stdbuf", "-oL", "tc", "-s", "-j", "-batch", "-"]),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self):
        self.process.stdin.write(self.request)
        self.process.stdin.flush()
        return next(queue for queue in json.loads(self.process.stdout.readline()) if queue["kind"] == "tbf")


@dataclass
class Sample:
    at: float             # seconds since the first step
    forwarded_bytes: int  # by the provider, since it was set up
    drops: int
    backlog_bytes: int


def start_traffic(lab, seconds):
    """Eight flows from the replication host; returns when they are on their way."""
    server = lab.spawn(lab.far(), "iperf3-server", ["iperf3", "-s", "-1", "--forceflush"])
    wait_until(lambda: "listening" in server.output(), 30, "iperf3 to listen")
    return lab.spawn(lab.site, "iperf3", ["iperf3", "-c", lab.far_site().host(), "-B", REPLICATION, "-C", "cubic",
                                          "-P", str(FLOWS), "-t", str(seconds), "-i", "0", "-J"])


def watch(case, lab, provider):
    """Follows the case's steps and samples the truth while they last."""
    queue = QueueWatch(lab.provider_ns, f"far{lab.far_site().number}")
    pending = case.steps[1:]
    samples = []
    began = time.monotonic()
    for number in itertools.count():
        now = time.monotonic() - began
        if now >= case.duration:
            return samples
        if pending and now >= pending[0].at:
            provider.set_rate(pending.pop(0).rate)
        seen = queue.read()
        samples.append(Sample(now, seen["bytes"], seen["drops"], seen["backlog"]))
        if number % SAMPLES_PER_SECOND == 0:
            tell_progress(case, samples)
        time.sleep(max(0.0, began + (number + 1) / SAMPLES_PER_SECOND - time.monotonic()))


def tell_progress(case, samples):
    now = samples[-1]
    before = samples[max(0, len(samples) - 1 - SAMPLES_PER_SECOND)]
    span = max(now.at - before.at, 1e-9)
    print(f"{now.at:5.1f} s  capacity {case.rate_at(now.at) / MBIT:5.1f}  carried "
          f"{(now.forwarded_bytes - before.forwarded_bytes) * 8 / span / MBIT:5.1f} Mbit/s  queue "
          f"{now.backlog_bytes * 8e3 / case.rate_at(now.at):5.1f} ms  drops {now.drops - before.drops}", flush=True)


def figures(case, samples):
    """Over the settled seconds only: utilisation, the provider's queue in ms, packets it dropped."""
    carried = capacity = drops = 0
    queue_ms = []
    for before, now in itertools.pairwise(samples):
        if case.settled(before.at) and case.rate_at(before.at) == case.rate_at(now.at):
            carried += (now.forwarded_bytes - before.forwarded_bytes) * 8
            capacity += case.rate_at(now.at) * (now.at - before.at)
            drops += now.drops - before.drops
            queue_ms.append(now.backlog_bytes * 8e3 / case.rate_at(now.at))
    queue_ms.sort()
    return {"utilisation": carried / capacity, "queue_p50_ms": statistics.median(queue_ms),
            "queue_p95_ms": queue_ms[len(queue_ms) * 95 // 100], "drops": drops, "seconds": len(queue_ms) /
            SAMPLES_PER_SECOND}


def verdict(case, measured):
    """Every bound with its figure; False when one is missed."""
    bounds = [("utilisation", measured["utilisation"], ">=", case.utilisation),
              ("queue p95, ms", measured["queue_p95_ms"], "<=", case.queue_p95_ms),
              ("queue p50, ms", measured["queue_p50_ms"], ">=", case.least_queue_p50_ms)]
    good = True
    for name, value, relation, bound in bounds:
        holds = value >= bound if relation == ">=" else value <= bound
        good &= holds
        print(f"{'ok' if holds else 'FAILED'}: {name}: {value:.3f} (to be {relation} {bound:g})")
    return good


def run(case):
    provider = Buffer(case.steps[0].rate, BUFFER_MS)
    with Lab(Spec(far=[FarSite(provider=provider, delay=NetemDelay(RTT_MS))])) as lab:
        traffic = start_traffic(lab, case.duration)
        samples = watch(case, lab, provider)
        traffic.wait(60)
    measured = figures(case, samples)
    print(json.dumps(measured))
    return verdict(case, measured)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    return 0 if run(CASES[parser.parse_args().case]) else 1


if __name__ == "__main__":
    sys.exit(main())
