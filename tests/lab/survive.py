#!/usr/bin/env python3
"""Forwarding never depends on the process: killed, stopped, restarted or given a bad file under full load, not one
packet is lost, the kernel's queues stay as they are, and the routing sessions through the box never notice.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time

from netlab import FarSite, Lab, Policer, Spec, wait_until
from netlab.namespace import need_root
from netlab.product import Weir, policy_text
from netlab.report import Checks
from netlab.topology import INTERACTIVE, REPLICATION, REST
from netlab.traffic import Bulk, Hellos, RoutingSession, Stream
from netlab.truth import KernelChanges, class_lines, qdiscs

AF41 = 34
SHAPED_MBIT, PATH_MBIT, NARROW_MBIT = 40.0, 200.0, 25.0
GAP_SHARE = 0.25  # a 100 ms interval with less than this share of the median would be a gap
WATCHED_S = 1.0   # how long the kernel is watched for writes after the daemon says that it is ready


class Scene:
    """A saturated box with everything on it that must not notice."""

    def __init__(self, lab: Lab, checks: Checks, weir_binary: str | None):
        self.lab, self.checks = lab, checks
        self.changes = KernelChanges(lab)
        self.weir = Weir(lab, policy_text(lab, start_mbit=SHAPED_MBIT, ceiling_mbit=SHAPED_MBIT), weir_binary)
        before = self.changes.mark()
        self.weir.start()
        checks.check("the monitors see the first start's writes", len(self.changes.since(before)) > 5,
                     f"{len(self.changes.since(before))} changes announced")
        self.hellos = {"to the provider's router": Hellos(lab),
                       "to the far site": Hellos(lab, across_provider=True, port=4784)}
        self.sessions = {"to the provider's router": RoutingSession(lab),
                         "to the far site": RoutingSession(lab, across_provider=True)}
        self.bulk = Bulk(lab, flows=8, source=REST, port=5201).start()
        # Left with its small guarantee: its own losses make gaps of a round trip, so it is not asked about any.
        self.background = Bulk(lab, flows=4, source=REPLICATION, port=5202).start()
        self.stream = Stream(lab, source=INTERACTIVE, dscp=AF41, pps=1000, size=200)
        self.load_began = time.monotonic()
        wait_until(self._is_saturated, 15, "the box to be saturated")

    def _is_saturated(self) -> bool:
        site = self.weir.api.site(self.lab.far_site().name)
        return site["backlog_bytes"] > 0 and site["sent_bps"] > 0.9e6 * SHAPED_MBIT

    def tree(self) -> list[str]:
        """What `tc` shows of handles, parents and rates; without counters."""
        kinds = sorted(f"{q['kind']} {q.get('handle')} {q.get('parent', 'root')}"
                       for q in qdiscs(self.lab.gateway, "wan0"))
        return kinds + class_lines(self.lab.gateway, "wan0")

    def sent_by_root(self) -> int:
        return next(q["bytes"] for q in qdiscs(self.lab.gateway, "wan0") if q.get("root"))


def restart_and_compare(scene: Scene, how: str, end_it) -> None:
    tree, sent = scene.tree(), scene.sent_by_root()
    mark = scene.changes.mark()
    end_it()
    scene.checks.check(f"{how}: the tree stays without the process", scene.tree() == tree)
    time.sleep(1)  # traffic with nobody at home
    scene.checks.check(f"{how}: packets keep flowing", scene.sent_by_root() > sent + 0.5e6 * SHAPED_MBIT / 8)
    scene.weir.start()
    time.sleep(WATCHED_S)
    scene.checks.check(f"{how}: tc shows the same handles and rates after the restart", scene.tree() == tree)
    written = scene.changes.since(mark)
    scene.checks.check(f"{how}: the kernel announces no change", not written, "; ".join(written[:3]))
    shaper = scene.weir.api.json("/v1/status")["shaper"]
    scene.checks.check(f"{how}: the daemon adopted the tree and wrote nothing",
                       shaper["adopted"] and shaper["messages"] == 0, f"{shaper['messages']} messages")


def check_bad_reload(scene: Scene) -> None:
    tree, mark, good = scene.tree(), scene.changes.mark(), scene.weir.policy
    scene.weir.write(good.replace("guarantee: 25%", "guarantee: 125%").replace("priority: 3", "prioritty: 3"))
    scene.weir.reload()

    def policy() -> dict:
        return scene.weir.api.json("/v1/status")["policy"]

    error = wait_until(lambda: policy()["reload_error"], 5, "the reload to be refused")
    scene.checks.check("a bad file is refused with all its faults", "prioritty" in error and "125" in error,
                       error.splitlines()[0])
    scene.checks.check("a bad file changes nothing", scene.tree() == tree and not scene.changes.since(mark))
    scene.weir.write(good)
    scene.weir.reload()
    wait_until(lambda: policy()["reload_error"] is None, 5, "the good file to be taken")
    scene.checks.check("the same policy again writes nothing", scene.tree() == tree and not scene.changes.since(mark))


def check_good_reload(scene: Scene) -> None:
    handles = [line.split()[2] for line in class_lines(scene.lab.gateway, "wan0")]
    changed = scene.weir.policy.replace("guarantee: 25%", "guarantee: 30%")
    mark = scene.changes.mark()
    scene.weir.write(changed)
    scene.weir.reload()
    wait_until(lambda: scene.changes.since(mark), 5, "the changed class to be written")
    time.sleep(0.5)
    written = scene.changes.since(mark)
    scene.checks.check("a changed guarantee is one class changed", 1 <= len(written) <= 2, f"{len(written)} changes")
    scene.checks.check("a reload keeps every class",
                       handles == [line.split()[2] for line in class_lines(scene.lab.gateway, "wan0")])


def check_no_packet_noticed(scene: Scene) -> None:
    account = scene.stream.stop()
    # Two processors that serve one veth may swap neighbours, with Weir or without.
    swapped = account["reordered"] <= account["sent"] / 1000
    scene.checks.check("not one numbered packet is missing or repeated",
                       account["sent"] == account["received"] and account["repeated"] == 0 and swapped,
                       f"{account['sent']} sent, {account['missing']} missing, {account['repeated']} repeated, "
                       f"{account['reordered']} out of order, longest silence {account['longest_silence_ms']:.0f} ms")
    scene.background.stop()
    intervals = [b for begin, end, b in scene.bulk.stop().received_intervals if end - begin > 0.05]
    whole = intervals[20:-1]  # slow start aside
    median = statistics.median(whole)
    scene.checks.check("iperf3 sees no gap", min(whole) >= GAP_SHARE * median,
                       f"{len(whole)} intervals of 100 ms, median {median / 1000:.0f} kB, least "
                       f"{min(whole) / 1000:.0f} kB")


def check_sessions(scene: Scene, names: list[str], when: str) -> None:
    for name in names:
        hellos, session = scene.hellos[name].read(), scene.sessions[name].read()
        for direction, seen in hellos.items():
            scene.checks.check(f"BFD-like hellos {name}, {direction}, {when}", seen["down_events"] == 0,
                               f"{seen['received']} of {seen['sent']}, longest silence "
                               f"{seen['longest_silence_ms']:.0f} ms, {seen['host_stalls']} stalls of the host")
        scene.checks.check(f"BGP-like session {name} {when}", session["core"]["alive"] and session["peer"]["alive"],
                           f"longest silence {session['core']['longest_silence_ms']:.0f} ms"
                           + session["core"]["death"])


def check_narrowed_path(scene: Scene) -> None:
    """Saturation beyond the box, too: the path suddenly carries less than is shaped, and the rate has to come down."""
    bulk = Bulk(scene.lab, flows=8, source=REST, port=5211).start()
    time.sleep(1)
    scene.lab.provider().set_rate(NARROW_MBIT * 1e6)
    name = scene.lab.far_site().name
    wait_until(lambda: scene.weir.api.site(name)["shaped_bps"] <= 1.1e6 * NARROW_MBIT, 20,
               "the shaped rate to come down")
    time.sleep(3)
    check_sessions(scene, ["to the provider's router"], "after the path narrowed")
    bulk.stop()


def check_recording(scene: Scene) -> None:
    """What the daemon was told and decided meanwhile, run again by a process that has only the file."""
    weir, name = scene.weir, scene.lab.far_site().name
    file = scene.lab.run_dir / "weir.jsonl"
    recorded = weir.command("record", str(file), "--socket", str(weir.socket), port_options=False)
    scene.checks.check("weir record saves the controller's past", recorded.returncode == 0,
                       (recorded.stderr or recorded.stdout).strip())
    replayed = weir.command("replay", str(file), port_options=False)
    decided = replayed.stdout.splitlines()
    scene.checks.check("weir replay decides all of it the same", replayed.returncode == 0
                       and decided[-1].endswith("all decisions as recorded") and len(decided) > 2,
                       (replayed.stderr or decided[-1]).strip())
    why = weir.command("why", name, "--socket", str(weir.socket), port_options=False)
    lines = why.stdout.splitlines()
    last = weir.api.json(f"/v1/sites/{name}/decisions?limit=200")["decisions"]
    changes = [line for line in last if line["from_bps"] != line["to_bps"]]
    scene.checks.check("each change of rate that weir why knows is in the replay", changes
                       and all(any(d["reason"].split(": ", 1)[1] in line for line in decided) for d in changes), f"{len(changes)} changes")
    scene.checks.check("weir why begins with the present", why.returncode == 0 and lines[0].startswith(f"{name}: "),
                       (why.stderr or lines[0]).strip())


def first_decision(weir: Weir, name: str) -> dict:
    return weir.api.json(f"/v1/sites/{name}/decisions?limit=200")["decisions"][0]


def ceilings(lab: Lab) -> list[float]:
    """Of the port's classes, in bit/s, as `tc` prints them."""
    scale = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}
    found = (re.search(r"ceil (\d+)([KMG]?)bit", line) for line in class_lines(lab.gateway, "wan0"))
    return [float(match[1]) * scale[match[2]] for match in found if match]


