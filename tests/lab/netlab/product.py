"""Weir in the lab's gateway: its policy file, its daemon, its command line and its API."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from .namespace import LabError, Process, wait_until
from .tools import weir_binary
from .topology import Lab


def policy_text(lab: Lab, port_mbit: float = 622, floor_mbit: float = 10, ceiling_mbit: float = 500,
                start_mbit: float = 300, adapt: bool = True, replication_ceiling: str = "90%") -> str:
    """A policy for the lab's far sites. No link-layer overhead, so that rates compare with the provider's counts."""
    sites = "".join(f"""\
  - name: {far.name}
    subnets: [{far.subnets[0]}, "{far.subnets[1]}"]
    rate: {{floor: {floor_mbit:g}mbit, ceiling: {ceiling_mbit:g}mbit, start: {start_mbit:g}mbit, \
adapt: {str(adapt).lower()}}}
    policy: replicated-site
""" for far in lab.spec.far)
    return f"""\
wan: {{interface: wan0, rate: {port_mbit:g}mbit, link_layer: {{kind: ethernet, overhead: 0}}}}
lan: {{interface: lan0}}
sites:
{sites}policies:
  replicated-site:
    classes:
      - {{name: voice, match: [{{dscp: ef}}], guarantee: 5%, priority: 0}}
      - name: interactive
        match: [{{dscp: [af41, af42]}}, {{source: 10.1.8.0/24, protocol: tcp, port: 22}}]
        guarantee: 25%
        priority: 1
      - name: replication
        match: [{{source: [10.1.50.0/24, "2001:db8:1:50::/64"]}}, {{dscp: cs1}}]
        guarantee: 10%
        ceiling: {replication_ceiling}
        priority: 3
      - {{name: rest, default: true, guarantee: 20%, priority: 2}}
api: {{socket: {api_socket(lab)}}}
"""


def api_socket(lab: Lab) -> Path:
    return lab.run_dir / "weir.sock"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Api:
    """The daemon's API over its Unix socket, one connection kept. Not thread-safe."""

    def __init__(self, path: Path, timeout: float = 5.0):
        self._connection = _UnixConnection(path, timeout)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body. ConnectionError when the daemon is not there."""
        for attempt in (1, 2):  # a kept connection may have been closed since
            try:
                self._connection.request("GET", path)
                response = self._connection.getresponse()
                return response.status, response.read().decode()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if attempt == 2:
                    raise ConnectionError(f"GET {path}: {error}") from error
        raise AssertionError("unreachable")

    def json(self, path: str) -> dict:
        status, body = self.get(path)
        if status != 200:
            raise LabError(f"GET {path}: {status} {body.strip()}")
        return json.loads(body)

    def site(self, name: str) -> dict:
        return self.json(f"/v1/sites/{name}")


@dataclass(frozen=True)
class RateSample:
    at: float  # time.monotonic()
    shaped_bps: float
    state: str
    mode: str
    site: dict


class RateSampler:
    """Asks for one site every 100 ms, on a thread of its own; a daemon that is down leaves a gap."""

    def __init__(self, socket_path: Path, site: str, period: float = 0.1):
        self._api, self._site, self._period = Api(socket_path, timeout=1.0), site, period
        self.samples: list[RateSample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "RateSampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def between(self, start: float, end: float) -> list[RateSample]:
        return [s for s in self.samples if start <= s.at <= end]

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                site = self._api.site(self._site)
                self.samples.append(RateSample(time.monotonic(), site["shaped_bps"], site["state"], site["mode"], site))
            except (ConnectionError, LabError):
                pass
            due = max(due + self._period, time.monotonic())
            self._stop.wait(due - time.monotonic())


class Weir:
    """The product in a lab's gateway. The policy file is the lab's; change `policy` and write() to edit it."""

    def __init__(self, lab: Lab, policy: str | None = None, binary: str | None = None):
        self.lab = lab
        self.binary = weir_binary(binary)
        self.config = lab.run_dir / "policy.yaml"
        self.policy = policy if policy is not None else policy_text(lab)
        self.write()
        self._directories = ["--state-dir", str(lab.run_dir / "state"), "--bpf-dir", str(lab.bpf_dir / "weir")]
        self.process: Process | None = None

    def write(self, text: str | None = None) -> None:
        self.config.write_text(self.policy if text is None else text)

    @property
    def socket(self) -> Path:
        return api_socket(self.lab)

    @property
    def api(self) -> Api:
        return Api(self.socket)

    def start(self, *arguments: str, timeout: float = 15.0) -> "Weir":
        """Starts the daemon and waits until it says that it is ready."""
        self.process = self.lab.spawn(self.lab.gateway, "weir", [
            str(self.binary), "run", "--config", str(self.config), *self._directories,
            "--library-dir", str(self.lab.run_dir / "library"), *arguments])
        wait_until(self._ready, timeout, "weir to become ready")
        return self

    def _ready(self) -> bool:
        assert self.process
        if not self.process.running():
            raise LabError(f"weir ended with {self.process.returncode()}: {self.log()[-2000:]}")
        try:
            return self.api.get("/readyz")[0] == 200
        except ConnectionError:
            return False

    def log(self) -> str:
        assert self.process
        return self.process.output() + self.process.errors()

    def reload(self) -> None:
        assert self.process
        self.process.signal(signal.SIGHUP)

    def kill(self) -> None:
        """-9, as nothing could prepare for."""
        assert self.process
        self.process.kill()

    def stop(self) -> int:
        assert self.process
        return self.process.stop()

    def command(self, verb: str, *arguments: str, port_options: bool = True) -> subprocess.CompletedProcess[str]:
        """One of weir's other subcommands, run to its end in the gateway; never raises for its exit code."""
        directories = self._directories if port_options else []
        return self.lab.gateway.run([str(self.binary), verb, *arguments, *directories], check=False)
