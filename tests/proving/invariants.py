"""What holds of every run of a controller, whatever the path does, read off the truth of the simulator and not off what
the controller says of itself. Each rule gives None, or a Finding with what was seen and what was allowed. (But for the base RTT
in q_hi: which connections' it is depends on who sends when.)

| rule | means |
| --- | --- |
| floor, ceiling | the shaped rate is within its limits at every instant |
| evidence | *down*: under everything of the last 10 s only when in these the path dropped a packet or held a queue of 2 ms. |
|   | *up*: over everything of the last 30 s (longer than six cuts take) only when within 3 s the site used 0.9 of its rate or |
|   | had packets waiting |
| spacing | two cuts are an RTT apart at the least, in whole ticks: the second answers to what was sent after the first. A cut goes |
|   | under everything of the last 10 s, so that a probe's way back is none |
| queue | the provider's queue is not over 2 q_hi for longer than 5 s on end |
| cycle | while nothing changes but the controller: no line of the spectrum holds more than half of the rate's variance at an |
|   | amplitude of more than 5 % of the rate. Probes are 4 to 8 % but short, with 40 % of jitter between: their lines stay |
|   | under it. 20 s at least, begun 8 s after the last change, Hann window, mean and trend taken off; periods up to a quarter |
|   | of it, so that four turns are seen. A line is three bins wide, as the window makes it |

And the goals: received >= 85 % of what the oracle's box got through, p95 of the provider's queue <= 2 q_hi (or no worse
than the oracle's), Jain's index of two boxes >= 0.9 over the last half.
"""

from __future__ import annotations

import cmath
import math
from collections import deque
from dataclasses import dataclass

BIN_S, TICK_S = 0.01, 0.1
QUEUE_HIGH_MS, QUEUE_HIGH_OF_BASE = 8.0, 0.08
LOW_MEMORY_S, HIGH_MEMORY_S = 10.0, 30.0
EVIDENT_QUEUE_MS, DEMAND_S, DEMAND_SHARE = 2.0, 3.0, 0.9
QUEUE_TIME_S = 5.0
STEADY_S, SETTLED_S = 20.0, 8.0
LINE_SHARE, LINE_AMPLITUDE, TURNS = 0.5, 0.05, 4
LEAST_OF_ORACLE, LEAST_JAIN = 0.85, 0.9


@dataclass(frozen=True)
class Finding:
    rule: str
    at_s: float
    worse: float  # by what factor the bound was missed; > 1
    says: str


@dataclass
class SiteSeries:
    """Bins of 10 ms, ticks of 100 ms."""
    shaped: list[float]
    received: list[float]
    demand: list[bool]
    tick_sent: list[float]
    tick_rate: list[float]
    tick_backlogged: list[bool]


@dataclass
class Run:
    capacity: list[float]
    queue_ms: list[float]
    dropped: list[int]  # packets, over the limit and at random
    sites: list[SiteSeries]
    queue_p95_ms: float
    loss: float
    base_ms: float  # what q_hi was made of: as measured, median over the run, but no more than any connection's RTT


def changes(shaped: list[float]):
    """(bin, before, after)"""
    return [(b, shaped[b - 1], shaped[b]) for b in range(1, len(shaped)) if shaped[b] != shaped[b - 1]]


def running(values: list[float], bins: int, better) -> list[float]:
    """The least (or most, by `better`) of the `bins` values before each; of the first, itself."""
    best: deque[int] = deque()
    out = []
    for i, value in enumerate(values):
        while best and best[0] < i - bins:
            best.popleft()
        out.append(values[best[0]] if best else value)
        while best and better(value, values[best[-1]]):
            best.pop()
        best.append(i)
    return out


def lows(shaped: list[float]) -> list[int]:
    before = running(shaped, round(LOW_MEMORY_S / BIN_S), lambda a, b: a <= b)
    return [b for b, was, now in changes(shaped) if now < was and now < before[b]]


def floor_holds(shaped: list[float], floor: float) -> Finding | None:
    least = min(shaped)
    if least >= floor:
        return None
    return Finding("floor", shaped.index(least) * BIN_S, floor / max(least, 1.0), f"{least / 1e6:.3f} Mbit/s")


def ceiling_holds(shaped: list[float], ceiling: float) -> Finding | None:
    most = max(shaped)
    if most <= ceiling:
        return None
    return Finding("ceiling", shaped.index(most) * BIN_S, most / ceiling, f"{most / 1e6:.3f} Mbit/s")


def evidence_down(run: Run, site: SiteSeries) -> Finding | None:
    evident = [0]
    for dropped, queue in zip(run.dropped, run.queue_ms):
        evident.append(evident[-1] + (1 if dropped > 0 or queue >= EVIDENT_QUEUE_MS else 0))
    for b in lows(site.shaped):
        if evident[b] == evident[max(0, b - round(LOW_MEMORY_S / BIN_S))]:
            return Finding("evidence", b * BIN_S, site.shaped[b - 1] / site.shaped[b],
                           f"down to {site.shaped[b] / 1e6:.2f} Mbit/s without a drop or a queue for {LOW_MEMORY_S:g} s")
    return None


