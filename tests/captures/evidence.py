"""What a capture itself shows of each data segment: which of its bytes passed before and in which frame, what had been
acknowledged, how long its hole was open. A plain set of bytes for each sender, independent of Weir and of its peers."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from peers import End, Ends, Segment

COPY_S, COPY_BY_TIMESTAMP_S = 0.1, 0.001
LEAP = 1 << 24  #: no sender has so much in flight
BACK_TO_BACK_S = 0.001


@dataclass(frozen=True)
class Passed:
    """A range that was sent, in numbers that do not wrap."""

    begin: int
    end: int
    number: int
    time: float


@dataclass
class Evidence:
    """Of one segment with data, as things stood when it passed."""

    segment: Segment
    begin: int
    end: int
    high: int  #: end of the highest byte seen before it
    seen: int  #: of its bytes, those that had passed
    late: int  #: those below `high` that had not
    fresh: int  #: those above
    before: Passed | None  #: the last frame that carried any of the bytes seen
    recut: bool  #: no frame before had the same first and last byte
    gap: Passed | None  #: the frame that jumped over the late bytes
    raised: Passed | None  #: the frame that had raised `high` last
    acked: int | None  #: highest acknowledgment of the other end
    zero_window: bool  #: the other end's last window
    copy_of: int | None  #: frame with the same IP identification (or timestamp), sequence and length a moment ago
    refused: bool  #: the bytes were in a SYN, and its answer did not take them (RFC 7413)
    announced: int | None  #: an empty segment whose number says that these bytes had been sent
    fin_passed: bool  #: it ends with a FIN that had passed
    reopened: bool  #: SYNs with different numbers came from one of the ends
    leap: int | None  #: an earlier frame of the connection whose numbers lie further apart than a window is wide
    claimed: int | None  #: a frame whose IP header claims some of these bytes, for which its frame has no room
    joined: bool  #: the sender's SYN was not seen
    first: int  #: where the view of the sender begins
    mss: int  #: most payload of one segment
    silence: float  #: since the last frame of the connection
    closed: bool  #: a RST or both FINs were seen

    @property
    def length(self) -> int:
        return self.end - self.begin

    @property
    def wire_segments(self) -> int:
        return max(1, -(-self.length // self.mss))


@dataclass
class Sample:
    """An acknowledgment that times a segment."""

    ack: Segment
    sent: Passed
    rtt: float
    syn: bool = False
    by_sack: bool = False
    held_back: bool = False  #: a receiver may have waited with it: one segment, with no other close behind
    inside: bool = False  #: it ends within the frame: a super-packet of which a part is acknowledged
    after_retransmission: bool = False  #: bytes below it were sent again after it


class Ranges:
    """Disjoint ranges of numbers, ascending."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []

    def within(self, begin: int, end: int) -> int:
        """How many of [begin, end) are in it."""
        at = bisect.bisect_left(self.spans, (begin,))
        at -= at > 0 and self.spans[at - 1][1] > begin
        total = 0
        while at < len(self.spans) and self.spans[at][0] < end:
            total += min(end, self.spans[at][1]) - max(begin, self.spans[at][0])
            at += 1
        return total

    def add(self, begin: int, end: int) -> None:
        at = bisect.bisect_left(self.spans, (begin,))
        at -= at > 0 and self.spans[at - 1][1] >= begin
        until = at
        while until < len(self.spans) and self.spans[until][0] <= end:
            begin, end = min(begin, self.spans[until][0]), max(end, self.spans[until][1])
            until += 1
        self.spans[at:until] = [(begin, end)]


