"""What the provider really carries, behind the back of the policy: a policer, a buffer, or nothing at all.

Every kind counts charged bytes as Weir does: the frame from its Ethernet header on, without link-layer overhead. Each
sits on the egress of one port (`namespace`, `interface`), can be changed while traffic runs, and tells the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from .namespace import LabError, Namespace, Process

FULL_FRAME = 1514


@dataclass(frozen=True)
class ProviderCounts:
    """Since the provider was set up. `drops` are its own: for want of tokens or of buffer; `lost` are random losses."""
    forwarded_packets: int
    forwarded_bytes: int
    drops: int
    lost: int
    backlog_bytes: int
    by_dscp: dict[int, dict] = field(default_factory=dict)

    @property
    def offered_packets(self) -> int:
        return self.forwarded_packets + self.drops + self.lost

    def since(self, before: "ProviderCounts") -> "ProviderCounts":
        return ProviderCounts(self.forwarded_packets - before.forwarded_packets,
                              self.forwarded_bytes - before.forwarded_bytes, self.drops - before.drops,
                              self.lost - before.lost, self.backlog_bytes)

    @property
    def loss(self) -> float:
        """Share of the packets offered that did not get through."""
        return (self.drops + self.lost) / self.offered_packets if self.offered_packets else 0.0


class Provider(Protocol):
    def start(self, namespace: Namespace, interface: str, spawn: "Spawn") -> None: ...
    def set_rate(self, rate_bps: float) -> None: ...
    def read(self) -> ProviderCounts: ...


class Spawn(Protocol):
    """How a provider or delay starts a helper process that the lab will end."""
    def __call__(self, namespace: Namespace, name: str, command: list[str], talk: bool = False) -> Process: ...


class Unlimited:
    """The bare link; counts what leaves the port."""

    def start(self, namespace: Namespace, interface: str, spawn: Spawn) -> None:
        self._ns, self._interface = namespace, interface

    def set_rate(self, rate_bps: float) -> None:
        raise LabError("an unlimited provider has no rate")

    def read(self) -> ProviderCounts:
        link = self._ns.json(["ip", "-s", "-j", "link", "show", "dev", self._interface])[0]
        sent = link["stats64"]["tx"]
        return ProviderCounts(sent["packets"], sent["bytes"], sent["dropped"], 0, 0)


class Policer:
    """A token bucket without a queue: what exceeds it is dropped at once (bpf/policer.bpf.c).

    Bucket by time at the rate, or fixed in bytes; with a bucket by time it follows a change of rate. `loss` adds random
    loss of that mean share, in runs of `loss_burst` packets on average. rate_bps = 0: only the loss.
    """

    def __init__(self, rate_bps: float = 0, bucket_ms: float = 10.0, bucket_bytes: int | None = None,
                 loss: float = 0.0, loss_burst: float = 1.0, seed: int = 1, ingress: bool = False):
        self.rate_bps = int(rate_bps)
        self._bucket_ms, self._bucket_bytes = bucket_ms, bucket_bytes
        self._loss, self._loss_burst, self._seed, self._ingress = loss, loss_burst, seed, ingress

    def bucket(self) -> int:
        by_time = int(self.rate_bps / 8 * self._bucket_ms / 1000)
        return max(self._bucket_bytes if self._bucket_bytes is not None else by_time, FULL_FRAME)

    def start(self, namespace: Namespace, interface: str, spawn: Spawn) -> None:
        from .tools import lab_tool
        command = [str(lab_tool("lab_policer")), "--interface", interface, "--rate-bps", str(self.rate_bps),
                   "--bucket-bytes", str(self.bucket()), "--loss", repr(self._loss),
                   "--loss-burst", repr(self._loss_burst), "--seed", str(self._seed)]
        if self._ingress:
            command.append("--ingress")
        self._process = spawn(namespace, f"policer-{interface}", command, talk=True)

    def set_rate(self, rate_bps: float) -> None:
        self.rate_bps = int(rate_bps)
        self._process.ask(f"set rate_bps={self.rate_bps} bucket_bytes={self.bucket()}")

    def set_loss(self, loss: float, burst: float = 1.0) -> None:
        self._process.ask(f"set loss={loss!r} loss_burst={burst!r}")

    def read(self) -> ProviderCounts:
        truth = self._process.ask("read")
        return ProviderCounts(truth["forwarded"]["packets"], truth["forwarded"]["bytes"], truth["policed"]["packets"],
                              truth["lost"]["packets"], 0, {int(k): v for k, v in truth["dscp"].items()})


class Buffer:
    """A deep buffer: the kernel's TBF with room for `buffer_ms` at the rate; `buffer_bytes` fixes it instead.

    TBF charges skb->len with the Ethernet header, as Weir does. A change of rate keeps the queue.
    """

    def __init__(self, rate_bps: float, buffer_ms: float = 100.0, buffer_bytes: int | None = None):
        self.rate_bps = int(rate_bps)
        self._ms, self._bytes = buffer_ms, buffer_bytes

    def _arguments(self) -> list[str]:
        # Small against the buffer, but enough that a timer a few milliseconds late costs no capacity.
        burst = max(4 * FULL_FRAME, int(self.rate_bps / 8 * 0.004))
        # TBF's limit holds what waits; what the bucket lets through at once never does.
        limit = self._bytes if self._bytes is not None else int(self.rate_bps / 8 * self._ms / 1000)
        return ["root", "handle", "b:", "tbf", "rate", f"{self.rate_bps}bit", "burst", str(burst),
                "limit", str(max(limit, FULL_FRAME))]

    def start(self, namespace: Namespace, interface: str, spawn: Spawn) -> None:
        self._ns, self._interface = namespace, interface
        namespace.run(["tc", "qdisc", "add", "dev", interface, *self._arguments()])

    def set_rate(self, rate_bps: float) -> None:
        self.rate_bps = int(rate_bps)
        self._ns.run(["tc", "qdisc", "change", "dev", self._interface, *self._arguments()])

    def read(self) -> ProviderCounts:
        for qdisc in self._ns.json(["tc", "-s", "-j", "qdisc", "show", "dev", self._interface]):
            if qdisc["kind"] == "tbf":
                return ProviderCounts(qdisc["packets"], qdisc["bytes"], qdisc["drops"], 0, qdisc["backlog"])
        raise LabError(f"the provider's queue on {self._interface} is gone")