def evidence_up(site: SiteSeries) -> Finding | None:
    before = running(site.shaped, round(HIGH_MEMORY_S / BIN_S), lambda a, b: a >= b)
    for b, was, now in changes(site.shaped):
        if now <= was or now <= before[b]:
            continue
        last = round(b * BIN_S / TICK_S)
        ticks = range(max(0, last - round(DEMAND_S / TICK_S)), min(last + 1, len(site.tick_sent)))
        if not any(site.tick_backlogged[t] or site.tick_sent[t] >= DEMAND_SHARE * site.tick_rate[t] for t in ticks):
            return Finding("evidence", b * BIN_S, now / was, f"up to {now / 1e6:.2f} Mbit/s without demand")
    return None


def spacing(site: SiteSeries, rtt_s: float) -> Finding | None:
    least = max(1, math.ceil(rtt_s / TICK_S - 1e-9)) * TICK_S
    cuts = lows(site.shaped)
    for first, second in zip(cuts, cuts[1:]):
        gap = (second - first) * BIN_S
        if gap < least - BIN_S / 2:
            return Finding("spacing", second * BIN_S, least / gap, f"two cuts {1e3 * gap:.0f} ms apart, RTT {1e3 * rtt_s:.0f} ms")
    return None


def q_high_ms(base_ms: float) -> float:
    return max(QUEUE_HIGH_MS, QUEUE_HIGH_OF_BASE * base_ms)


def queue_bounded(run: Run) -> Finding | None:
    bound = 2 * q_high_ms(run.base_ms)
    longest, since, end = 0, 0, 0
    for b, queue in enumerate(run.queue_ms):
        since = since + 1 if queue > bound else 0
        if since > longest:
            longest, end = since, b
    if longest * BIN_S <= QUEUE_TIME_S:
        return None
    stretch = sorted(run.queue_ms[end - longest + 1:end + 1])
    return Finding("queue", (end - longest + 1) * BIN_S, longest * BIN_S / QUEUE_TIME_S,
                   f"{longest * BIN_S:.1f} s over {bound:.0f} ms, half of it over {stretch[len(stretch) // 2]:.0f} ms")


def line(values: list[float]) -> tuple[float, float, int]:
    """The strongest line: its share of the variance, its amplitude over the mean, and its turns."""
    n = len(values)
    mean = sum(values) / n
    middle = (n - 1) / 2
    slope = sum((i - middle) * v for i, v in enumerate(values)) / sum((i - middle) ** 2 for i in range(n))
    window = [0.5 - 0.5 * math.cos(2 * math.pi * i / n) for i in range(n)]
    x = [(v - mean - slope * (i - middle)) * w for i, (v, w) in enumerate(zip(values, window))]
    powers = []
    for k in range(n // 2):
        turn = cmath.exp(-2j * math.pi * k / n)
        total = 0j
        for v in reversed(x):  # Horner: no table of n^2 cosines
            total = total * turn + v
        powers.append(abs(total) ** 2)
    whole = sum(powers[1:])
    if whole <= 0 or mean <= 0:
        return 0.0, 0.0, 0
    lines = {k: sum(powers[k - 1:k + 2]) for k in range(TURNS, n // 2 - 1)}
    k = max(lines, key=lines.get)
    # Parseval: a sine of amplitude A leaves n A^2 sum(w^2) / 4 on its side of the spectrum.
    amplitude = math.sqrt(4 * lines[k] / (n * sum(w * w for w in window)))
    return lines[k] / whole, amplitude / mean, k


def steady_stretches(edges_s: list[float], length_s: float):
    for begin, end in zip(edges_s, edges_s[1:] + [length_s]):
        if end - begin - SETTLED_S >= STEADY_S:
            yield begin + SETTLED_S, end


def cycle(site: SiteSeries, edges_s: list[float], length_s: float) -> Finding | None:
    worst = None
    for begin, end in steady_stretches(sorted({0.0, *edges_s}), length_s):
        bins = range(round(begin / BIN_S), min(round(end / BIN_S), len(site.shaped)), round(TICK_S / BIN_S))
        if not all(site.demand[b] for b in bins):
            continue
        share, amplitude, turns = line([site.shaped[b] for b in bins])
        if share > LINE_SHARE and amplitude > LINE_AMPLITUDE:
            found = Finding("cycle", begin, amplitude / LINE_AMPLITUDE,
                            f"{100 * amplitude:.0f} % at a period of {(end - begin) / turns:.1f} s, {100 * share:.0f} % of the variance")
            worst = found if worst is None or found.worse > worst.worse else worst
    return worst


def keeps_up(received: float, oracle: float) -> Finding | None:
    share = received / oracle if oracle > 0 else 1.0
    if share >= LEAST_OF_ORACLE:
        return None
    return Finding("utilisation", 0.0, LEAST_OF_ORACLE / max(share, 1e-3), f"{100 * share:.0f} % of the oracle's")


def short_queue(p95_ms: float, oracle_p95_ms: float, base_ms: float) -> Finding | None:
    bound = max(2 * q_high_ms(base_ms), oracle_p95_ms)
    if p95_ms <= bound:
        return None
    return Finding("queue-p95", 0.0, p95_ms / bound, f"p95 {p95_ms:.0f} ms, allowed {bound:.0f} ms")


def jain(received: list[float]) -> float:
    """R. Jain, D. Chiu, W. Hawe, DEC-TR-301, 1984."""
    squares = len(received) * sum(r * r for r in received)
    return sum(received) ** 2 / squares if squares > 0 else 1.0


def fair(received: list[float]) -> Finding | None:
    index = jain(received)
    if index >= LEAST_JAIN:
        return None
    return Finding("fairness", 0.0, LEAST_JAIN / index, f"Jain {index:.2f}, shares {' '.join(f'{r / sum(received):.2f}' for r in received)}")
