#!/usr/bin/env python3
"""Does what comes from a site, shaped at the LAN port, follow what the provider lets through inwards?

Downloads press against a buffer on the way in whose rate nobody tells Weir, and which changes. With a rate that stands
still above it the buffer is full; with a floor Weir finds the rate, keeps the buffer nearly empty and the path busy,
and follows up and down. A daemon that was killed goes on where it was. The kernel's queue is the truth.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from netlab import Buffer, FarSite, Lab, Spec, wait_until
from netlab.namespace import need_root
from netlab.product import Weir, policy_text
from netlab.report import Checks
from netlab.topology import REST
from netlab.traffic import Bulk
from netlab.truth import QdiscWatch

SITE = "dc-coast"
MBIT = 1e6
HIGHEST, FLOOR, START = 200, 5, 10  # Mbit/s, of the policy
FIRST, SECOND = 40.0, 20.0          # of the path, Mbit/s
BUFFER_MS, RTT_MS, FLOWS = 200, 20, 8
MEASURED_S = 15.0
QUEUE_P95_MS, FULL_MS = 30.0, 120.0  # with Weir following; without
LEAST_USE = 0.85
FOUND_S, FALLEN_S = 40.0, 10.0
NEAR = 0.15
LOOKS_A_SECOND = 20


@dataclass
class Watched:
    """A time of the provider's buffer: what it let through, and how long what arrived had to wait."""
    used: float = 0.0
    waits_ms: list[float] = field(default_factory=list)

    @property
    def p95(self) -> float:
        return statistics.quantiles(self.waits_ms, n=20)[-1]


class Scene:
    def __init__(self, lab: Lab, checks: Checks, binary: str | None):
        self.lab, self.checks = lab, checks
        self.path = Buffer(FIRST * MBIT, BUFFER_MS)
        self.path.start(lab.provider_ns, "cust0", lab.spawn)
        self._queue = QdiscWatch(lab.provider_ns, "cust0", "tbf")
        self.weir = Weir(lab, self.policy(f"{{rate: {HIGHEST}mbit}}"), binary).start()
        self.bulk = Bulk(lab, flows=FLOWS, source=REST, reverse=True).start()

    def policy(self, inbound: str) -> str:
        text = policy_text(self.lab).replace("lan: {interface: lan0}", "lan: {interface: lan0, rate: 1gbit}")
        site = "    policy: replicated-site\n"
        assert site in text
        return text.replace(site, f"{site}    inbound: {inbound}\n", 1)

    def watch(self, seconds: float) -> Watched:
        watched, before = Watched(), self._queue.read()["bytes"]
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            watched.waits_ms.append(self._queue.read()["backlog"] * 8e3 / self.path.rate_bps)
            time.sleep(1 / LOOKS_A_SECOND)
        let_through = self._queue.read()["bytes"] - before
        watched.used = let_through * 8 / (time.monotonic() - began) / self.path.rate_bps
        return watched

    def inbound(self) -> dict:
        return self.weir.api.site(SITE)["inbound"]

    def near(self, mbit: float) -> bool:
        return abs(self.inbound()["shaped_bps"] / (mbit * MBIT) - 1) <= NEAR

    def settle(self, mbit: float, seconds: float) -> float:
        """How long until the rate has come near."""
        began = time.monotonic()
        wait_until(lambda: self.near(mbit), seconds, f"the rate to come near {mbit:g} Mbit/s")
        return time.monotonic() - began

    def check_held(self, what: str) -> None:
        seen = self.watch(MEASURED_S)
        rate = self.inbound()["shaped_bps"] / MBIT
        self.checks.check(f"{what}: the buffer stays nearly empty", seen.p95 <= QUEUE_P95_MS,
                          f"p95 {seen.p95:.1f} ms at {rate:.1f} Mbit/s")
        self.checks.check(f"{what}: and the path busy", seen.used >= LEAST_USE, f"{100 * seen.used:.1f} %")


