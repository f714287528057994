#!/usr/bin/env python3
"""Where does Weir disagree with tcptrace and tshark, and why?

For every capture below $WEIR_CAPTURES, connection by connection and direction by direction. Each disagreement is taken
apart into frames, and each frame into a rule whose condition the capture must meet (rules.py); what no rule explains is
counted and shown, and fails the run. Skipped (exit code 77) without WEIR_CAPTURES.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

import peers  # noqa: E402
from evidence import Connection, Evidence, Sample  # noqa: E402
from netlab.report import Checks, table, write_csv  # noqa: E402
from netlab.tools import built, weir_binary  # noqa: E402
from rules import TCPTRACE, TSHARK, Case, explain  # noqa: E402

CACHE = Path(__file__).resolve().parent.parent.parent / ".cache" / "captures"
EXIT_SKIPPED = 77
UNEXPLAINED = "unexplained"
RTT_EXACT_MS, RTT_RESOLUTION_MS, RTT_MEAN_SHARE = 0.001, 0.1, 0.01


@dataclass
class Disagreement:
    """What one rule explains of one question, in one direction of one connection."""

    capture: str
    ends: peers.Ends
    question: str
    rule: str
    segments: int = 0
    example: str = ""


@dataclass
class Found:
    """What all captures came to."""

    compared: Counter = field(default_factory=Counter)  #: by question
    agreed: Counter = field(default_factory=Counter)
    totals: Counter = field(default_factory=Counter)  #: segments, by question and program
    disagreements: dict[tuple, Disagreement] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)  #: captures of which tcptrace reads only a part
    capture: str = ""

    def explain(self, question: str, rule: str, ends: peers.Ends, segments: int, example: str) -> None:
        key = (self.capture, ends, question, rule)
        found = self.disagreements.setdefault(key, Disagreement(*key, example=example))
        found.segments += segments


@dataclass
class Direction:
    """What one sender of one connection sent, with Weir's classes of it."""

    ends: peers.Ends
    start: float
    segments: list[tuple[Evidence, dict[str, int]]] = field(default_factory=list)
    others: list[dict[str, int]] = field(default_factory=list)  #: Weir's classes of frames that have no data for tshark
    syns: set[int] = field(default_factory=set)  #: their numbers
    controls_again: int = 0  #: SYNs and FINs without data, repeated
    samples: list[Sample] = field(default_factory=list)  #: that some program may take
    taken: list[Sample] = field(default_factory=list)  #: that Weir took


def directions_of(frames: list[peers.Segment], classes: dict[int, dict[str, int]]) -> dict[tuple[int, peers.End], Direction]:
    connections: dict[int, Connection] = defaultdict(Connection)
    found: dict[tuple[int, peers.End], Direction] = {}
    starts: dict[int, float] = {}
    for s in frames:
        starts.setdefault(s.stream, s.time)
        evidence, samples = connections[s.stream].take(s)
        mine = found.setdefault((s.stream, s.ends[0]), Direction(s.ends, starts[s.stream]))
        other = found.setdefault((s.stream, s.ends[1]), Direction((s.ends[1], s.ends[0]), starts[s.stream]))
        ours = classes.get(s.number, {})
        if evidence:
            mine.segments.append((evidence, ours))
        elif ours:
            mine.others.append(ours)
        sender = connections[s.stream].senders[s.ends[0]]
        mine.controls_again, mine.syns = sender.controls_again, sender.syns
        other.samples += samples
        if "rtt" in ours:
            other.taken += samples[-1:]
    return found


def counted(ours: dict[str, int], *classes: str) -> int:
    return sum(ours.get(name, 0) for name in classes)


def against_rows(rows: list[peers.Row], found: dict, report: Found) -> None:
    """`weir observe --flows` says what the classes of the frames add up to."""
    said: Counter = Counter()
    for row in rows:
        for ends, half in row.half.items():
            said[ends, "again"] += half["retransmitted"] + half["spurious"]
            said[ends, "hole_fill"] += half["hole_fill"]
    sums: Counter = Counter()
    for direction in found.values():
        for ours in [ours for _, ours in direction.segments] + direction.others:
            sums[direction.ends, "again"] += counted(ours, "retransmitted", "spurious")
            sums[direction.ends, "hole_fill"] += counted(ours, "hole_fill")
    question = "the rows of --flows are the sums of the frames"
    for ends, kind in said.keys() | sums.keys():
        report.compared[question] += 1
        report.agreed[question] += said[ends, kind] == sums[ends, kind]
        if said[ends, kind] != sums[ends, kind]:
            report.explain(question, UNEXPLAINED, ends, abs(said[ends, kind] - sums[ends, kind]),
                           f"{kind}: rows {said[ends, kind]}, frames {sums[ends, kind]}")