@dataclass
class Sender:
    """One direction of a connection."""

    high: int | None = None
    first: int = 0
    opened: bool = False
    finished: bool = False
    mss: int | None = None
    seen: Ranges = field(default_factory=Ranges)
    sacked: Ranges = field(default_factory=Ranges)
    sent: list[Passed] = field(default_factory=list)
    gaps: list[Passed] = field(default_factory=list)
    raised: Passed | None = None
    acked: int | None = None
    zero_window: bool = False
    by_end: dict[int, list[Passed]] = field(default_factory=lambda: defaultdict(list))
    again: list[Passed] = field(default_factory=list)  #: what began below `high`
    recent: list[Segment] = field(default_factory=list)
    syns: set[int] = field(default_factory=set)  #: their numbers
    syn_frames: set[int] = field(default_factory=set)
    empty: list[Passed] = field(default_factory=list)  #: segments without data above `high`
    claims: list[Passed] = field(default_factory=list)  #: bytes of IP headers for which there was no room
    controls_again: int = 0  #: SYNs and FINs without data that were sent before

    def unwrap(self, sequence: int) -> int:
        """The number nearest to the highest byte seen."""
        if self.high is None:
            return sequence
        distance = (sequence - self.high) & 0xFFFFFFFF
        return self.high + (distance - (1 << 32) if distance >= 1 << 31 else distance)

    def copy_of(self, s: Segment) -> int | None:
        for earlier in reversed(self.recent):
            if (earlier.sequence, earlier.length) != (s.sequence, s.length):
                continue
            by_id = s.ip_id != 0 and earlier.ip_id == s.ip_id and s.time - earlier.time < COPY_S
            by_timestamp = s.ip_id == 0 and s.timestamp is not None and earlier.timestamp == s.timestamp \
                and s.time - earlier.time < COPY_BY_TIMESTAMP_S
            if by_id or by_timestamp:
                return earlier.number
        return None


