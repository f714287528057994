"""A lab whose provider is lab_path: a scenario of the proving ground on real frames, both ways, for any number of sites.

  site         core             gateway              provider                  path            far (all sites, others' ends)
  eth0 --- hosts edge0 --- lan0 [br0] wan0 --- cust0 (routes) out0 --- near [lab_path] far --- eth0
  10.1.0.0/16   10.1.0.2       no address        10.1.0.1      |                               10.20.0.0/16, 10.21..., 10.120
                                                             others0 --- eth0
                                                                         others, 10.110.0.0/16: past the box

Each load of the scenario has hosts of its own, by whose addresses the path knows its site, its RTT, and that it is
somebody else's: the load's number in the third byte.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from .namespace import LabError, Namespace, Process
from .provider import Policer
from .tools import lab_tool
from .topology import ROUTES, FarSite, Lab, Spec, _mac

FIRST_SITE, OTHERS_NEAR, OTHERS_FAR, LOAD_BASE = 20, 110, 120, 100
BOX_GATEWAY, BOX = "10.92.0.1", "10.92.0.2"  # for a law whose box sends something itself; the box has none by default
NO_IPV6 = {"net/ipv6/conf/all/disable_ipv6": 1, "net/ipv6/conf/default/disable_ipv6": 1}


def describe(scenario: Path, scale: float = 1.0, seconds: float | None = None) -> dict:
    """The scenario as lab_path reads it. Rates in bit/s, times in seconds."""
    command = [str(lab_tool("lab_path")), "--describe", *_scenario_options(scenario, scale, seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(done.stderr.strip())
    return json.loads(done.stdout)


def _scenario_options(scenario: Path, scale: float, seconds: float | None) -> list[str]:
    return ["--scenario", str(scenario), "--scale", repr(scale),
            *(["--seconds", repr(seconds)] if seconds is not None else [])]


class PathLab(Lab):
    """A running lab around one scenario. `path` is its lab_path; `description` what describe() said."""

    def __init__(self, scenario: Path, scale: float = 1.0, seconds: float | None = None, seed: int = 1,
                 series: Path | None = None, drops: Path | None = None):
        self.description = describe(scenario, scale, seconds)
        far = [FarSite(name=s["name"], number=FIRST_SITE + i) for i, s in enumerate(self.description["sites"])]
        loss = self.description["local_loss"]
        super().__init__(Spec(far=far, before=Policer(loss=loss, ingress=True, seed=seed) if loss > 0 else None))
        self._options = [*_scenario_options(scenario, scale, seconds), "--seed", str(seed),
                         *(["--series", str(series)] if series else []), *(["--drops", str(drops)] if drops else [])]
        self._all_far, self._path_ns, self.others = (self._namespace(r) for r in ("far", "path", "others"))
        self._far_ns = {f.name: self._all_far for f in far}
        self.path: Process

    @property
    def loads(self) -> list[dict]:
        return self.description["loads"]

    def near_host(self, load: int) -> str:
        """Where the load's flows have their end on our side, or on that of others."""
        return f"10.{OTHERS_NEAR}.{load}.10" if self.loads[load]["foreign"] else f"10.1.{LOAD_BASE + load}.10"

    def far_host(self, load: int) -> str:
        if self.loads[load]["foreign"]:
            return f"10.{OTHERS_FAR}.{load}.10"
        return f"10.{self.far_site(self.loads[load]['site']).number}.{LOAD_BASE + load}.10"

    def near_namespace(self, load: int) -> Namespace:
        return self.others if self.loads[load]["foreign"] else self.site

    def far_namespace(self) -> Namespace:
        return self._all_far

    def close_path(self) -> dict:
        """Ends the path and returns its account with the score."""
        return self.path.finish(60.0)

    # ------------------------------------------------------------------------------------------------------- building

    def _namespaces(self) -> list[Namespace]:
        return [self.site, self.core, self.gateway, self.provider_ns, self._all_far, self._path_ns, self.others]

    def _build(self) -> None:
        super()._build()
        self._build_path()

    def _build_far(self, far: FarSite) -> None:
        pass  # all of them are one namespace, behind the path

    def _build_path(self) -> None:
        numbers = [f.number for f in self.spec.far] + [OTHERS_FAR]
        self._link(self.provider_ns, "out0", self._path_ns, "near", 900)
        self._link(self._all_far, "eth0", self._path_ns, "far", 901)
        self._link(self.provider_ns, "others0", self.others, "eth0", 902)
        self._path_ns.sysctl(NO_IPV6)
        self._path_ns.ip("link set near up\nlink set far up\n")
        # Neighbours across the path are written down: a full policer would drop the requests to find them.
        near_mac, far_mac = _mac(900, 1), _mac(901, 1)
        self.provider_ns.ip("link set out0 up\naddress add 10.90.0.1/30 dev out0\n"
                            f"address add {BOX_GATEWAY}/30 dev cust0\n"
                            f"neighbour add 10.90.0.2 lladdr {far_mac} nud permanent dev out0\n"
                            "link set others0 up\naddress add 10.91.0.1/30 dev others0\n"
                            f"route add 10.{OTHERS_NEAR}.0.0/16 via 10.91.0.2\n"
                            + "".join(f"route add 10.{n}.0.0/16 via 10.90.0.2\n" for n in numbers))
        self.provider_ns.sysctl(ROUTES)
        own = [f"address add {far.host(i)}/32 dev eth0\n" for far in self.spec.far for i in range(1, 9)]
        loads = range(len(self.loads))
        self._all_far.ip("link set eth0 up\naddress add 10.90.0.2/30 dev eth0\n"
                         f"neighbour add 10.90.0.1 lladdr {near_mac} nud permanent dev eth0\n"
                         "route add default via 10.90.0.1\n" + "".join(own)
                         + "".join(f"address add {self.far_host(i)}/32 dev eth0\n" for i in loads))
        self.others.ip("link set eth0 up\naddress add 10.91.0.2/30 dev eth0\nroute add default via 10.91.0.1\n"
                       + self._addresses(foreign=True))
        self.site.ip(self._addresses(foreign=False) or "address show dev lo\n")
        self.path = self.spawn(self._path_ns, "path", [str(lab_tool("lab_path")), "--near", "near", "--far", "far",
                                                       *self._options, *self._whose()], talk=True)

    def _addresses(self, foreign: bool) -> str:
        return "".join(f"address add {self.near_host(i)}/32 dev eth0\n" for i, load in enumerate(self.loads)
                       if load["foreign"] == foreign)

    def _whose(self) -> list[str]:
        """The options by which lab_path knows whose a frame is."""
        options = ["--foreign", f"10.{OTHERS_NEAR}.0.0/16", "--foreign", f"10.{OTHERS_FAR}.0.0/16"]
        for far in self.spec.far:
            options += ["--site", f"{far.name}=10.{far.number}.0.0/16"]
        for i, load in enumerate(self.loads):
            options += ["--rtt", f"{self.near_host(i).rsplit('.', 1)[0]}.0/24={load['rtt_s'] * 1000!r}"]
        if self.loads:  # hosts of our side that belong to no load, and the box
            for near in ("10.1.0.0/16", f"{BOX}/32"):
                options += ["--rtt", f"{near}={self.loads[0]['rtt_s'] * 1000!r}"]
        return options
