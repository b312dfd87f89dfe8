"""How letters of names are misheard: chunks of letters said and heard, and their odds, learned from pairs.

    P(said, heard) = sum, over the ways to cut both into chunks, of the product of q(chunk, chunk)

q is learned by expectation and maximization, first of single letters (Ristad & Yianilos 1998), then of
chunks of up to two (joint multigrams: Bisani & Ney 2008, doi:10.1016/j.specom.2008.01.002); what is seen
seldom goes.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

Pair = tuple[str, str]
"""Letters said and letters heard, without spaces."""
ROUNDS, WIDE_ROUNDS = 3, 6
LEAST_SEEN, LEAST_COUNT, DISCOUNT, ADDED = 3, 1.5, 0.7, 0.05
SLANT = 0.35  # chunks begin about as far into the name as into what was heard
LEAST = 1e-4
NEVER = -1e9


def learned(pairs: list[Pair]) -> dict[Pair, float]:
    """log q of the chunks of some pairs."""
    chunks = _letters_alike({letter for said, heard in pairs for letter in said + heard})
    for _ in range(ROUNDS):
        chunks = _normalized(expected(pairs, chunks))
    for chunk in _wide(pairs):
        chunks[chunk] = _of_parts(chunk, chunks)
    for _ in range(WIDE_ROUNDS):
        chunks = _normalized(expected(pairs, chunks))
    return chunks


def odds_of(chunks: dict[Pair, float]) -> dict[Pair, float]:
    """log q(said, heard) - log q(said) q(heard) of chunks, the latter two of single letters by chance."""
    said, heard = defaultdict(float), defaultdict(float)
    for (a, b), value in chunks.items():
        for letter in a:
            said[letter] += math.exp(value)
        for letter in b:
            heard[letter] += math.exp(value)
    by_chance = [{c: math.log(n / sum(side.values())) for c, n in side.items()} for side in (said, heard)]
    return {
        (a, b): value - sum(by_chance[0][c] for c in a) - sum(by_chance[1][c] for c in b)
        for (a, b), value in chunks.items()
    }


def expected(pairs: Iterable[Pair], chunks: dict[Pair, float]) -> dict[Pair, float]:
    """How often each chunk was used, by the chunks' probabilities."""
    counts: dict[Pair, float] = defaultdict(float)
    for said, heard in pairs:
        steps = list(_steps(said, heard, chunks))
        before = {(0, 0): 0.0}
        for start, end, _, value in steps:
            if start in before:
                before[end] = _sum(before.get(end, NEVER), before[start] + value)
        whole = (len(said), len(heard))
        after = {whole: 0.0}
        for start, end, chunk, value in reversed(steps):
            if start in before and end in after:
                share = math.exp(before[start] + value + after[end] - before[whole])
                after[start] = _sum(after.get(start, NEVER), value + after[end])
                if share > LEAST:
                    counts[chunk] += share
    return counts


def _steps(said: str, heard: str, chunks: dict[Pair, float]) -> Iterator[tuple]:
    """(start, end, chunk, log q) of every chunk of a pair, each after all that may come before it."""
    for i in range(len(said) + 1):
        for j in range(len(heard) + 1):
            for a, b in ((0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)):
                chunk = said[i : i + a], heard[j : j + b]
                if i + a <= len(said) and j + b <= len(heard) and chunk in chunks:
                    yield (i, j), (i + a, j + b), chunk, chunks[chunk]


def _sum(a: float, b: float) -> float:
    high, low = (a, b) if a >= b else (b, a)
    return high + math.log1p(math.exp(low - high))


def _letters_alike(letters: set[str]) -> dict[Pair, float]:
    """Where learning begins: a letter is heard as itself more often than as any other."""
    count = len(letters)
    same, other, lost = math.log(0.5 / count), math.log(0.02 / count**1.2), math.log(0.05 / count)
    chunks = {(a, b): same if a == b else other for a in letters for b in letters}
    for letter in letters:
        chunks[letter, ""] = chunks["", letter] = lost
    return chunks


def _normalized(counts: dict[Pair, float]) -> dict[Pair, float]:
    """log q of counts; of single letters all, of wider chunks those that are not rare, less what they owe."""
    kept = {c: n for c, n in counts.items() if _single(c) or n >= LEAST_COUNT}
    total = sum(kept.values())
    return {c: math.log((n + (ADDED if _single(c) else -DISCOUNT)) / total) for c, n in kept.items()}


def _single(chunk: Pair) -> bool:
    return max(map(len, chunk)) <= 1


def _wide(pairs: list[Pair]) -> list[Pair]:
    """Chunks with two letters on one side or both, which are seen about the same place more than once."""
    seen = Counter[Pair]()
    for said, heard in pairs:
        for i in range(len(said)):
            for j in range(len(heard)):
                if abs(i / len(said) - j / len(heard)) < SLANT:
                    seen.update(_chunks_at(said[i : i + 2], heard[j : j + 2]))
    return sorted(chunk for chunk, count in seen.items() if count >= LEAST_SEEN)


def _chunks_at(said: str, heard: str) -> Iterator[Pair]:
    if len(heard) == 2:
        yield said[0], heard
    if len(said) == 2:
        yield said, heard[0]
    if len(said) == len(heard) == 2:
        yield said, heard


def _of_parts(chunk: Pair, chunks: dict[Pair, float]) -> float:
    """A little below the better of two ways to make a chunk of letters."""
    said, heard = chunk

    def of(part: Pair) -> float:
        return chunks.get(part, -12.0)

    first = of((said[0], heard[0])) + of((said[1:], heard[1:]))
    last = of((said[-1], heard[-1])) + of((said[:-1], heard[:-1]))
    return max(first, last) - 0.3
