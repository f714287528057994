"""The daemon as a user of Debian runs it: in the virtual machine, with its own default folders and fq_codel leaves."""

import json
import socket
from pathlib import Path

from netlab import wait_until
from netlab.tools import weir_binary

SOCKET = "/run/weir/weir.sock"

POLICY = """\
wan: {{interface: wan0, rate: 100mbit}}
lan: {{interface: lan0}}
sites:
  - name: dc-coast
    subnets: [10.20.0.0/16, "2001:db8:20::/48"]
    rate: {{floor: 5mbit, ceiling: 95mbit, start: {start}kbit, adapt: true}}
    policy: replicated-site
policies:
  replicated-site:
    classes:
      - {{name: voice, match: [{{dscp: ef}}], guarantee: 5%, priority: 0}}
      - {{name: replication, match: [{{source: 10.1.50.0/24}}, {{dscp: cs1}}], guarantee: 10%, ceiling: 100%, priority: 3}}
      - {{name: rest, default: true, guarantee: 20%, priority: 2}}
api: {{socket: {socket}}}
"""


class Weir:
    """`weir run` in the lab's gateway, ready when the constructor returns."""

    def __init__(self, lab, start_bps):
        policy = lab.run_dir / "weir.yaml"
        policy.write_text(POLICY.format(start=int(start_bps / 1000), socket=SOCKET))
        Path(SOCKET).parent.mkdir(exist_ok=True)
        self.gateway = lab.gateway
        self.process = lab.spawn(lab.gateway, "weir", [str(weir_binary()), "run", "--config", str(policy)])
        wait_until(self.ready, 20, "weir to be ready")

    def ready(self):
        if not self.process.running():
            raise RuntimeError(f"weir ended at once: {self.process.errors() or self.process.output()}")
        return Path(SOCKET).exists() and self.get("/readyz", status_only=True) == 200

    def site(self):
        return self.get("/v1/sites/dc-coast")

    def get(self, path, status_only=False):
        """One request on a connection of its own, by hand: http.client costs the emulated CPU ten times as much."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(SOCKET)
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        return status if status_only else json.loads(body)

    def judge(self, checks):
        """The leaves are the kernel's fq_codel, and nothing is degraded; asked of `tc`, not of ourselves alone."""
        queues = self.gateway.json(["tc", "-j", "qdisc", "show", "dev", "wan0"])
        leaves = [queue["kind"] for queue in queues if queue.get("parent") and queue["kind"] not in ("htb", "clsact")]
        checks.check("every leaf is fq_codel", len(leaves) >= 5 and set(leaves) == {"fq_codel"}, " ".join(leaves))
        status = self.get("/v1/status")
        checks.check("nothing is degraded", not status["degraded"] and not self.site()["degraded"],
                     json.dumps(status["degraded"]))
        checks.check("weir is still running", self.process.running(), self.process.errors()[-500:])
