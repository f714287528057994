"""A scenario's loads on real hosts: bulk TCP and UDP by iperf3, short connections, and a measured priority flow.

Each takes the lab and the load's number; its hosts are the load's own (netlab/path.py). Servers are made ready by the
constructor, so that start() costs the load's own time nothing but its handshakes.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Protocol

from .namespace import Process, wait_until
from .path import PathLab
from .traffic import EF, _Probe, listens

FRAME_HEADERS = 42    # Ethernet, IPv4 and UDP
MOST_STREAMS = 128    # of one iperf3
FIRST_PORT = 5200
SHORT_FLOWS = Path(__file__).with_name("short_flows.py")


class Running(Protocol):
    def start(self, seconds: float) -> None: ...
    def stop(self) -> None: ...


class Iperf:
    """TCP flows without end or UDP at a rate; out, or from the far side to ours."""

    def __init__(self, lab: PathLab, number: int):
        self._lab, self._number, self._load = lab, number, lab.loads[number]
        flows, self._parts = self._load["flows"], []
        while flows > 0:
            self._parts.append(min(flows, MOST_STREAMS))
            flows -= self._parts[-1]
        self._servers: list[Process] = []
        self._clients: list[Process] = []
        for i in range(len(self._parts)):
            self._servers.append(lab.spawn(lab.far_namespace(), f"iperf3-server-{self._port(i)}", [
                "iperf3", "-s", "-1", "-i", "0", "-p", str(self._port(i)), "-B", lab.far_host(number)]))
        for i, server in enumerate(self._servers):
            wait_until(lambda: listens(server, self._port(i)), 5, f"iperf3 on port {self._port(i)}")

    def _port(self, part: int) -> int:
        return FIRST_PORT + 10 * self._number + part

    def start(self, seconds: float) -> None:
        load = self._load
        for i, flows in enumerate(self._parts):
            command = ["iperf3", "-c", self._lab.far_host(self._number), "-B", self._lab.near_host(self._number),
                       "-p", str(self._port(i)), "-i", "0", "-t", f"{seconds:.1f}".rstrip("0").rstrip("."),
                       "-P", str(flows)]
            if load["kind"] == "udp":
                command += ["-u", "-b", str(load["rate_bps"]), "-l", str(load["frame"] - FRAME_HEADERS)]
            else:
                command += ["-C", {"newreno": "reno"}.get(load["congestion"], load["congestion"])]
            if load["back"]:
                command.append("-R")
            self._clients.append(self._lab.spawn(self._lab.near_namespace(self._number),
                                                 f"iperf3-client-{self._port(i)}", command))

    def stop(self) -> None:
        """Kills them: what they have to say is not asked."""
        for process in self._clients + self._servers:
            process.signal(signal.SIGKILL)

    def failed(self) -> str | None:
        """What an iperf3 said that has ended for another reason than its time."""
        for client in self._clients:
            if client.returncode() not in (None, 0, -signal.SIGKILL):
                return f"{client.name}: {client.errors() or client.output()[-300:]}"
        return None


class ShortFlows:
    """Connections that each carry so many bytes, one after the other with a pause, in as many places as there are flows."""

    def __init__(self, lab: PathLab, number: int):
        self._lab, self._number, self._load = lab, number, lab.loads[number]
        self._port = FIRST_PORT + 10 * number
        self._server = lab.spawn(lab.far_namespace(), f"short-server-{number}", [
            sys.executable, str(SHORT_FLOWS), "serve", lab.far_host(number), str(self._port)])
        wait_until(lambda: listens(self._server, self._port), 5, "the server of short flows")
        self._client: Process | None = None

    def start(self, seconds: float) -> None:
        load = self._load
        self._client = self._lab.spawn(self._lab.near_namespace(self._number), f"short-flows-{self._number}", [
            sys.executable, str(SHORT_FLOWS), "send", self._lab.far_host(self._number), str(self._port),
            self._lab.near_host(self._number), str(load["flows"]), str(load["bytes"]), repr(load["pause_s"]),
            repr(seconds)])

    def stop(self) -> None:
        for process in (self._client, self._server):
            if process is not None:
                process.signal(signal.SIGKILL)

    def failed(self) -> str | None:
        if self._client is not None and self._client.returncode() not in (None, 0, -signal.SIGKILL):
            return f"{self._client.name}: {self._client.errors()}"
        return None


class Priority:
    """EF requests of the load's frame at its rate, each answered: the round trip without the hosts' own time."""

    def __init__(self, lab: PathLab, number: int):
        load = lab.loads[number]
        port = FIRST_PORT + 10 * number
        self._server = _Probe(lab, lab.far_namespace(), f"answers-{number}", "answer",
                              ["--local", lab.far_host(number), "--port", port, "--dscp", EF])
        self._start = lambda: _Probe(
            lab, lab.near_namespace(number), f"requests-{number}", "request",
            ["--local", lab.near_host(number), "--remote", lab.far_host(number), "--port", port, "--dscp", EF,
             "--interval-ms", repr(load["frame"] * 8e3 / load["rate_bps"]), "--size", load["frame"] - FRAME_HEADERS])
        self._client: _Probe | None = None

    def start(self, seconds: float) -> None:
        self._client = self._start()

    def stop(self) -> None:
        """Nothing is left to do: it ends with the lab, and may be read until then."""

    def failed(self) -> str | None:
        return None

    def score(self, start: float, end: float) -> dict:
        """Delay over the least of the interval, and the share that got no answer: as the simulator's score has them."""
        assert self._client is not None
        seen = self._client.read(start, end)
        rtt = seen["rtt_ms"]
        decided = seen["answered"] + seen["lost"]
        return {"p50_ms": rtt["p50"] - rtt["min"] if seen["answered"] else None,
                "p99_ms": rtt["p99"] - rtt["min"] if seen["answered"] else None,
                "loss": seen["lost"] / decided if decided else 0.0}


def make_load(lab: PathLab, number: int) -> Iperf | ShortFlows | Priority:
    load = lab.loads[number]
    if load["kind"] == "udp" and load["priority"]:
        return Priority(lab, number)
    return ShortFlows(lab, number) if load["kind"] == "tcp" and load["bytes"] > 0 else Iperf(lab, number)
