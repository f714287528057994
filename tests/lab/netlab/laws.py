"""Who decides the rate in a lab's gateway: Weir, or somebody who only uses Weir's queue tree.

A law starts what it needs, is asked every PERIOD seconds what is in force, and may change it then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .namespace import LabError
from .path import PathLab
from .product import Api, Weir, api_socket

PERIOD = 0.1
ORACLE_SHARE = 0.98  # of what the site may have: a queue that is never quite fed


def policy_text(lab: PathLab, start_bps: dict[str, float], adapt: bool) -> str:
    """The scenario's sites with two classes: what is measured, first and without a ceiling as in the simulator's box, and
    the rest. No link-layer overhead, as in the path."""
    described = lab.description["sites"]
    sites = "".join(f"""\
  - name: {s["name"]}
    subnets: [{lab.far_site(s["name"]).subnets[0]}]
    rate: {{floor: {s["floor_bps"]}bit, ceiling: {s["ceiling_bps"]}bit, start: {start_bps[s["name"]]:.0f}bit, \
adapt: {str(adapt).lower()}}}
    policy: site
""" for s in described)
    return f"""\
wan: {{interface: wan0, rate: {sum(s["ceiling_bps"] for s in described)}bit, link_layer: {{kind: ethernet, overhead: 0}}}}
lan: {{interface: lan0}}
sites:
{sites}policies:
  site:
    classes:
      - {{name: priority, match: [{{dscp: ef}}], guarantee: 10%, ceiling: 100%, priority: 0}}
      - {{name: rest, default: true, guarantee: 50%, priority: 2}}
api: {{socket: {api_socket(lab)}}}
"""


@dataclass(frozen=True)
class InForce:
    """Of one site. shaped_bps None: nobody knows at this moment."""
    shaped_bps: float | None
    backlogged: bool


class NoLaw:
    """The box only bridges."""
    name = "none"

    def __init__(self, lab: PathLab, binary: str | None):
        self._lab = lab

    def start(self) -> None:
        pass

    def restart(self) -> None:
        pass

    def step(self, available_bps: Callable[[], dict[str, float]]) -> dict[str, InForce]:
        # As in the simulator: without a law the port's own speed remains.
        return {s["name"]: InForce(10.0 * s["ceiling_bps"], False) for s in self._lab.description["sites"]}

    def log(self) -> str:
        return ""


class _WithWeir:
    def __init__(self, lab: PathLab, binary: str | None):
        self._lab = lab
        self.weir = Weir(lab, policy_text(lab, self._first_rates(), self._adapts()), binary)
        self._api: Api | None = None

    def _adapts(self) -> bool:
        return False

    def _first_rates(self) -> dict[str, float]:
        raise NotImplementedError

    def start(self) -> None:
        self.weir.start()
        self._api = Api(self.weir.socket, timeout=1.0)

    def restart(self) -> None:
        """The daemon ends as a service manager ends it, and is started again; its tree stays in the kernel."""
        self.weir.stop()
        self.weir.start()

    def step(self, available_bps: Callable[[], dict[str, float]]) -> dict[str, InForce]:
        assert self._api is not None
        found = {}
        for site in self._lab.description["sites"]:
            try:
                told = self._api.site(site["name"])
                found[site["name"]] = InForce(told["shaped_bps"], told["backlog_bytes"] > 0)
            except (ConnectionError, LabError):
                found[site["name"]] = InForce(None, False)
        return found

    def log(self) -> str:
        return self.weir.log()


class WeirLaw(_WithWeir):
    name = "weir"

    def _adapts(self) -> bool:
        return True

    def _first_rates(self) -> dict[str, float]:
        return {s["name"]: s["start_bps"] for s in self._lab.description["sites"]}


class Static(_WithWeir):
    """What the provider guarantees, always."""
    name = "static"

    def _first_rates(self) -> dict[str, float]:
        return {s["name"]: s["contract_bps"] for s in self._lab.description["sites"]}


class Oracle(_WithWeir):
    """Knows the path: nearly all of what the site may have, from a tenth of a second after it may. The rates go into
    Weir's own tree, by a policy that does not adapt."""
    name = "oracle"

    def _first_rates(self) -> dict[str, float]:
        self._rates = {s["name"]: s["start_bps"] for s in self._lab.description["sites"]}
        return self._rates

    def step(self, available_bps: Callable[[], dict[str, float]]) -> dict[str, InForce]:
        floors = {s["name"]: s["floor_bps"] for s in self._lab.description["sites"]}
        wanted = {name: max(bps * ORACLE_SHARE, floors[name]) for name, bps in available_bps().items()}
        if any(abs(wanted[name] / self._rates[name] - 1) > 0.002 for name in wanted):
            self._rates = wanted
            self.weir.write(policy_text(self._lab, wanted, adapt=False))
            self.weir.reload()
        return super().step(available_bps)


LAWS = {law.name: law for law in (WeirLaw, NoLaw, Static, Oracle)}