def check_memory(scene: Scene) -> None:
    """What was measured outlives the daemon: beside the tree, and where the tree went with the machine."""
    weir, lab, name = scene.weir, scene.lab, scene.lab.far_site().name
    file = lab.run_dir / "library" / "sites.json"
    before = weir.api.site(name)
    weir.stop()
    scene.checks.check("a clean end leaves what is known of the sites", file.exists() and name in file.read_text(),
                       f"{file.stat().st_size} bytes" if file.exists() else "no file")
    weir.start()
    site, first = weir.api.site(name), first_decision(weir, name)
    scene.checks.check("with the tree there the rate is the kernel's", abs(site["shaped_bps"] - before["shaped_bps"]) <= 8
                       and "as it stood in the kernel; " in first["reason"], first["reason"])
    known = before["capacity"]["bps"]
    scene.checks.check("and the capacity is known from the start", site["capacity"] is not None
                       and abs(site["capacity"]["bps"] / known - 1) < 0.01,
                       f"{known / 1e6:.2f} Mbit/s before, now {site['capacity']}")

    weir.kill()
    cleared = weir.command("clear", str(weir.config))
    scene.checks.check("the tree is gone as after a boot", cleared.returncode == 0 and not class_lines(lab.gateway, "wan0"),
                       cleared.stderr.strip())
    weir.start()
    first, wanted = first_decision(weir, name), 0.95 * known
    scene.checks.check("without the tree the start is 0.95 of the known capacity",
                       abs(first["to_bps"] / wanted - 1) < 0.01 and "0.95 of the " in first["reason"], first["reason"])
    scene.checks.check("tc has that rate", any(abs(c / wanted - 1) < 0.01 for c in ceilings(lab)),
                       f"{wanted / 1e6:.2f} among {', '.join(f'{c / 1e6:.2f}' for c in ceilings(lab))} Mbit/s")
    check_recording_begins_with_memory(scene)

    weir.kill()
    file.write_bytes(file.read_bytes()[:-20])
    weir.command("clear", str(weir.config))
    weir.start()
    first = first_decision(weir, name)
    told = [e for e in weir.api.json("/v1/events?since=0&limit=1000")["events"] if e["kind"] == "memory_ignored"]
    scene.checks.check("a file that was cut off is told and ignored", len(told) == 1 and str(file) in told[0]["text"]
                       and first["to_bps"] == 1e6 * SHAPED_MBIT, f"{first['reason']}; {told[0]['text'] if told else ''}")


