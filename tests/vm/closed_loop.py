#!/usr/bin/python3
"""The whole loop on Debian's own kernel: run it inside the virtual machine (vm.py run -- closed_loop.py CASE).

    site --- gateway (Weir, HTB with fq_codel leaves) --- provider (100 ms buffer or policer) --- far site (netem, 40 ms)

Eight cubic flows and a priority flow press against a capacity that the policy does not know and that changes while they
run. The provider's own counters are the truth. One line a second while it runs, then the figures against their bounds;
exit code 1 when one is missed.
"""

import argparse
import bisect
import itertools
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

from netlab import Buffer, FarSite, Lab, NetemDelay, Policer, Spec  # noqa: E402
from netlab.product import Weir, policy_text  # noqa: E402
from netlab.report import Checks, write_csv  # noqa: E402
from netlab.topology import REPLICATION, REST  # noqa: E402
from netlab.traffic import Bulk, Hellos, Requests  # noqa: E402
from netlab.truth import QdiscWatch  # noqa: E402

MBIT = 1e6
RTT_MS = 40
BUFFER_MS = 100
FLOWS_PER_CLASS = 4  # in each of two classes: sharing inside the site is part of the scene
SAMPLES_PER_SECOND = 20


@dataclass
class Step:
    """From `at` seconds on the provider carries `rate` bit/s; figures count from `settle` seconds later."""
    at: float
    rate: float
    settle: float


@dataclass
class Case:
    """`start` is Weir's first rate, None: no Weir at all. `band` is how far its rate may be from the truth."""
    duration: float
    steps: list[Step]
    start: float | None
    policer: bool = False
    band: float = 0.10
    utilisation: float = 0.90
    loss: float = 0.005
    queue_p95_ms: float = 20
    extra_ms: float = 10      # EF p99 above its base
    hellos_down: int = 0      # of a BFD-like session through the box

    def step(self, now):
        return self.steps[bisect.bisect_right([step.at for step in self.steps], now) - 1]

    def rate_at(self, now):
        return self.step(now).rate

    def settled(self, now):
        return now >= self.step(now).at + self.step(now).settle


CASES = {
    # What the provider does to traffic that nobody holds back: it fills its buffer and keeps it full. If this case
    # does not see that, the lab is wrong and the other cases prove nothing.
    "baseline": Case(36, [Step(0, 50 * MBIT, 3), Step(12, 22 * MBIT, 3), Step(24, 40 * MBIT, 3)], start=None),
    # The one for every day: twice too much from the start, found; then half of it taken away, followed.
    "halved": Case(40, [Step(0, 40 * MBIT, 10), Step(22, 20 * MBIT, 3)], start=80 * MBIT),
    "from-above": Case(70, [Step(0, 20 * MBIT, 10)], start=80 * MBIT),
    "from-below": Case(80, [Step(0, 20 * MBIT, 20)], start=12 * MBIT),
    "doubled": Case(90, [Step(0, 20 * MBIT, 10), Step(20, 40 * MBIT, 30)], start=30 * MBIT),
    "policer": Case(90, [Step(0, 20 * MBIT, 10), Step(20, 40 * MBIT, 30), Step(75, 20 * MBIT, 3)], start=80 * MBIT,
                    policer=True),
    # As long as the quick case of the namespace lab, which it stands for where the machine cannot measure: 15 s held.
    "policer-quick": Case(65, [Step(0, 20 * MBIT, 10), Step(25, 40 * MBIT, 30), Step(58, 20 * MBIT, 3)], start=80 * MBIT,
                          policer=True),
}


class QueueWatch:
    """The provider's queue, many times a second."""

    def __init__(self, namespace, interface):
        self._qdisc = QdiscWatch(namespace, interface, "tbf")

    def read(self):
        """Bytes and packets forwarded, packets dropped, bytes waiting."""
        queue = self._qdisc.read()
        return queue["bytes"], queue["packets"], queue["drops"], queue["backlog"]


class PolicerWatch:
    """The same of a provider without a queue: its keeper answers lines by itself."""

    def __init__(self, provider):
        self.provider = provider

    def read(self):
        counts = self.provider.read()
        return counts.forwarded_bytes, counts.forwarded_packets, counts.drops, 0


@dataclass
class Sample:
    at: float  # seconds since the first step
    bytes: int
    packets: int
    drops: int
    backlog: int
    shaped: float | None
    state: str | None