class Connection:
    """Both directions of what tshark calls one stream."""

    def __init__(self) -> None:
        self.senders: dict[End, Sender] = defaultdict(Sender)
        self.last_time: float | None = None
        self.reset = False
        self.leap: int | None = None

    def take(self, s: Segment) -> tuple[Evidence | None, list[Sample]]:
        me, other = self.senders[s.ends[0]], self.senders[s.ends[1]]
        self._look_for_leap(s, me, other)
        if s.claimed_bytes > 0 and me.high is not None:
            end = me.unwrap(s.sequence) + s.length
            me.claims.append(Passed(end, end + s.claimed_bytes, s.number, s.time))
        evidence = self._data(s, me, other)
        samples = self._acknowledgment(s, other) if s.acknowledgment is not None else []
        other.zero_window = s.window == 0 and not s.syn and not s.rst
        self.last_time = s.time
        self.reset = self.reset or s.rst
        return evidence, samples

    def _look_for_leap(self, s: Segment, me: Sender, other: Sender) -> None:
        leaps = me.high is not None and not s.syn and abs(me.unwrap(s.sequence) - me.high) > LEAP
        if s.acknowledgment is not None and other.high is not None and not s.rst:
            leaps = leaps or abs(other.unwrap(s.acknowledgment) - other.high) > LEAP
        if leaps and self.leap is None:
            self.leap = s.number

    def _data(self, s: Segment, me: Sender, other: Sender) -> Evidence | None:
        if s.rst:
            self._note_empty(s, me)
            return None
        if me.high is None and (s.length > 0 or s.syn or s.fin):
            me.high = me.first = s.sequence + 1 if s.syn else s.sequence
        if s.syn:
            me.controls_again += me.opened and s.length == 0
            me.opened, me.mss = True, s.mss
            me.syns.add(s.sequence)
            me.syn_frames.add(s.number)
            passed = Passed(me.unwrap(s.sequence), me.unwrap(s.sequence) + 1, s.number, s.time)
            me.by_end[passed.end].append(passed)
        if s.length == 0 and not s.fin:
            self._note_empty(s, me)
            return None
        assert me.high is not None
        begin = me.unwrap(s.sequence) + (1 if s.syn else 0)
        end = begin + s.length
        here = Passed(begin, end + (1 if s.fin else 0), s.number, s.time)
        evidence = self._evidence(s, me, other, begin, end) if s.length > 0 else None
        if begin < me.high:
            me.again.append(here)
            me.controls_again += s.length == 0
        elif begin > me.high:
            me.gaps.append(Passed(me.high, begin, s.number, s.time))
        if here.end > me.high:
            me.high, me.raised = here.end, here
        me.seen.add(begin, here.end)
        me.sent.append(here)
        me.by_end[here.end].append(here)
        me.recent = [*me.recent[-15:], s]
        me.finished = me.finished or s.fin
        return evidence

    @staticmethod
    def _note_empty(s: Segment, me: Sender) -> None:
        if me.high is not None and me.unwrap(s.sequence) > me.high:
            me.empty.append(Passed(me.high, me.unwrap(s.sequence), s.number, s.time))

    def _evidence(self, s: Segment, me: Sender, other: Sender, begin: int, end: int) -> Evidence:
        assert me.high is not None
        seen = me.seen.within(begin, end)
        fresh = max(0, end - max(begin, me.high))
        before = next((p for p in reversed(me.sent) if p.begin < end and begin < p.end), None) if seen else None
        gap = next((g for g in reversed(me.gaps) if g.begin < end and begin < g.end), None)
        agreed = min(me.mss, other.mss) if me.mss and other.mss else 1460
        return Evidence(
            segment=s, begin=begin, end=end, high=me.high, seen=seen, late=end - begin - seen - fresh, fresh=fresh, before=before,
            recut=not any(p.begin == begin for p in me.by_end[end]), gap=gap, raised=me.raised, acked=me.acked,
            zero_window=me.zero_window, copy_of=me.copy_of(s),
            refused=before is not None and before.number in me.syn_frames and (me.acked is None or me.acked <= begin),
            announced=next((p.number for p in me.empty if p.begin <= begin and end <= p.end), None),
            fin_passed=s.fin and me.seen.within(end, end + 1) > 0, reopened=len(me.syns) > 1 or len(other.syns) > 1,
            leap=self.leap, claimed=next((p.number for p in me.claims if p.begin <= end and begin <= p.end), None),
            joined=not me.opened, first=me.first, mss=max(agreed - s.options, 1),
            silence=s.time - (self.last_time if self.last_time is not None else s.time),
            closed=self.reset or (me.finished and other.finished))

    def _acknowledgment(self, s: Segment, of: Sender) -> list[Sample]:
        """Of the data that `of` sends: the segments that this one may time."""
        if of.high is None:
            return []
        number = of.unwrap(s.acknowledgment or 0)
        before = of.acked
        samples = []
        advanced = before is None or number > before
        if advanced:
            samples += self._timed(s, of, number, covers=number - (before if before is not None else of.first))
            of.acked = number
        for n, (left, right) in enumerate(s.sack[:4]):
            begin, end = of.unwrap(left), of.unwrap(right)
            if not number <= begin < end <= of.high:
                continue
            if n == 0 and not advanced:
                samples += self._timed(s, of, end, covers=None)
            of.sacked.add(begin, end)
        return samples

    @staticmethod
    def _timed(s: Segment, of: Sender, end: int, covers: int | None) -> Iterator[Sample]:
        """The segment that ends at `end`, or around it, when no byte of it was sent twice or SACKed before."""
        sent = of.by_end.get(end) or [p for p in of.sent[-300:] if p.begin < end < p.end]
        if len(sent) != 1 or of.sacked.within(sent[0].begin, end) > 0:
            return
        segment = sent[0]
        later = [p for p in of.again[-200:] if p.number >= segment.number]
        if any(p.begin < segment.end and segment.begin < p.end for p in later if p is not segment):
            return
        behind = bisect.bisect_right(of.sent, segment.number, key=lambda p: p.number)
        followed = behind < len(of.sent) and of.sent[behind].time - segment.time <= BACK_TO_BACK_S
        two = 2 * ((of.mss or 1460) - s.options)
        yield Sample(ack=s, sent=segment, rtt=s.time - segment.time, by_sack=covers is None,
                     syn=segment.end - segment.begin == 1 and segment.end == of.first,
                     held_back=covers is not None and not followed and covers < two,
                     inside=segment.end != end, after_retransmission=any(p.begin < segment.end for p in later))