def cases_of(traced: peers.Traced, ends: peers.Ends, parts: list[Direction]) -> list[Case]:
    """The segments with tcptrace's marks. Of frames of one microsecond and end the later ones have them; where the frame
    is shorter than its header says, the end is not ours."""
    marks = {place: list(found) for place, found in traced.marks.items() if place[0] == ends}
    segments = [pair for part in parts for pair in part.segments]
    letters: dict[int, set[str]] = defaultdict(set)
    for exact in (True, False):
        for evidence, _ in reversed(segments):
            s = evidence.segment
            end = (s.sequence + s.length + s.syn + s.fin) & 0xFFFFFFFF
            left = marks.get((ends, s.microsecond), [])
            for mark in ("R", "O"):
                found = next((m for m in left if m[1] == mark and (m[0] == end or not exact)), None)
                if found:
                    left.remove(found)
                    letters[s.number].add(mark)
    return [Case(e, ours, TCPTRACE, "".join(sorted(letters[e.segment.number])) or "-") for e, ours in segments]


def against_tcptrace(traced: peers.Traced, found: dict, report: Found) -> None:
    """Connections that use the same ports one after the other are taken together: where one ends is its own question."""
    theirs: dict[peers.Ends, Counter] = defaultdict(Counter)
    for row in traced.rows:
        for ends, half in row.half.items():
            theirs[ends].update({letter: int(half[letter]) for letter in "RO"})
    parts: dict[peers.Ends, list[Direction]] = defaultdict(list)
    for direction in found.values():
        parts[direction.ends].append(direction)
    for ends, counted_there in theirs.items():
        cases = cases_of(traced, ends, parts[ends])
        for letter, question in (("R", "tcptrace: retransmitted data packets"), ("O", "tcptrace: out of order packets")):
            ours, marked = sum(c.count(letter) for c in cases), sum(letter in c.theirs for c in cases)
            report.compared[question] += 1
            report.totals[question, "Weir"] += ours
            report.totals[question, "peer"] += counted_there[letter]
            report.agreed[question] += ours == counted_there[letter]
            if marked != counted_there[letter]:
                of_no_segment(ends, question, letter, counted_there[letter] - marked, parts[ends], report)
            for case in cases:
                if case.count(letter) != (letter in case.theirs):
                    judge(question, case, ends, abs(case.count(letter) - (letter in case.theirs)), report)


def of_no_segment(ends: peers.Ends, question: str, letter: str, count: int, parts: list[Direction], report: Found) -> None:
    """What tcptrace counts beside the segments with data."""
    again, syns = sum(part.controls_again for part in parts), len({syn for part in parts for syn in part.syns})
    if letter == "R" and 0 < count <= again:
        rule = "a SYN or FIN without data, again: Weir counts these apart"
    elif 0 < count < syns:
        rule = "SYNs of one connection after the other with the same ports, taken for one"
    else:
        rule = UNEXPLAINED
    report.explain(question, rule, ends, abs(count), f"{count} that it marks at no segment; {again} SYNs and FINs again, "
                   f"{syns} different SYNs")


def against_rtt(traced: peers.Traced, rows: list[peers.Row], found: dict, report: Found) -> None:
    """Of connections that every program takes for one. Milliseconds."""
    one: dict[peers.Ends, list[tuple[dict, dict]]] = defaultdict(list)
    for row in traced.rows:
        for ends, half in row.half.items():
            one[ends] += [(half, ours.half[ends]) for ours in rows if ends in ours.half]
    for direction in found.values():
        if len(one[direction.ends]) != 1:
            continue
        theirs, ours = one[direction.ends][0]
        if not direction.taken or not theirs["rtt_samples"]:
            continue
        taken = [s.rtt * 1e3 for s in direction.taken]
        compare_rtt("RTT: the least of a row is that of its samples", RTT_EXACT_MS, min(taken), ours["rtt_min"], direction,
                    report)
        compare_rtt("tcptrace: least RTT", RTT_RESOLUTION_MS, min(taken), theirs["rtt_min"], direction, report)
        compare_rtt("tcptrace: mean RTT", RTT_RESOLUTION_MS + RTT_MEAN_SHARE * theirs["rtt_avg"], statistics.fmean(taken),
                    theirs["rtt_avg"], direction, report)


def compare_rtt(question: str, slack: float, ours: float, theirs: float, direction: Direction, report: Found) -> None:
    report.compared[question] += 1
    if abs(ours - theirs) <= slack:
        report.agreed[question] += 1
        return
    report.explain(question, why_rtt_differs(question, slack, theirs, direction) or UNEXPLAINED, direction.ends, 1,
                   f"Weir {ours:.3f} ms of {len(direction.taken)} samples, tcptrace {theirs:.1f}")


