"""What the kernels know: the senders' TCP counters and the queues' own statistics."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

from .namespace import Namespace, wait_until
from .topology import Lab


def tcp_counters(namespace: Namespace) -> dict[str, int]:
    """Every counter of /proc/net/snmp and /proc/net/netstat by nstat's names: TcpRetransSegs, TcpExtTCPTimeouts..."""
    text = namespace.run(["cat", "/proc/net/snmp", "/proc/net/netstat"]).stdout
    counters: dict[str, int] = {}
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2]):
        group = names.split(":", 1)[0]
        for name, value in zip(names.split()[1:], values.split()[1:]):
            counters[group + name] = int(value)
    return counters


def difference(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {name: value - before.get(name, 0) for name, value in after.items()}


def wait_for_quiet(lab: Lab, patience: float = 30) -> None:
    """Until the closed flows' last retransmissions are over: the sender's counters stand still for a second."""
    seen: list[int] = []

    def still() -> bool:
        seen.append(tcp_counters(lab.site)["TcpOutSegs"])
        return len(seen) >= 2 and seen[-1] == seen[-2]

    wait_until(still, patience, "the senders to fall silent", every=1.0)


def sum_of_classes(segments: dict[str, int]) -> int:
    """Of Weir's classes of segments: what the sending kernel counts as retransmitted, whatever became of it."""
    return sum(segments[k] for k in ("retransmitted", "spurious", "hole_fill", "syn_retransmitted",
                                     "fin_retransmitted"))


def settled_packets(read: Callable[[], dict[str, int]]) -> dict[str, int]:
    """What `read` counts by class, once the traffic before has said its last word: nothing moves any more but control."""
    def still() -> dict[str, int] | None:
        before = read()
        time.sleep(0.1)
        after = read()
        return after if all(after[name] == before[name] for name in after if name != "control") else None
    return wait_until(still, 10, "the classes to fall silent")


def qdiscs(namespace: Namespace, interface: str) -> list[dict]:
    """`tc -s -j qdisc show`."""
    return list(namespace.json(["tc", "-s", "-j", "qdisc", "show", "dev", interface]))


class QdiscWatch:
    """The same, many times a second: one `tc` that answers lines, since starting one per look costs more than the traffic
    does on a slow machine. It ends with its namespace."""

    def __init__(self, namespace: Namespace, interface: str, kind: str):
        self._request, self._kind = f"qdisc show dev {interface}\n", kind
        # stdbuf: tc does not flush after each answer by itself.
        self._tc = subprocess.Popen(namespace.wrap(["stdbuf", "-oL", "tc", "-s", "-j", "-batch", "-"]),
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self) -> dict:
        """The first qdisc of the kind."""
        assert self._tc.stdin and self._tc.stdout
        self._tc.stdin.write(self._request)
        self._tc.stdin.flush()
        return next(q for q in json.loads(self._tc.stdout.readline()) if q["kind"] == self._kind)


def classes(namespace: Namespace, interface: str) -> list[dict]:
    """`tc -s -j class show`; this iproute2 prints HTB's options as text only, so rates come from class_lines()."""
    return list(namespace.json(["tc", "-s", "-j", "class", "show", "dev", interface]))


def class_lines(namespace: Namespace, interface: str) -> list[str]:
    """One line per class with its handle, parent, leaf and rates, sorted: equal before and after means untouched."""
    return sorted(namespace.run(["tc", "class", "show", "dev", interface]).stdout.splitlines())


def interface_counters(namespace: Namespace, interface: str) -> dict:
    """`ip -s link`: {"rx": {...}, "tx": {...}}."""
    return namespace.json(["ip", "-s", "-j", "link", "show", "dev", interface])[0]["stats64"]


class KernelChanges:
    """Every change of qdiscs, classes, filters, addresses and routes in the gateway, as the kernel announces it.

    Not of links: a tap that is opened is announced as a link whose count of listeners changed, which nobody wrote.
    """

    def __init__(self, lab: Lab):
        self._lab = lab
        self._monitors = [lab.spawn(lab.gateway, "tc-monitor", ["tc", "monitor"]),
                          lab.spawn(lab.gateway, "ip-monitor", ["ip", "monitor", "address", "route", "rule"])]
        wait_until(self._hears, 10, "the monitors to listen")

    def mark(self) -> tuple[int, int]:
        """A place in the record, for since()."""
        return tuple(len(m.output().splitlines()) for m in self._monitors)  # type: ignore[return-value]

    def since(self, mark: tuple[int, int]) -> list[str]:
        return [line for monitor, seen in zip(self._monitors, mark) for line in monitor.output().splitlines()[seen:]]

    def _hears(self) -> bool:
        """Makes a change of the lab's own, on a link nobody cares for, and looks for it in both records."""
        self._lab.gateway.ip("link add heard type veth peer name heard-too\nlink set heard up\n"
                             "address add 192.0.2.1/32 dev heard\n")
        self._lab.gateway.run(["tc", "qdisc", "add", "dev", "heard", "root", "bfifo"])
        self._lab.gateway.ip("link delete heard\n")
        return all("heard" in monitor.output() for monitor in self._monitors)
