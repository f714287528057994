"""Where the round trip's time is spent: always on the way back, so that capacity and delay do not mix.

A delay is given the chain of the return path: the far site's namespace and its interface. `needs_wire` says whether it
wants a namespace with two interfaces in between (a user-space wire) or works on the far site's own egress (netem).
"""

from __future__ import annotations

from typing import Protocol

from .namespace import Namespace, Process
from .provider import Spawn


class Delay(Protocol):
    needs_wire: bool
    def start(self, far: Namespace, far_interface: str, wire: Namespace | None, spawn: Spawn) -> None: ...


class NoDelay:
    needs_wire = False

    def start(self, far: Namespace, far_interface: str, wire: Namespace | None, spawn: Spawn) -> None:
        pass


class WireDelay:
    """lab_path without a scenario between wire's `far` and `near` interfaces; works on any kernel."""
    needs_wire = True

    def __init__(self, rtt_ms: float):
        self.rtt_ms = rtt_ms

    def start(self, far: Namespace, far_interface: str, wire: Namespace | None, spawn: Spawn) -> None:
        from .tools import lab_tool
        assert wire is not None
        self._process: Process = spawn(wire, "wire", [str(lab_tool("lab_path")), "--near", "near", "--far", "far",
                                                      "--back-ms", repr(float(self.rtt_ms))], talk=True)

    def set_rtt(self, rtt_ms: float) -> None:
        self._process.ask(f"set back_ms={float(rtt_ms)!r}")
        self.rtt_ms = rtt_ms

    def read(self) -> dict:
        """`out` and `back`: forwarded, bytes, refused, overrun, oversized, waiting, lateness; `void`."""
        return self._process.ask("read")

    @property
    def pid(self) -> int:
        return self._process.pid


class NetemDelay:
    """The kernel's netem on the far site's egress; exact in virtual time, absent from some kernels."""
    needs_wire = False

    def __init__(self, rtt_ms: float):
        self.rtt_ms = rtt_ms

    def _command(self, verb: str) -> list[str]:
        return ["tc", "qdisc", verb, "dev", self._interface, "root", "handle", "d:", "netem", "delay",
                f"{int(self.rtt_ms * 1000)}us", "limit", "100000"]

    def start(self, far: Namespace, far_interface: str, wire: Namespace | None, spawn: Spawn) -> None:
        self._far, self._interface = far, far_interface
        far.run(self._command("add"))

    def set_rtt(self, rtt_ms: float) -> None:
        self.rtt_ms = rtt_ms
        self._far.run(self._command("change"))
