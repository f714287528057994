#!/usr/bin/env python3
"""Is the lab itself to be trusted? Capacity, loss, delay and clean-up against what was asked of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from netlab import Buffer, FarSite, Lab, Policer, WireDelay, Spec, reap_leftovers, wait_until
from netlab.namespace import NETNS_DIR, PREFIX, RUN_DIR, need_root
from netlab.report import Checks
from netlab.topology import REST, REST6
from netlab.traffic import Bulk, Hellos, Requests, RoutingSession, Stream, cpu_seconds

FULL_PAYLOAD = 1472  # UDP payload of a full frame: 1514 bytes from the Ethernet header on


def rate_of(provider: Policer | Buffer, seconds: float) -> float:
    """Charged bits a second that the provider forwarded over a stretch of time."""
    before, begin = provider.read(), time.monotonic()
    time.sleep(seconds)
    after, end = provider.read(), time.monotonic()
    return after.since(before).forwarded_bytes * 8 / (end - begin)


def check_capacity(checks: Checks, provider: Policer | Buffer, what: str, short_of: float) -> None:
    """Twice the rate is offered: exactly the rate must come out, before and after a hidden change. It may be missed
    from below by `short_of`, for a queue's timer that a busy host serves late."""
    with Lab(Spec(far=[FarSite(provider=provider)])) as lab:
        stream = Stream(lab, pps=2 * 40e6 / 8 / 1514, size=FULL_PAYLOAD)
        time.sleep(1)  # a full bucket or an empty buffer comes on top: let it pass
        for target in (20e6, 40e6):
            provider.set_rate(target)
            time.sleep(0.5)
            measured = rate_of(provider, 3)
            checks.check(f"{what}: {target / 1e6:g} Mbit/s", -short_of <= measured / target - 1 <= 0.005,
                         f"{measured / 1e6:.3f} Mbit/s, {measured / target - 1:+.2%}")
        account, truth = stream.stop(), provider.read()
        missing = account["sent"] - account["received"] - account["refused"]
        # The port's own multicast announcements may fall victim, too: not ours, but counted.
        checks.check(f"{what}: every missing packet is a drop it counted", missing <= truth.drops <= missing + 5,
                     f"{missing} missing, {truth.drops} counted, {account['refused']} refused by the sender's host")


def check_loss(checks: Checks) -> None:
    for loss, burst in ((0.01, 1.0), (0.02, 10.0)):
        provider = Policer(loss=loss, loss_burst=burst, seed=7)
        with Lab(Spec(far=[FarSite(provider=provider)])) as lab:
            stream = Stream(lab, pps=20_000, size=64)
            time.sleep(5)
            stream.stop()
            truth = provider.read()
            # Four standard deviations of the mean; a run of losses counts as one event.
            spread = 4 * (loss * (2 * burst - 1) / truth.offered_packets) ** 0.5
            checks.check(f"random loss {loss:.0%} in runs of {burst:g}", abs(truth.loss - loss) <= spread,
                         f"{truth.loss:.3%} of {truth.offered_packets}, tolerance {spread:.3%}")


def check_delay(checks: Checks) -> None:
    with Lab(Spec(far=[FarSite(rtt_ms=30)])) as lab:
        for source in (REST, REST6):
            requests = Requests(lab, source=source)
            begin = time.monotonic()
            time.sleep(3)
            rtt = requests.read(begin, time.monotonic())["rtt_ms"]
            requests.stop()
            checks.check(f"wire: 30 ms of delay from {source}", 30.0 <= rtt["min"] and rtt["p50"] <= 31.0,
                         f"min {rtt['min']:.2f}, p50 {rtt['p50']:.2f}, p99 {rtt['p99']:.2f} ms")
        wire = lab.delay()
        assert isinstance(wire, WireDelay)
        before, begin = wire.read()["back"], time.monotonic()
        bulk = Bulk(lab, udp_bps=200e6, size=FULL_PAYLOAD, reverse=True, interval=1).start()
        cpu_before, bulk_begin = cpu_seconds(wire.pid), time.monotonic()
        time.sleep(5)
        cpu = (cpu_seconds(wire.pid) - cpu_before) / (time.monotonic() - bulk_begin)
        result = bulk.stop()
        after, seconds = wire.read()["back"], time.monotonic() - begin
        lost = sum(after[k] - before[k] for k in ("refused", "overrun", "oversized"))
        checks.check("wire: 100 Mbit/s and more of full frames without a drop",
                     result.received_bytes * 8 / 5 >= 100e6 and lost == 0,
                     f"{result.goodput_bps / 1e6:.0f} Mbit/s for {seconds:.1f} s, {lost} lost, {cpu:.0%} of a core")


def check_sessions_notice(checks: Checks) -> None:
    """A probe that could not fail would prove nothing: the link is cut, and both sessions must say so."""
    with Lab() as lab:
        hellos, session = Hellos(lab), RoutingSession(lab)
        time.sleep(1)
        checks.check("hellos and session are up on a clear path",
                     hellos.read()["outbound"]["down_events"] == 0 and session.read()["core"]["alive"])
        lab.gateway.ip("link set wan0 down\n")
        time.sleep(0.4)
        checks.check("hellos notice a cut of 0.4 s", hellos.read()["outbound"]["down_events"] == 1)
        wait_until(lambda: not session.read()["core"]["alive"], 6, "the session's hold timer")
        checks.check("the session notices within its hold time", "hold" in session.read()["core"]["death"],
                     session.read()["core"]["death"])


def leftovers_of(pid: int) -> list[str]:
    directories = [d for d in (NETNS_DIR, RUN_DIR) if d.is_dir()]
    return [p.name for d in directories for p in d.iterdir() if p.name.startswith(f"{PREFIX}-{pid}-")]


def check_clean_up(checks: Checks) -> None:
    """Whichever way a run ends, nothing stays; a run killed outright is tidied away by the next one."""
    script = ("from netlab import *\nimport time\n"
              "with Lab(Spec(far=[FarSite(provider=Policer(45e6), rtt_ms=10)])) as lab:\n"
              "    print('up', flush=True)\n    time.sleep(60)\n")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                 cwd=Path(__file__).parent)
        assert child.stdout and child.stdout.readline() == b"up\n"
        child.send_signal(number)
        child.wait(20)
        child.stdout.close()
        if number == signal.SIGKILL:
            reap_leftovers()
        left = leftovers_of(child.pid)
        checks.check(f"nothing left behind after {number.name}", not left, " ".join(left))


def main() -> int:
    need_root()
    checks = Checks()
    check_capacity(checks, Policer(20e6, bucket_ms=50), "policer", 0.005)
    check_capacity(checks, Buffer(20e6, buffer_ms=100), "buffer", 0.015)
    check_loss(checks)
    check_delay(checks)
    check_sessions_notice(checks)
    check_clean_up(checks)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