def why_rtt_differs(question: str, slack: float, theirs: float, direction: Direction) -> str | None:
    """tcptrace times cumulative ACKs that end where a segment does: with those samples its figure must come out. Whether
    ACKs behind a retransmission are among them depends on what it has merged by then: with or without."""
    if not question.startswith("tcptrace"):
        return None
    figure = min if "least" in question else statistics.fmean
    its = [s for s in direction.samples if not s.by_sack and not s.inside]
    taken = {id(s) for s in direction.taken}
    for samples in (its, [s for s in its if not s.after_retransmission]):
        values = [s.rtt * 1e3 for s in samples]
        if values and figure is min and min(values) == 0.0 < theirs:
            return "tcptrace takes a sample of 0 for none, and a later one for the least"
        if not values or abs(figure(values) - theirs) > slack:
            continue
        left_out = {name for s in samples if id(s) not in taken for name, said in (
            ("SYNs", s.syn), ("ACKs that a receiver may have held back", s.held_back and not s.syn),
            ("ACKs behind a retransmission", s.after_retransmission)) if said}
        return "it is that of all cumulative ACKs; Weir leaves out " + (", ".join(sorted(left_out)) or "some for other reasons")
    return None


def judge(question: str, case: Case, ends: peers.Ends, segments: int, report: Found) -> None:
    rule = explain(case)
    e = case.evidence
    report.explain(question, rule.name if rule else UNEXPLAINED, ends, segments,
                   f"frame {e.segment.number}: Weir {case.letters}, {case.peer} {case.theirs}: {rule.shown(e) if rule else e}")


def against_tshark(found: dict, report: Found) -> None:
    question = "tshark: label of each segment with data"
    for direction in found.values():
        for evidence, ours in direction.segments:
            theirs = "".join(sorted(evidence.segment.labels - {"gap"})) or "-"
            case = Case(evidence, ours, TSHARK, theirs)
            report.compared[question] += 1
            report.totals[question, "Weir"] += case.letters != "-"
            report.totals[question, "peer"] += theirs != "-"
            if set(case.letters) & set(theirs):
                report.agreed[question] += 1
            else:
                judge(question, case, direction.ends, 1, report)


def examine(path: Path, binary: Path, tool: Path, report: Found) -> None:
    report.capture = path.name
    plain = peers.unpacked(path, CACHE)
    frames = peers.tshark(plain, CACHE)
    found = directions_of(frames, peers.weir_classes(tool, path))
    rows = peers.weir_rows(binary, path)
    against_rows(rows, found, report)
    traced = peers.tcptrace(plain)
    if traced.packets == len(frames):
        against_tcptrace(traced, found, report)
        against_rtt(traced, rows, found, report)
    else:
        report.unread.append(f"{path.name}: {traced.packets} of {len(frames)} TCP packets")
    against_tshark(found, report)


def print_disagreements(report: Found) -> None:
    for (capture, ends), group in itertools.groupby(report.disagreements.values(), key=lambda d: (d.capture, d.ends)):
        print(f"{capture}, {ends[0][0]}:{ends[0][1]} -> {ends[1][0]}:{ends[1][1]}")
        for d in group:
            print(f"  {d.question}: {d.segments} x {d.rule}\n      {d.example}")


def print_summary(report: Found) -> None:
    print(table(["question", "compared", "agree", "Weir", "peer"],
                [[q, report.compared[q], report.agreed[q], *(report.totals.get((q, who)) for who in ("Weir", "peer"))]
                 for q in sorted(report.compared)]))
    sums: Counter = Counter()
    for d in report.disagreements.values():
        sums[d.question, d.rule] += d.segments
    print()
    print(table(["question", "segments", "why they differ"], [[q, n, rule] for (q, rule), n in sorted(sums.items())]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only captures whose name has one of these in it")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "weir-captures")
    arguments = parser.parse_args()
    folder = os.environ.get("WEIR_CAPTURES")
    if not folder:
        print("SKIPPED: WEIR_CAPTURES names no folder of captures")
        return EXIT_SKIPPED
    paths = [p for p in sorted(Path(folder).glob("**/*.pcap*"))
             if not arguments.names or any(name in p.name for name in arguments.names)]
    report = Found()
    for path in paths:
        examine(path, weir_binary(), built("captures/segment_classes"), report)
    print_disagreements(report)
    for line in report.unread:
        print(f"tcptrace does not read all of {line}")
    print_summary(report)
    checks = Checks()
    unexplained: Counter = Counter()
    for d in report.disagreements.values():
        unexplained["RTT" in d.question] += d.segments if d.rule == UNEXPLAINED else 0
    checks.check("every segment that is called otherwise is explained by the capture itself", unexplained[False] == 0,
                 f"{unexplained[False]} are not")
    compared = sum(n for question, n in report.compared.items() if "RTT" in question)
    checks.check("so is every RTT but one in a hundred", unexplained[True] * 100 <= compared,
                 f"{unexplained[True]} of {compared} are not")
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_csv(arguments.out / "disagreements.csv", [vars(d) for d in report.disagreements.values()])
    print(f"every one of them: {arguments.out / 'disagreements.csv'}")
    return checks.exit_code()


if __name__ == "__main__":
    sys.exit(main())
