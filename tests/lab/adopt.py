#!/usr/bin/env python3
"""The command line and the kernel: apply --once, plan, clear, a daemon that adopts, and what is not ours left alone."""

from __future__ import annotations

import argparse
import sys
import time

from netlab import Lab, wait_until
from netlab.namespace import need_root
from netlab.product import Weir, policy_text
from netlab.report import Checks
from netlab.truth import KernelChanges, class_lines, qdiscs

START_MBIT = 40.0


def root_kind(lab: Lab) -> str:
    return next(q["kind"] for q in qdiscs(lab.gateway, "wan0") if q.get("root"))


def filters(lab: Lab, interface: str) -> str:
    return lab.gateway.run(["tc", "filter", "show", "dev", interface, "egress"], check=False).stdout


def check_bad_file(checks: Checks, weir: Weir, changes: KernelChanges) -> None:
    good, mark = weir.policy, changes.mark()
    weir.write(good.replace("floor: 10mbit", "floor: 10mbot").replace("policies:", "polices:"))
    done = weir.command("apply", str(weir.config), "--once")
    checks.check("a bad file: exit 1, each fault with its line", done.returncode == 1 and "10mbot" in done.stderr
                 and "polices" in done.stderr and f"{weir.config.name}:" in done.stderr, done.stderr.splitlines()[0])
    checks.check("a bad file: nothing touched", not changes.since(mark))
    weir.write(good)


def check_plan_and_apply(checks: Checks, weir: Weir, changes: KernelChanges) -> None:
    lab, mark = weir.lab, changes.mark()
    planned = weir.command("plan", str(weir.config))
    as_tc = weir.command("plan", str(weir.config), "--tc")
    checks.check("plan lists what it would do", planned.returncode == 0 and "voice" in planned.stdout
                 or "class" in planned.stdout, f"{len(planned.stdout.splitlines())} lines")
    tc_lines = [line for line in as_tc.stdout.splitlines() if line.startswith("tc ")]
    checks.check("plan --tc speaks tc", any("htb" in line for line in tc_lines), f"{len(tc_lines)} commands")
    checks.check("plan writes nothing", not changes.since(mark) and root_kind(lab) == "noqueue")
    done = weir.command("apply", str(weir.config), "--once")
    checks.check("apply --once programs the tree", done.returncode == 0 and root_kind(lab) == "htb",
                 (done.stderr or done.stdout).strip().splitlines()[-1])
    rates = " ".join(class_lines(lab.gateway, "wan0"))
    checks.check("the site's class has the start rate", f"ceil {START_MBIT:g}Mbit" in rates)
    checks.check("the classifier is on the port", "bpf" in filters(lab, "wan0"))
    mark = changes.mark()
    again = weir.command("apply", str(weir.config), "--once")
    checks.check("a second apply writes nothing", again.returncode == 0 and not changes.since(mark),
                 again.stdout.strip())
    empty = weir.command("plan", str(weir.config))
    said = empty.stdout.strip().splitlines()
    checks.check("nothing is left to plan", empty.returncode == 0 and len(said) == 2 and "nothing to change" in said[0]
                 and said[1].startswith("in all "), "; ".join(said))


def check_daemon_adopts(checks: Checks, weir: Weir, changes: KernelChanges) -> None:
    lab, mark = weir.lab, changes.mark()
    tree = class_lines(lab.gateway, "wan0")
    weir.start()
    time.sleep(0.5)
    shaper = weir.api.json("/v1/status")["shaper"]
    checks.check("the daemon adopts what apply --once left", shaper["adopted"] and shaper["messages"] == 0,
                 f"{shaper['messages']} messages")
    written = changes.since(mark)
    checks.check("and writes nothing", not written and tree == class_lines(lab.gateway, "wan0"),
                 "; ".join(written[:3]))
    refused = weir.command("apply", str(weir.config), "--once")
    checks.check("apply beside a running daemon is refused", refused.returncode != 0, refused.stderr.strip())
    seen = weir.command("plan", str(weir.config))
    checks.check("plan looks on beside it", seen.returncode == 0 and "nothing to change" in seen.stdout,
                 (seen.stderr or seen.stdout).strip())
    status = weir.command("status", "--json", "--socket", str(weir.socket), port_options=False)
    checks.check("status --json is the API's document", status.returncode == 0 and '"dc-coast"' in status.stdout)
    lab.gateway.run(["tc", "qdisc", "delete", "dev", "wan0", "root"])
    began = time.monotonic()
    wait_until(lambda: root_kind(lab) == "htb", 10, "the deleted tree to come back")
    checks.check("a tree that somebody deleted is back within 2 s", time.monotonic() - began <= 2,
                 f"{time.monotonic() - began:.1f} s")
    checks.check("and it is the same tree", wait_until(lambda: tree == class_lines(lab.gateway, "wan0"), 2,
                                                       "the whole tree") is True)
    weir.stop()
    checks.check("SIGTERM leaves the shaping in place", root_kind(lab) == "htb")


def check_clear(checks: Checks, weir: Weir) -> None:
    lab = weir.lab
    lab.gateway.run(["tc", "qdisc", "add", "dev", "lan0", "clsact"])  # somebody else's, next door
    done = weir.command("clear", str(weir.config))
    checks.check("clear removes the tree and the classifier", done.returncode == 0 and root_kind(lab) == "noqueue"
                 and "bpf" not in filters(lab, "wan0"), (done.stderr or done.stdout).strip())
    checks.check("clear leaves other interfaces alone",
                 "clsact" in [q["kind"] for q in qdiscs(lab.gateway, "lan0")])
    pins = list(lab.bpf_dir.glob("weir/*/*"))
    checks.check("clear leaves no pins behind", not pins, " ".join(map(str, pins)))
    again = weir.command("clear", str(weir.config))
    checks.check("clearing twice is no error", again.returncode == 0, again.stderr.strip())


def check_foreign_root(checks: Checks, weir: Weir) -> None:
    lab = weir.lab
    lab.gateway.run(["tc", "qdisc", "add", "dev", "wan0", "root", "handle", "77:", "tbf", "rate", "100mbit", "burst",
                     "20k", "limit", "1m"])
    refused = weir.command("apply", str(weir.config), "--once")
    checks.check("a foreign root qdisc is refused and named", refused.returncode != 0 and "tbf" in refused.stderr,
                 refused.stderr.strip())
    untouched = weir.command("clear", str(weir.config))
    checks.check("clear does not take a foreign root qdisc", root_kind(lab) == "tbf", untouched.stderr.strip())
    taken = weir.command("apply", str(weir.config), "--once", "--replace")
    checks.check("--replace takes the port", taken.returncode == 0 and root_kind(lab) == "htb", taken.stderr.strip())
    weir.command("clear", str(weir.config))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    arguments = parser.parse_args()
    need_root()
    checks = Checks()
    with Lab() as lab:
        changes = KernelChanges(lab)
        weir = Weir(lab, policy_text(lab, start_mbit=START_MBIT), arguments.weir)
        check_bad_file(checks, weir, changes)
        check_plan_and_apply(checks, weir, changes)
        check_daemon_adopts(checks, weir, changes)
        check_clear(checks, weir)
        check_foreign_root(checks, weir)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
