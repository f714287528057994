"""Makes a namespace's TCP timestamps tick in microseconds (Linux 6.7 and newer, `features tcp_usec_ts` of a route).

Run inside the namespace: `python3 usec_timestamps.py GATEWAY INTERFACE` replaces its default route. By netlink, since older
iproute2 does not know the feature's name; `ip route` shows it as `features 0x10`.
"""

from __future__ import annotations

import socket
import struct
import sys

RTM_NEWROUTE, NLM_F_REQUEST_ACK_REPLACE_CREATE = 24, 0x505
RTA_OIF, RTA_GATEWAY, RTA_METRICS, RTAX_FEATURES = 4, 5, 8, 12
RTAX_FEATURE_TCP_USEC_TS = 1 << 4
ROUTE = struct.pack("BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0)  # main table, by "boot", unicast


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def set_default_route(gateway: str, interface: str) -> None:
    body = (ROUTE + attribute(RTA_GATEWAY, socket.inet_aton(gateway))
            + attribute(RTA_OIF, struct.pack("I", socket.if_nametoindex(interface)))
            + attribute(RTA_METRICS, attribute(RTAX_FEATURES, struct.pack("I", RTAX_FEATURE_TCP_USEC_TS))))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:  # NETLINK_ROUTE
        netlink.send(struct.pack("IHHII", 16 + len(body), RTM_NEWROUTE, NLM_F_REQUEST_ACK_REPLACE_CREATE, 1, 0) + body)
        error = -struct.unpack("i", netlink.recv(4096)[16:20])[0]
    if error:
        raise OSError(error, f"default route by {gateway} with microsecond timestamps")


if __name__ == "__main__":
    set_default_route(sys.argv[1], sys.argv[2])
