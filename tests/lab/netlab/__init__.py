"""The namespaces lab: a site, Weir's bridge, a provider and far sites, made of network namespaces of this run's own.

    with Lab(Spec(far=[FarSite(provider=Policer(rate_bps=45e6), rtt_ms=30)])) as lab:
        lab.gateway.run(["tc", "qdisc", "show"])
        lab.provider().read().drops

Python's standard library only; needs root, iproute2, ethtool and util-linux. Nothing outside the lab's own namespaces
and its directory under /run is touched, and both are gone afterwards, however the run ends.
"""

from .delay import NetemDelay, NoDelay, WireDelay  # noqa: F401
from .namespace import Namespace, Process, reap_leftovers, wait_until  # noqa: F401
from .provider import Buffer, Policer, ProviderCounts, Unlimited  # noqa: F401
from .topology import FarSite, Lab, Spec  # noqa: F401
