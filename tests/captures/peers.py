"""What each program says of one capture file: Weir (per connection and per frame), tshark (per frame), tcptrace (per
connection). Values only; nothing is judged here."""

from __future__ import annotations

import csv
import ipaddress
import json
import lzma
import shutil
import subprocess
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

End = tuple[str, int]  # address and port
Ends = tuple[End, End]  # sender and receiver

LABELS = {
    "retransmission": "R", "fast_retransmission": "R", "spurious_retransmission": "R", "out_of_order": "O",
    "keep_alive": "K", "zero_window_probe": "P", "lost_segment": "gap",
}
_FIELDS = [
    "frame.number", "frame.time_epoch", "tcp.stream", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport",
    "tcp.seq", "tcp.ack", "tcp.len", "tcp.flags", "tcp.window_size_value", "ip.id", "tcp.hdr_len",
    "tcp.options.mss_val", "tcp.options.timestamp.tsval", "tcp.options.sack_le", "tcp.options.sack_re",
    "tcp.analysis.initial_rtt", "frame.len", "ip.len", "pppoe.payload_length",
] + [f"tcp.analysis.{name}" for name in LABELS]


@dataclass
class Segment:
    """A TCP frame as tshark dissects it. `labels`: what its analysis calls it, as the letters of LABELS."""

    number: int
    time: float  #: seconds since the epoch
    microsecond: int  #: the same, as exact as tcptrace has it
    stream: int
    ends: Ends
    sequence: int
    acknowledgment: int | None
    length: int
    flags: int
    window: int
    ip_id: int
    options: int
    mss: int | None
    timestamp: int | None
    sack: list[tuple[int, int]]
    initial_rtt: float | None
    claimed_bytes: int  #: by which its IP header is longer than what its frame has room for
    labels: set[str]

    @property
    def syn(self) -> bool:
        return bool(self.flags & 0x02)

    @property
    def fin(self) -> bool:
        return bool(self.flags & 0x01)

    @property
    def rst(self) -> bool:
        return bool(self.flags & 0x04)


def _end(address: str, port: str) -> End:
    """tcptrace writes IPv6 in a way of its own: ":0001"."""
    return str(ipaddress.ip_address(":" + address if address.startswith(":") and address[1:2] != ":" else address)), int(port)


def _last(text: str) -> str:
    """Of a field that tunnels repeat: the innermost header's."""
    return text.rsplit(",", 1)[-1]


def _number(text: str) -> int | None:
    return int(_last(text), 0) if text else None


def _claimed_bytes(row: dict[str, str]) -> int:
    said, pppoe = _number(row["ip.len"]), _number(row["pppoe.payload_length"])
    room = pppoe - 2 if pppoe is not None else int(row["frame.len"]) - 14
    return max(said - room, 0) if said else 0


def _segment(row: dict[str, str]) -> Segment:
    addresses = (row["ip.src"], row["ip.dst"]) if row["ip.src"] else (row["ipv6.src"], row["ipv6.dst"])
    sack = [part.split(",") if part else [] for part in (row["tcp.options.sack_le"], row["tcp.options.sack_re"])]
    return Segment(
        number=int(row["frame.number"]), time=float(row["frame.time_epoch"]),
        microsecond=int(row["frame.time_epoch"].replace(".", "")[:-3]), stream=int(_last(row["tcp.stream"])),
        ends=((_last(addresses[0]), int(_last(row["tcp.srcport"]))), (_last(addresses[1]), int(_last(row["tcp.dstport"])))),
        sequence=_number(row["tcp.seq"]) or 0,
        acknowledgment=_number(row["tcp.ack"]) if (_number(row["tcp.flags"]) or 0) & 0x10 else None,
        length=_number(row["tcp.len"]) or 0, flags=_number(row["tcp.flags"]) or 0,
        window=_number(row["tcp.window_size_value"]) or 0, ip_id=_number(row["ip.id"]) or 0,
        options=max((_number(row["tcp.hdr_len"]) or 20) - 20, 0),
        mss=_number(row["tcp.options.mss_val"]), timestamp=_number(row["tcp.options.timestamp.tsval"]),
        sack=[(int(a), int(b)) for a, b in zip(*sack)],
        initial_rtt=float(_last(row["tcp.analysis.initial_rtt"])) if row["tcp.analysis.initial_rtt"] else None,
        claimed_bytes=_claimed_bytes(row),
        labels={letter for name, letter in LABELS.items() if row[f"tcp.analysis.{name}"]})


def unpacked(path: Path, cache: Path) -> Path:
    """Neither tshark nor tcptrace reads xz."""
    if path.suffix != ".xz":
        return path
    plain = cache / path.stem
    if not plain.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = plain.with_suffix(".part")
        with lzma.open(path) as packed, open(part, "wb") as out:
            shutil.copyfileobj(packed, out)
        part.rename(plain)
    return plain


