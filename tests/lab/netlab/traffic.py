"""Traffic through the lab: bulk TCP and UDP by iperf3, and the small measured flows of lab_probe.

Whatever takes `start` and `end` takes instants of time.monotonic(), the clock that lab_probe keeps, too.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from .namespace import LabError, Namespace, Process, wait_until
from .tools import lab_tool
from .topology import CORE_ROUTER, PROVIDER_ROUTER, REPLICATION, REST, FarSite, Lab

EF, CS6, CS1 = 46, 48, 8


def listens(process: Process, port: int, protocol: str = "tcp") -> bool:
    """Whether somebody in the process's network namespace listens on the port (a UDP socket: is bound to it)."""
    if not process.running():
        raise LabError(f"{process.name} ended at once: {process.errors() or process.output()}")
    wanted_state = "0A" if protocol == "tcp" else "07"
    for suffix in ("", "6"):
        for line in Path(f"/proc/{process.pid}/net/{protocol}{suffix}").read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            if state == wanted_state and int(local.rsplit(":", 1)[1], 16) == port:
                return True
    return False


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processors, system calls included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class BulkResult:
    """What iperf3 says at the end; byte counts are payload. `received_intervals`: (start, end, bytes) in seconds from
    the receiver's own start, all flows together."""
    sent_bytes: int
    received_bytes: int
    seconds: float
    retransmits: int
    received_intervals: list[tuple[float, float, int]]

    @property
    def goodput_bps(self) -> float:
        return self.received_bytes * 8 / self.seconds if self.seconds else 0.0


class Bulk:
    """`flows` flows of one iperf3 pair from the site to a far site, TCP unless `udp_bps` says how fast to send UDP.

    `flow_bps` paces each TCP flow. `reverse`: from the far site to ours. Flows start together and run until stop(), at
    most `seconds`.
    """

    def __init__(self, lab: Lab, flows: int = 1, congestion: str = "cubic", source: str = REPLICATION,
                 far: str | None = None, far_host: int = 1, port: int = 5201, seconds: float = 600.0,
                 dscp: int | None = None, udp_bps: float | None = None, size: int | None = None,
                 flow_bps: float | None = None, reverse: bool = False, interval: float = 0.1):
        self._lab, self._far_name = lab, far
        site: FarSite = lab.far_site(far)
        v6 = ":" in source
        self._target = site.host6(far_host) if v6 else site.host(far_host)
        self._port = port
        self._server_command = ["iperf3", "-s", "-1", "-J", "-i", f"{interval:g}", "-p", str(port),
                                "-B", self._target]
        self._client_command = ["iperf3", "-c", self._target, "-B", source, "-p", str(port), "-J",
                                "-i", f"{interval:g}", "-t", f"{seconds:g}", "-P", str(flows)]
        if udp_bps is None:
            self._client_command += ["-C", congestion]
        else:
            self._client_command += ["-u", "-b", f"{udp_bps / flows:.0f}"]
        if size is not None:
            self._client_command += ["-l", str(size)]
        if flow_bps is not None:
            self._client_command += ["--fq-rate", f"{flow_bps:.0f}"]
        if dscp is not None:
            self._client_command += ["-S", str(dscp << 2)]
        if reverse:
            self._client_command.append("-R")
        self._reverse = reverse

    def start(self) -> "Bulk":
        self._server = self._lab.spawn(self._lab.far(self._far_name), f"iperf3-server-{self._port}",
                                       self._server_command)
        wait_until(lambda: listens(self._server, self._port), 5, f"iperf3 on port {self._port}")
        self._client = self._lab.spawn(self._lab.site, f"iperf3-client-{self._port}", self._client_command)
        return self

    def running(self) -> bool:
        return self._client.running()

    def stop(self) -> BulkResult:
        """Ends the flows now, or collects those that have ended by themselves."""
        self._client.signal(signal.SIGINT)
        self._client.wait(15)
        self._server.wait(15)
        client, server = self._report(self._client), self._report(self._server)
        if "sum_sent" not in client.get("end", {}) and "sum" not in client.get("end", {}):
            raise LabError(f"iperf3 on port {self._port} reported nothing: {client.get('error', 'no error named')}")
        end = client["end"]
        sent = end.get("sum_sent", end.get("sum"))
        receiver = client if self._reverse else server
        intervals = [(i["sum"]["start"], i["sum"]["end"], i["sum"]["bytes"]) for i in receiver.get("intervals", [])
                     if i.get("sum")]
        received = sum(i[2] for i in intervals)
        return BulkResult(int(sent["bytes"]), int(received), intervals[-1][1] if intervals else 0.0,
                          int(sent.get("retransmits", 0)), intervals)

    @staticmethod
    def _report(process: Process) -> dict:
        try:
            return json.loads(process.output())
        except json.JSONDecodeError:
            raise LabError(f"{process.name} wrote no report: {process.errors() or process.output()[:200]}") from None


class _Probe:
    """One end of a lab_probe pair."""

    def __init__(self, lab: Lab, namespace: Namespace, name: str, role: str, arguments: list[object]):
        command = [str(lab_tool("lab_probe")), role, *map(str, arguments)]
        self._process = lab.spawn(namespace, name, command, talk=True)

    def read(self, start: float | None = None, end: float | None = None) -> dict:
        return self._process.ask("read" if start is None or end is None else f"read {start:.6f} {end:.6f}")

    def stop(self) -> dict:
        """Its account of the whole run, at the very end."""
        return self._process.finish()