def check_recording_begins_with_memory(scene: Scene) -> None:
    weir, file = scene.weir, scene.lab.run_dir / "restarted.jsonl"
    wait_until(lambda: weir.api.json("/v1/status")["capture"]["ticks"] >= 20, 10, "two seconds of decisions")
    weir.command("record", str(file), "--socket", str(weir.socket), port_options=False)
    replayed = weir.command("replay", str(file), port_options=False)
    starts = [line for line in file.read_text().splitlines() if '"start":' in line]
    scene.checks.check("its recording begins with what was known, and replays to the same", replayed.returncode == 0
                       and len(starts) == 1 and '"from":"memory","memory":{' in starts[0],
                       (replayed.stderr or replayed.stdout.splitlines()[-1]).strip())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", help="the binary (default: $WEIR_BIN or the newest build)")
    parser.add_argument("--rtt", type=float, default=30, help="ms")
    arguments = parser.parse_args()
    need_root()
    checks = Checks()
    provider = Policer(PATH_MBIT * 1e6, bucket_ms=20)
    with Lab(Spec(far=[FarSite(provider=provider, rtt_ms=arguments.rtt)])) as lab:
        scene = Scene(lab, checks, arguments.weir)
        restart_and_compare(scene, "kill -9", scene.weir.kill)
        restart_and_compare(scene, "SIGTERM", scene.weir.stop)
        check_bad_reload(scene)
        check_good_reload(scene)
        check_no_packet_noticed(scene)
        checks.check("the provider dropped nothing", provider.read().drops == 0)
        check_sessions(scene, list(scene.hellos), "under full load")
        check_narrowed_path(scene)
        check_recording(scene)
        check_memory(scene)
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