def tshark(path: Path, cache: Path) -> list[Segment]:
    """Slow, so that what it said is kept in `cache`."""
    kept = cache / f"{path.name}.{path.stat().st_size}.{zlib.crc32(' '.join(_FIELDS).encode()):08x}.tshark"
    if not kept.exists():
        command = ["tshark", "-n", "-r", str(path), "-Y", "tcp && !icmp && !icmpv6", "-T", "fields", "-E", "header=y",
                   "-o", "tcp.relative_sequence_numbers:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE"]
        for name in _FIELDS:
            command += ["-e", name]
        cache.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")
        with open(part, "wb") as out:  # a file cut in its middle is read as far as it goes
            subprocess.run(command, stdout=out, stderr=subprocess.DEVNULL, check=False)
        part.rename(kept)
    with open(kept, newline="") as rows:
        return [_segment(row) for row in csv.DictReader(rows, delimiter="\t")]


@dataclass
class Row:
    """One connection as a program counts it; `half[ends]`: what the first of `ends` sent."""

    start: float
    half: dict[Ends, dict[str, float]] = field(default_factory=dict)


def weir_rows(binary: Path, path: Path) -> list[Row]:
    said = json.loads(subprocess.run([binary, "observe", "--read", path, "--flows", "--most-flows", "1000000", "--json"],
                                     capture_output=True, check=True).stdout)
    rows = []
    for flow in said["flows"]:
        inside, far = (flow["inside"], flow["inside_port"]), (flow["far"], flow["far_port"])
        row = Row(start=flow["start_s"])
        for ends, name in (((inside, far), "outbound"), ((far, inside), "inbound")):
            half = flow[name]
            row.half[ends] = {key: half[key] for key in ("retransmitted", "spurious", "hole_fill")} | {
                "rtt_min": half.get("rtt_ms", {}).get("min"), "rtt_smoothed": half.get("rtt_ms", {}).get("smoothed")}
        rows.append(row)
    return rows


def weir_classes(tool: Path, path: Path) -> dict[int, dict[str, int]]:
    """By frame: the classes that its segments were given, as many as were counted."""
    said = subprocess.run([tool, path], capture_output=True, text=True, check=True).stdout
    classes = {}
    for number, *words in (line.split() for line in said.splitlines()):
        counts = {name: int(count) for name, count in (word.split("=") for word in words)}
        # A loss of the other direction that is taken back moves from one to the other: no segment of this frame.
        taken_back = min(counts.get("retransmitted", 0), 0)
        if taken_back < 0:
            counts["retransmitted"], counts["spurious"] = 0, counts["spurious"] + taken_back
        classes[int(number)] = counts
    return classes


@dataclass
class Traced:
    """What tcptrace says: its connections, the TCP packets that it understood, and what it marks in its time sequence
    graphs, by sender and receiver and microsecond: the end of the segment, and "R" or "O"."""

    rows: list[Row]
    packets: int
    marks: dict[tuple[Ends, int], list[tuple[int, str]]]


def tcptrace(path: Path) -> Traced:
    with tempfile.TemporaryDirectory() as scratch:
        # The plain format with microseconds is the one that it reads.
        subprocess.run(["editcap", "-F", "pcap", str(path), f"{scratch}/plain.pcap"], stderr=subprocess.DEVNULL, check=False)
        said = subprocess.run(["tcptrace", "--csv", "-n", "-r", "-l", "-S", "plain.pcap"], cwd=scratch, capture_output=True,
                              text=True, check=False, errors="replace").stdout.splitlines()
        marks: dict[tuple[Ends, int], list[tuple[int, str]]] = defaultdict(list)
        for graph in Path(scratch).glob("*_tsg.xpl"):
            for place, mark in _marks(graph):
                marks[place].append(mark)
    packets = next((int(line.split("seen, ")[1].split()[0]) for line in said if "TCP packets traced" in line), 0)
    lines = [line for line in said if line and not line.startswith("#")]
    rows = []
    for values in csv.DictReader(lines, skipinitialspace=True):
        a, b = _end(values["host_a"], values["port_a"]), _end(values["host_b"], values["port_b"])
        seconds, microseconds = values["first_packet"].split(".")  # written without its leading zeros
        row = Row(start=int(seconds) + int(microseconds) / 1e6)
        for ends, name in (((a, b), "a2b"), ((b, a), "b2a")):
            row.half[ends] = {key: _decimal(values[f"{column}_{name}"]) for key, column in (
                ("R", "rexmt_data_pkts"), ("O", "outoforder_pkts"), ("rtt_min", "RTT_min"), ("rtt_avg", "RTT_avg"),
                ("rtt_samples", "RTT_samples"))}
        rows.append(row)
    return Traced(rows, packets, marks)


def _marks(graph: Path) -> Iterator[tuple[tuple[Ends, int], tuple[int, str]]]:
    lines = graph.read_text().splitlines()
    ends = tuple(_end(*end.rsplit(":", 1)) for end in lines[2].removesuffix(" (time sequence graph)").split("_==>_"))
    letters = {"R": "R", "R FIN": "R", "HD": "R", "HD FIN": "R", "O": "O"}  # HD: a copy by the "hardware", counted as sent again
    for place, text in zip(lines, lines[1:]):
        if text in letters and place.startswith("atext "):
            _, time, end = place.split()
            yield (ends, int(time.replace(".", ""))), (int(end), letters[text])


def _decimal(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:  # "NA"
        return 0.0