class Requests:
    """Request/response flow, EF by default. read(): sent, answered, lost, rtt_ms {min, p50, p95, p99, max} of the
    requests sent in the interval, without the time that either host took; a request is lost after one second."""

    def __init__(self, lab: Lab, source: str = REST, far: str | None = None, dscp: int = EF, interval_ms: float = 10,
                 size: int = 160, port: int = 5060):
        site = lab.far_site(far)
        target = site.host6() if ":" in source else site.host()
        self._server = _Probe(lab, lab.far(far), "answers", "answer",
                              ["--local", target, "--port", port, "--dscp", dscp])
        self._client = _Probe(lab, lab.site, "requests", "request",
                              ["--local", source, "--remote", target, "--port", port, "--dscp", dscp,
                               "--interval-ms", interval_ms, "--size", size])

    def read(self, start: float | None = None, end: float | None = None) -> dict:
        return self._client.read(start, end)

    def stop(self) -> None:
        self._client.stop()
        self._server.stop()


class Hellos:
    """A BFD-like session, both directions. By default between the two routers on either side of the box; with `far` to
    the far site, across the provider. read(): per direction sent, received, missing, down_events, host_stalls."""

    def __init__(self, lab: Lab, far: str | None = None, across_provider: bool = False, interval_ms: float = 50,
                 multiplier: int = 3, port: int = 3784, dscp: int = CS6):
        peer_ns = lab.far(far) if across_provider else lab.provider_ns
        peer = lab.far_site(far).host() if across_provider else PROVIDER_ROUTER
        common = ["--port", port, "--dscp", dscp, "--interval-ms", interval_ms, "--multiplier", multiplier]
        self._peer = _Probe(lab, peer_ns, "hello-peer", "hello", ["--local", peer, "--remote", CORE_ROUTER, *common])
        self._core = _Probe(lab, lab.core, "hello-core", "hello", ["--local", CORE_ROUTER, "--remote", peer, *common])

    def read(self, start: float | None = None, end: float | None = None) -> dict[str, dict]:
        return {"outbound": self._peer.read(start, end), "inbound": self._core.read(start, end)}

    @property
    def pids(self) -> list[int]:
        return [self._peer._process.pid, self._core._process.pid]

    def stop(self) -> None:
        self._core.stop()
        self._peer.stop()


class RoutingSession:
    """A BGP-like TCP session on port 179 with keepalives and a hold timer; ends as in Hellos. read(): per end alive,
    death, keepalives, longest_silence_ms since the start."""

    def __init__(self, lab: Lab, far: str | None = None, across_provider: bool = False, hold_s: float = 3.0,
                 port: int = 179, dscp: int = CS6):
        peer_ns = lab.far(far) if across_provider else lab.provider_ns
        peer = lab.far_site(far).host() if across_provider else PROVIDER_ROUTER
        common = ["--port", port, "--dscp", dscp, "--hold-s", hold_s]
        self._peer = _Probe(lab, peer_ns, "bgp-peer", "session-listen", ["--local", peer, *common])
        self._core = _Probe(lab, lab.core, "bgp-core", "session-connect",
                            ["--local", CORE_ROUTER, "--remote", peer, *common])

    def read(self) -> dict[str, dict]:
        return {"peer": self._peer.read(), "core": self._core.read()}

    def stop(self) -> None:
        self._core.stop()
        self._peer.stop()


class Stream:
    """Numbered UDP datagrams at an even pace from the site to a far site. read(): received, missing, repeated,
    reordered, longest_silence_ms of what arrived in the interval; `sent` by the sender in all."""

    def __init__(self, lab: Lab, source: str = REST, far: str | None = None, pps: float = 1000, size: int = 200,
                 dscp: int = 0, port: int = 7000):
        site = lab.far_site(far)
        target = site.host6() if ":" in source else site.host()
        self._sink = _Probe(lab, lab.far(far), "sink", "sink", ["--local", target, "--port", port])
        self._source = _Probe(lab, lab.site, "stream", "stream",
                              ["--local", source, "--remote", target, "--port", port, "--pps", pps, "--size", size,
                               "--dscp", dscp])

    def read(self, start: float | None = None, end: float | None = None) -> dict:
        return self._sink.read(start, end)

    def stop(self) -> dict:
        """Ends the sender first, lets what is under way arrive, and returns the whole account with `sent`."""
        sent = self._source.stop()
        wait_until(self._quiet, 5, "the stream's last packets", every=0.2)
        return {**self._sink.stop(), **sent}

    def _quiet(self) -> bool:
        before = getattr(self, "_seen", -1)
        self._seen = self._sink.read()["received"]
        return self._seen == before


STALL_LIMIT_MS = 20.0  # longer, and no provider of this world would have served its queue like that


class HostWitness:
    """Did this machine itself stand still? One watcher a processor, ahead of all ordinary work: what it was not run for,
    no queue's timer was served in."""

    def __init__(self, lab: Lab):
        self._watchers = [_Probe(lab, lab.core, f"witness-{n}", "witness", ["--processor", n])
                          for n in sorted(os.sched_getaffinity(0))]

    def longest_ms(self, start: float, end: float) -> float:
        """The longest time between the two instants in which one of the processors did not run."""
        return max(watcher.read(start, end)["longest_ms"] for watcher in self._watchers)
