"""Why two programs may call one segment differently. Each rule is a condition that the capture itself must meet; what
meets none is unexplained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evidence import Evidence

REORDERING_S = 0.003
FORGOTTEN_IDLE_S, FORGOTTEN_UNANSWERED_S, FORGOTTEN_CLOSED_S = 60.0, 35.0, 10.0
TCPTRACE, TSHARK = "tcptrace", "tshark"

#: R: sent again. O: below the highest byte, and never seen before. K: keep-alive. P: zero-window probe.
#: D: copy made by the capture. U: unknown. -: new.
LETTERS = {"retransmitted": "R", "spurious": "R", "hole_fill": "O", "reordered": "O", "keepalive": "K", "probe": "P",
           "duplicate": "D", "unknown": "U"}


@dataclass(frozen=True)
class Case:
    """One segment, and what the two call it."""

    evidence: Evidence
    ours: dict[str, int]  #: Weir's classes, in wire segments
    peer: str
    theirs: str

    def count(self, letter: str) -> int:
        return sum(n for name, n in self.ours.items() if n > 0 and LETTERS.get(name) == letter)

    def calls(self, letter: str) -> bool:
        return self.count(letter) > 0

    @property
    def letters(self) -> str:
        return "".join(sorted({LETTERS[name] for name, n in self.ours.items() if n > 0 and name in LETTERS})) or "-"


@dataclass(frozen=True)
class Rule:
    name: str
    holds: Callable[[Case, Evidence], bool]
    shown: Callable[[Evidence], str]


def _before(e: Evidence) -> str:
    if e.before is None:
        return f"none of {e.length} bytes passed"
    return f"{e.seen} of {e.length} bytes passed, last in frame {e.before.number}"


def _age(e: Evidence) -> float:
    return e.segment.time - e.raised.time if e.raised else 0.0


def _remembered(e: Evidence) -> float:
    return FORGOTTEN_CLOSED_S if e.closed else FORGOTTEN_UNANSWERED_S if e.acked is None else FORGOTTEN_IDLE_S


def _parts(e: Evidence) -> str:
    return f"{e.seen} bytes again, {e.late} late, {e.fresh} new"


RULES = [
    Rule("keep-alive: the last byte acknowledged, again",
         lambda c, e: c.calls("K") and e.length <= 1 and e.begin == e.high - 1 and (e.acked or 0) >= e.high,
         lambda e: f"{e.length} byte below {e.high}, {e.acked} acknowledged"),
    Rule("zero-window probe",
         lambda c, e: c.calls("P") and e.length <= 1 and e.zero_window,
         lambda e: f"{e.length} byte against a window of 0"),
    Rule("copy made by the capture: same IP identification (or timestamp), sequence and length a moment ago",
         lambda c, e: c.calls("D") and e.copy_of is not None,
         lambda e: f"frame {e.copy_of} again"),
    Rule("below the start of a view that was joined mid-stream",
         lambda c, e: c.calls("U") and e.joined,
         lambda e: f"no SYN seen; {e.begin - e.first:+d} from the first byte"),
    Rule("the connection was forgotten in between: idle for 60 s, 35 s unanswered, or 10 s closed",
         lambda c, e: e.silence > _remembered(e),
         lambda e: f"{e.silence:.0f} s of silence"),
    Rule("super-packet: one frame to the peer, its wire segments to Weir",
         lambda c, e: any(1 < c.count(letter) <= e.wire_segments for letter in c.theirs),
         lambda e: f"{e.length} bytes, {e.mss} a segment"),
    Rule("tcptrace: the bytes are not cut as before, and it loses track of them",
         lambda c, e: c.peer == TCPTRACE and c.calls("R") and c.theirs != "R" and e.seen * 2 > e.seen + e.late and e.recut,
         lambda e: f"{_before(e)}, not with these ends"),
    Rule("tshark: out of order within its RTT (or 3 ms) of the highest byte, whatever passed before",
         lambda c, e: c.peer == TSHARK and c.theirs == "O" and c.calls("R") and e.seen * 2 > e.length
         and _age(e) < max(REORDERING_S, e.segment.initial_rtt or 0.0) + 1e-6,
         lambda e: f"{_before(e)}; {_age(e) * 1e3:.1f} ms after the highest byte"),
    Rule("tshark: a retransmission, though the bytes never passed here",
         lambda c, e: c.peer == TSHARK and c.theirs == "R" and c.calls("O") and e.late >= e.seen,
         lambda e: f"{_before(e)}; jumped over by frame {e.gap.number if e.gap else 0}"),
    Rule("tshark: keep-alive, though nobody has acknowledged the byte",
         lambda c, e: c.peer == TSHARK and c.theirs == "K" and c.calls("R") and (e.acked is None or e.acked < e.high),
         lambda e: f"acknowledged up to {e.acked}, sent up to {e.high}"),
    Rule("data of a refused Fast Open SYN, sent as if for the first time (RFC 7413)",
         lambda c, e: c.letters == "-" and e.refused,
         lambda e: f"{_before(e)}, a SYN; acknowledged up to {e.acked}, from {e.begin}"),
    Rule("acknowledged before it passed here: sent again for nothing, or its ACK overtook it",
         lambda c, e: "spurious" in c.ours and e.late * 2 > e.length and e.acked is not None and e.acked >= e.end,
         lambda e: f"{_before(e)}; ends at {e.end}, acknowledged up to {e.acked}"),
    Rule("its FIN had passed, its bytes had not",
         lambda c, e: c.calls("O") and e.fin_passed and e.late == e.length,
         lambda e: f"{_before(e)}, of its FIN {e.raised.number if e.raised else 0}"),
    Rule("an empty segment had told that these bytes were sent; Weir goes by the bytes",
         lambda c, e: c.letters == "-" and e.fresh == e.length and e.announced is not None,
         lambda e: f"{_before(e)}; frame {e.announced} carried a number above them"),
    Rule("SYNs with other numbers came in between: another connection of the same ports",
         lambda c, e: e.reopened and c.letters in "U-",
         lambda e: f"from {e.begin - e.first:+d}"),
    Rule("headers contradict each other: IP claims bytes for which its frame has no room, and is believed",
         lambda c, e: e.claimed is not None,
         lambda e: f"{_parts(e)}; frame {e.claimed} claims some of them"),
    Rule("numbers leap further than a window is wide: a file with most of its frames cut out, or fuzzed",
         lambda c, e: e.leap is not None,
         lambda e: f"{_parts(e)}; leap at frame {e.leap}"),
    Rule("part new, part old: Weir goes by the larger old part, the peer by the first or the last byte",
         lambda c, e: e.length not in (e.seen, e.late, e.fresh),
         _parts),
]


def explain(case: Case) -> Rule | None:
    return next((rule for rule in RULES if rule.holds(case, case.evidence)), None)
