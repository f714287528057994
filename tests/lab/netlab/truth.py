"""What the kernels know: the senders' TCP counters and the queues' own statistics."""

from __future__ import annotations

from .namespace import Namespace


def tcp_counters(namespace: Namespace) -> dict[str, int]:
    """Every counter of /proc/net/snmp and /proc/net/netstat as nstat names them: TcpRetransSegs, TcpExtTCPTimeouts..."""
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


def qdiscs(namespace: Namespace, interface: str) -> list[dict]:
    """`tc -s -j qdisc show`."""
    return list(namespace.json(["tc", "-s", "-j", "qdisc", "show", "dev", interface]))


def classes(namespace: Namespace, interface: str) -> list[dict]:
    """`tc -s -j class show`; this iproute2 prints HTB's options as text only, so rates come from class_lines()."""
    return list(namespace.json(["tc", "-s", "-j", "class", "show", "dev", interface]))


def class_lines(namespace: Namespace, interface: str) -> list[str]:
    """One line per class with its handle, parent, leaf and rates, sorted: equal before and after means untouched."""
    return sorted(namespace.run(["tc", "class", "show", "dev", interface]).stdout.splitlines())


def interface_counters(namespace: Namespace, interface: str) -> dict:
    """`ip -s link`: {"rx": {...}, "tx": {...}}."""
    return namespace.json(["ip", "-s", "-j", "link", "show", "dev", interface])[0]["stats64"]
