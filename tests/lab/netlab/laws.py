"""Who decides the rate in a lab's gateway: Weir, somebody who only uses Weir's queue tree, or a peer with its own.

A law starts what it needs, is asked every PERIOD seconds what is in force, and may change it then.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .namespace import LabError, Process
from .path import BOX, BOX_GATEWAY, PathLab
from .product import Api, Weir, api_socket
from .truth import QdiscWatch

PERIOD = 0.1
PEER = "CAKE_AUTORATE"  # the folder of cake-autorate, in the environment; never a part of this tree
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


class CakeAutorate:
    """The real one, unmodified, from the folder that CAKE_AUTORATE names, and the kernel's cake: one rate for all that
    leaves by wan0, so for one site only. It pings six hosts of the far side from an address that the box's bridge gets.

    Bounds as the simulator's law has them: the site's floor, contract and ceiling. It goes on pinging when idle."""
    name = "cake-autorate"
    reflectors = 6
    tuned = ""

    def __init__(self, lab: PathLab, binary: str | None):
        if len(lab.description["sites"]) != 1:
            raise LabError("cake-autorate has one rate for the port: this scenario has several sites")
        self._lab = lab
        self._home = Path(os.environ.get(PEER) or "/nonexistent").absolute()
        if not (self._home / "cake-autorate.sh").is_file():
            raise LabError(f"{PEER} names no folder with cake-autorate.sh")
        if shutil.which("fping") is None:
            raise LabError("cake-autorate needs fping")
        self._site = lab.description["sites"][0]["name"]
        self._daemon: Process | None = None
        self._cake: QdiscWatch

    def start(self) -> None:
        lab, site = self._lab, self._lab.description["sites"][0]
        floor, contract, ceiling = (round(site[key] / 1e3) for key in ("floor_bps", "contract_bps", "ceiling_bps"))
        lab.gateway.ip(f"address add {BOX}/30 dev br0\nroute add default via {BOX_GATEWAY}\n")
        # Counted as the path counts: the packet and its Ethernet header.
        lab.gateway.run(["tc", "qdisc", "replace", "dev", "wan0", "root", "cake", "bandwidth", f"{contract}kbit",
                         "diffserv4", "noatm", "overhead", "14"])
        reflectors = " ".join(f'"{lab.far_site().host(i)}"' for i in range(1, self.reflectors + 1))
        self._config = lab.run_dir / f"config.{lab.name}.sh"
        self._config.write_text(f"""\
dl_if=lan0
ul_if=wan0
reflectors=({reflectors})
no_pingers={self.reflectors}
adjust_dl_shaper_rate=0
min_dl_shaper_rate_kbps={floor}
base_dl_shaper_rate_kbps={contract}
max_dl_shaper_rate_kbps={ceiling}
min_ul_shaper_rate_kbps={floor}
base_ul_shaper_rate_kbps={contract}
max_ul_shaper_rate_kbps={ceiling}
enable_sleep_function=0
log_file_path_override="{lab.log_dir}"
{self.tuned}""")
        self._start_daemon()
        self._cake = QdiscWatch(lab.gateway, "wan0", "cake")

    def _start_daemon(self) -> None:
        # It looks for the interfaces in /sys, so that it needs the namespace's own.
        self._daemon = self._lab.spawn(
            self._lab.gateway, self.name,
            ["ip", "netns", "exec", self._lab.gateway.name, "setpriv", "--pdeathsig", "KILL",
             "bash", str(self._home / "cake-autorate.sh"), str(self._config)],
            env={"CAKE_AUTORATE_SCRIPT_PREFIX": str(self._home)})

    def restart(self) -> None:
        assert self._daemon is not None
        self._daemon.stop(timeout=20)  # it gives its parts a second and more to end
        self._start_daemon()

    def step(self, available_bps: Callable[[], dict[str, float]]) -> dict[str, InForce]:
        assert self._daemon is not None
        if not self._daemon.running():
            raise LabError(f"cake-autorate ended: {self._daemon.errors()} {self.log()[-500:]}")
        cake = self._cake.read()
        return {self._site: InForce(8.0 * cake["options"]["bandwidth"], cake["backlog"] > 0)}

    def log(self) -> str:
        return "".join(p.read_text(errors="replace") for p in sorted(self._lab.log_dir.glob("cake-autorate*.log")))


class CakeAutorateTuned(CakeAutorate):
    """With the thresholds of a wired link."""
    name = "cake-autorate-tuned"
    tuned = "".join(f"{way}_{threshold}_thr_ms={ms}\n" for way in ("dl", "ul") for threshold, ms in (
        ("avg_owd_delta_max_adjust_up", "1.0"), ("owd_delta_delay", "3.0"), ("avg_owd_delta_max_adjust_down", "15.0")))


def needs_peer(law: str) -> bool:
    """Somebody else's program, not a law of this tree."""
    return issubclass(LAWS[law], CakeAutorate)


LAWS = {law.name: law for law in (WeirLaw, NoLaw, Static, Oracle, CakeAutorate, CakeAutorateTuned)}
