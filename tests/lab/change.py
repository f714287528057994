#!/usr/bin/env python3
"""Changing the policy of a saturated box, forth and back, confirmed or not, with the daemon killed in between: the kernel's
tree is always that of one policy, and not one numbered packet is lost, also of a class that comes and goes.
"""

from __future__ import annotations

import argparse
import sys
import time

from netlab import Lab, wait_until
from netlab.namespace import need_root
from netlab.product import Weir, policy_text
from netlab.report import Checks
from netlab.topology import INTERACTIVE, REST
from netlab.traffic import CS1, Bulk, Stream
from netlab.truth import class_lines, qdiscs

AF41 = 34
SHAPED_MBIT = 40.0
RELOADS = 10
COPIES = "      - {name: copies, match: [{dscp: cs1}], guarantee: 5%, priority: 1}\n      - name: replication\n"


class Scene:
    def __init__(self, lab: Lab, checks: Checks, binary: str | None):
        self.lab, self.checks = lab, checks
        self.before = policy_text(lab, start_mbit=SHAPED_MBIT, ceiling_mbit=SHAPED_MBIT, adapt=False)
        self.after = self.before
        for old, new in (("      - name: replication\n", COPIES), (", {dscp: cs1}]", "]"), ("guarantee: 25%", "guarantee: 30%")):
            assert old in self.after
            self.after = self.after.replace(old, new)
        self.weir = Weir(lab, self.before, binary).start()
        self.tree_before = self.tree()
        self.bulk = Bulk(lab, flows=8, source=REST, port=5201).start()
        self.streams = {"a class that stays": Stream(lab, source=INTERACTIVE, dscp=AF41, pps=1000, size=200),
                        "a class that comes and goes": Stream(lab, source=REST, dscp=CS1, pps=1000, size=200, port=5009)}
        wait_until(lambda: self.weir.api.site(lab.far_site().name)["backlog_bytes"] > 0, 15, "the box to be saturated")

    def tree(self) -> list[str]:
        return class_lines(self.lab.gateway, "wan0") + sorted(
            f"{q['kind']} {q.get('handle')} {q.get('parent', 'root')}" for q in qdiscs(self.lab.gateway, "wan0"))

    def policy(self) -> dict:
        return self.weir.api.json("/v1/status")["policy"]

    def ask(self, verb: str, *arguments: str) -> str:
        """One of the commands; returns what it printed."""
        done = self.weir.command(verb, *arguments, "--socket", str(self.weir.socket), port_options=False)
        self.checks.check(f"weir {verb} {' '.join(a for a in arguments if not a.startswith('/'))}".strip(),
                          done.returncode == 0, (done.stderr or done.stdout).strip().splitlines()[-1])
        return done.stdout

    def stands(self, what: str, wanted: list[str]) -> None:
        found = self.tree()
        self.checks.check(f"{what}: tc shows that tree", found == wanted,
                          "; ".join(sorted(set(found) ^ set(wanted))[:3]))


def check_not_confirmed(scene: Scene) -> list[str]:
    scene.weir.write(scene.after)
    scene.ask("apply", "--confirm", "3s")
    after = scene.tree()
    scene.checks.check("applied: tc shows another tree", after != scene.tree_before and len(after) > len(scene.tree_before))
    wait_until(lambda: scene.policy()["confirm_by"] is None, 15, "the time to be up")
    scene.stands("not confirmed", scene.tree_before)
    scene.checks.check("not confirmed: the status says so", scene.policy()["source"] == "last_good"
                       and "not confirmed" in (scene.policy()["reload_error"] or ""), scene.policy()["reload_error"] or "")
    return after


def check_killed_while_waiting(scene: Scene) -> None:
    scene.ask("apply", "--confirm", "60s")
    scene.weir.kill()
    scene.weir.start()
    scene.stands("killed while it waits", scene.tree_before)


def check_confirmed(scene: Scene, after: list[str]) -> None:
    scene.ask("apply", "--confirm", "60s", "--comment", "a class for copies")
    scene.ask("confirm")
    scene.stands("confirmed", after)
    scene.weir.kill()
    scene.weir.start()
    scene.stands("confirmed, and the daemon killed", after)
    shaper = scene.weir.api.json("/v1/status")["shaper"]
    scene.checks.check("that start wrote nothing", shaper["messages"] == 0, f"{shaper['messages']} messages")
    scene.ask("rollback")
    scene.stands("rolled back", scene.tree_before)
    listed = scene.ask("revisions")
    scene.checks.check("the list says who and why", "a class for copies" in listed and "rolled_back" in listed
                       and "good" in listed, listed.splitlines()[-1])


def check_many_reloads(scene: Scene, after: list[str]) -> None:
    for turn in range(RELOADS):
        number = scene.policy()["revision"]
        scene.weir.write(scene.after if turn % 2 == 0 else scene.before)
        scene.weir.reload()
        wait_until(lambda: scene.policy()["revision"] != number, 15, "the reload")
        time.sleep(0.5)  # traffic under this policy
    scene.stands(f"{RELOADS} reloads, classes and all", scene.tree_before)


def check_no_packet_noticed(scene: Scene) -> None:
    scene.bulk.stop()
    for name, stream in scene.streams.items():
        account = stream.stop()
        scene.checks.check(f"{name}: not one numbered packet is missing",
                           account["missing"] == 0 and account["sent"] == account["received"] > 5_000,
                           f"{account['sent']} sent, {account['missing']} missing, "
                           f"longest silence {account['longest_silence_ms']:.0f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    arguments = parser.parse_args()
    need_root()
    checks = Checks()
    with Lab() as lab:
        scene = Scene(lab, checks, arguments.weir)
        after = check_not_confirmed(scene)
        check_killed_while_waiting(scene)
        check_confirmed(scene, after)
        check_many_reloads(scene, after)
        check_no_packet_noticed(scene)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