def watch(case, lab, provider, api):
    """Follows the case's steps and samples the truth, and what Weir believes, while they last."""
    truth = PolicerWatch(provider) if case.policer else QueueWatch(lab.provider_ns, f"far{lab.far_site().number}")
    pending = case.steps[1:]
    samples, site = [], None
    began = time.monotonic()
    for number in itertools.count():
        now = time.monotonic() - began
        if now >= case.duration:
            return samples, began
        if pending and now >= pending[0].at:
            provider.set_rate(pending.pop(0).rate)
        if api and number % (SAMPLES_PER_SECOND // 4) == 0:
            site = api.site(lab.far_site().name)
        samples.append(Sample(now, *truth.read(), *((site["shaped_bps"], site["state"]) if site else (None, None))))
        if number % SAMPLES_PER_SECOND == 0:
            tell_progress(case, samples, site)
        time.sleep(max(0.0, began + (number + 1) / SAMPLES_PER_SECOND - time.monotonic()))


def tell_progress(case, samples, site):
    now = samples[-1]
    before = samples[max(0, len(samples) - 1 - SAMPLES_PER_SECOND)]
    span = max(now.at - before.at, 1e-9)
    belief = f"  shaped {site['shaped_bps'] / MBIT:5.1f}  {site['state']}: {site['reason']}" if site else ""
    print(f"{now.at:5.1f} s  capacity {case.rate_at(now.at) / MBIT:5.1f}  carried "
          f"{(now.bytes - before.bytes) * 8 / span / MBIT:5.1f}  queue "
          f"{now.backlog * 8e3 / case.rate_at(now.at):5.1f} ms  drops {now.drops - before.drops:3}{belief}", flush=True)


def figures(case, samples):
    """Over the settled seconds only: utilisation, loss, the provider's queue in ms, the shaped rate against the truth."""
    carried = capacity = drops = packets = 0
    queue_ms, error = [], []
    for before, now in itertools.pairwise(samples):
        if case.settled(before.at) and case.rate_at(before.at) == case.rate_at(now.at):
            truth = case.rate_at(now.at)
            carried += (now.bytes - before.bytes) * 8
            capacity += truth * (now.at - before.at)
            drops += now.drops - before.drops
            packets += now.packets - before.packets
            queue_ms.append(now.backlog * 8e3 / truth)
            if now.shaped is not None:
                error.append(now.shaped / truth - 1)
    queue_ms.sort()
    return {"seconds": len(queue_ms) / SAMPLES_PER_SECOND, "utilisation": carried / capacity,
            "loss": drops / (drops + packets), "queue_p50_ms": statistics.median(queue_ms),
            "queue_p95_ms": queue_ms[len(queue_ms) * 95 // 100],
            "lowest_error": min(error, default=None), "highest_error": max(error, default=None),
            "inside": sum(abs(e) <= case.band for e in error) / len(error) if error else None}


def judge_baseline(checks, measured, urgent):
    checks.check("the link is full", measured["utilisation"] >= 0.97, f"{measured['utilisation']:.3f}")
    checks.check("the provider's buffer stays full", 60 <= measured["queue_p50_ms"] <= 110,
                 f"p50 {measured['queue_p50_ms']:.1f} ms, p95 {measured['queue_p95_ms']:.1f} ms")
    extra = urgent["rtt_ms"]["p99"] - RTT_MS
    checks.check("the priority flow waits with all others", extra >= 60, f"p99 {extra:.1f} ms above its base")


def judge(checks, case, measured, urgent, hellos):
    low, high = measured["lowest_error"], measured["highest_error"]
    checks.check(f"shaped within {case.band:.0%} of the truth", measured["inside"] == 1,
                 f"{low:+.1%} to {high:+.1%}, {measured['inside']:.1%} of the time")
    checks.check("utilisation", measured["utilisation"] >= case.utilisation, f"{measured['utilisation']:.3f}")
    checks.check("loss beyond the box", measured["loss"] <= case.loss, f"{measured['loss']:.3%}")
    checks.check("provider's queue", measured["queue_p95_ms"] <= case.queue_p95_ms,
                 f"p50 {measured['queue_p50_ms']:.1f} ms, p95 {measured['queue_p95_ms']:.1f} ms")
    extra = urgent["rtt_ms"]["p99"] - RTT_MS
    checks.check("priority flow", extra <= case.extra_ms, f"p99 {extra:.1f} ms above its base")
    downs = sum(end["down_events"] for end in hellos.values())
    checks.check("routing hellos survive", downs <= case.hellos_down, f"down {downs} times")


def judge_daemon(checks, lab, weir):
    """The leaves are the kernel's fq_codel and nothing is degraded; asked of `tc`, not of Weir alone."""
    queues = lab.gateway.json(["tc", "-j", "qdisc", "show", "dev", "wan0"])
    leaves = [queue["kind"] for queue in queues if queue.get("parent") and queue["kind"] not in ("htb", "clsact")]
    checks.check("every leaf is fq_codel", len(leaves) >= 6 and set(leaves) == {"fq_codel"}, " ".join(leaves))
    status = weir.api.json("/v1/status")
    degraded = status["degraded"] + status["sites"][0]["degraded"]
    checks.check("nothing is degraded", not degraded, json.dumps(degraded))


def last_settled_stretch(case, began):
    """The last step's settled seconds, as instants of time.monotonic()."""
    return began + case.steps[-1].at + case.steps[-1].settle, began + case.duration


def start_weir(lab, case):
    return Weir(lab, policy_text(lab, port_mbit=100, floor_mbit=5, ceiling_mbit=95, start_mbit=case.start / MBIT)).start()


def run(name):
    case, checks = CASES[name], Checks()
    first = case.steps[0].rate
    provider = Policer(first, bucket_ms=10) if case.policer else Buffer(first, BUFFER_MS)
    with Lab(Spec(far=[FarSite(provider=provider, delay=NetemDelay(RTT_MS))])) as lab:
        weir = start_weir(lab, case) if case.start else None
        requests, hellos = Requests(lab), Hellos(lab)
        bulks = [Bulk(lab, flows=FLOWS_PER_CLASS, source=source, port=port, seconds=case.duration + 30, interval=1).start()
                 for source, port in ((REST, 5201), (REPLICATION, 5202))]
        samples, began = watch(case, lab, provider, weir.api if weir else None)
        urgent = requests.read(*last_settled_stretch(case, began))
        alive = hellos.read()
        if weir:
            judge_daemon(checks, lab, weir)
        for bulk in bulks:
            bulk.stop()
    if results := os.environ.get("WEIR_VM_OUT"):
        write_csv(Path(results, f"closed-loop-{name}.csv"),
                  [{**vars(sample), "capacity": case.rate_at(sample.at)} for sample in samples])
    measured = figures(case, samples)
    print(json.dumps({"case": name, **measured, "urgent": urgent, "hellos": alive}))
    if weir:
        judge(checks, case, measured, urgent, alive)
    else:
        judge_baseline(checks, measured, urgent)
    return checks.exit_code()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    return run(parser.parse_args().case)


if __name__ == "__main__":
    sys.exit(main())