def check_following(scene: Scene) -> None:
    checks = scene.checks
    stands = scene.watch(5)
    checks.check("a rate that stands still above the path leaves its buffer full", stands.p95 >= FULL_MS,
                 f"p95 {stands.p95:.0f} ms of {BUFFER_MS}")
    checks.check("and it is told as such", not scene.inbound()["adapt"] and scene.near(HIGHEST))
    scene.weir.write(scene.policy(f"{{rate: {HIGHEST}mbit, floor: {FLOOR}mbit, start: {START}mbit}}"))
    scene.weir.reload()
    wait_until(lambda: scene.inbound()["adapt"], 10, "the reload")
    found = scene.settle(FIRST, FOUND_S)
    checks.check("with a floor it finds the path's rate", found <= FOUND_S, f"after {found:.1f} s")
    scene.check_held("found")
    scene.path.set_rate(SECOND * MBIT)
    fell = scene.settle(SECOND, FALLEN_S)
    checks.check("it follows the path down", fell <= FALLEN_S, f"after {fell:.1f} s")
    scene.watch(3)  # what had come too much leaves the buffer
    scene.check_held("fallen")
    site = scene.inbound()
    checks.check("the API tells what the path carries, and why the rate is so",
                 site["capacity"] is not None and abs(site["capacity"]["bps"] / (SECOND * MBIT) - 1) <= NEAR
                 and len(site["reason"]) > 20, f"{site['capacity']}; {site['reason']}")
    events = scene.weir.api.json("/v1/events?limit=200")["events"]
    checks.check("changes are told as inbound ones", any(e["kind"] == "rate_changed" and e["site"] == SITE
                                                         and e["text"].startswith("inbound: ") for e in events))
    outbound = scene.weir.api.site(SITE)
    checks.check("what goes out is left alone", outbound["shaped_bps"] == 300 * MBIT, f"{outbound['shaped_bps']}")


def check_told(scene: Scene) -> None:
    checks, weir = scene.checks, scene.weir
    why = weir.command("why", SITE, "--inbound", "--socket", str(weir.socket), port_options=False)
    checks.check("weir why --inbound tells the last changes", why.returncode == 0
                 and f"{SITE}, inbound: " in why.stdout and " -> " in why.stdout, why.stderr.strip())
    history = weir.api.json(f"/v1/sites/{SITE}/history?seconds=30&direction=inbound")
    checks.check("its history is kept", len(history["shaped_bps"]) >= 20 and min(history["shaped_bps"]) > 0)
    file = Path(weir.socket).parent / "inbound.weirlog"
    recorded = weir.command("record", str(file), "--socket", str(weir.socket), port_options=False)
    replayed = weir.command("replay", str(file), port_options=False)
    text = file.read_text(encoding="utf-8") if recorded.returncode == 0 else ""
    checks.check("it is recorded, and replays to the same decisions", replayed.returncode == 0
                 and f'"{SITE} inbound"' in text and replayed.stdout.splitlines()[-1].endswith(
                     "all decisions as recorded"), (recorded.stderr + replayed.stderr).strip())


def check_killed(scene: Scene) -> None:
    checks = scene.checks
    before = scene.inbound()["shaped_bps"]
    scene.weir.kill()
    scene.weir.start()
    after = scene.inbound()["shaped_bps"]
    checks.check("a daemon that was killed goes on at the rate that stands", abs(after / before - 1) <= 0.1,
                 f"{before / MBIT:.1f} -> {after / MBIT:.1f} Mbit/s")
    scene.check_held("started again")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    arguments = parser.parse_args()
    need_root()
    checks = Checks()
    with Lab(Spec(far=[FarSite(SITE, 20, rtt_ms=RTT_MS)])) as lab:
        scene = Scene(lab, checks, arguments.weir)
        check_following(scene)
        check_told(scene)
        check_killed(scene)
        result = scene.bulk.stop()
        print(json.dumps({"goodput_mbit": round(result.goodput_bps / MBIT, 1), "retransmits": result.retransmits}))
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
