"""When an utterance is over: a speculative end-pointer, and a final one that takes longer and errs less.

    patience    = shortest_s + slope_s max(0, complete - whole), longest_s at most
    final       : silence >= patience
    speculative : silence >= patience - lead_s, and the text is still for still_s
    reset       : after a speculative end-point, speech is heard, or the best text becomes another

in a moment without speech, after one piece at least. A final end-point where no speculative one stands gives
that too, just before it.

silence: seconds since the small net last heard speech. still: seconds since the best labels last changed, the
run of blanks on the best path. whole: a language model's log-probability that the text ends after the pieces
so far. It is small inside a word and inside a sentence: it asks both whether a word ends and whether a
sentence does. Where no model says, the text is as likely whole as that of `unknown`.

A speculative end-point lets what follows recognition begin early; a reset takes it back. (Prefetching: Chang
et al. 2020, Interspeech, "Low latency speech recognition using end-to-end prefetching"; pauses judged by what
was said: Liu et al. 2015, ICASSP, "Accurate endpointing with expected pause duration", and Maas et al. 2018.)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SPEECH = 0.5  # posterior from which the net hears speech


class Decision(StrEnum):
    """What an end-pointer says, by the name of the event."""

    SPECULATIVE = "speculative_end"
    RESET = "reset"
    FINAL = "final"


@dataclass(frozen=True, kw_only=True)
class Signs:
    """What is known at one moment: of the audio by the net, of the text by the search."""

    speech: float
    """The net's posterior of speech, 0 to 1."""
    silence_s: float
    """Since the net last heard speech."""
    still_s: float
    """Since the best labels last changed."""
    pieces: int
    """Of the best labels."""
    version: int
    """How many times the best labels have changed."""
    whole: float | None = None
    """Log-probability that the text ends here; None: no language model says."""


@dataclass(frozen=True, kw_only=True)
class EndpointRule:
    """The rule's numbers; docs/decisions/0017-endpointing.md says how they were chosen.

    Raises:
        ValueError: times that are negative, or a longest patience below the shortest.
    """

    shortest_s: float = 0.3
    slope_s: float = 1.2
    complete: float = -0.4
    longest_s: float = 1.5
    lead_s: float = 0.21
    still_s: float = 0.06
    unknown: float = -1.0

    def __post_init__(self) -> None:
        least = min(self.shortest_s, self.slope_s, self.lead_s, self.still_s)
        if least < 0 or self.longest_s < self.shortest_s:
            raise ValueError(
                f"patience from {self.shortest_s:g} to {self.longest_s:g} s by {self.slope_s:g}, "
                f"{self.lead_s:g} s ahead and {self.still_s:g} s still: not possible; use no negative time, "
                "and a longest that is no less than the shortest"
            )

    def patience_s(self, whole: float | None) -> float:
        """How long a silence must be, of a text with this log-probability of its end."""
        doubt = self.complete - (self.unknown if whole is None else whole)
        return min(self.shortest_s + self.slope_s * max(0.0, doubt), self.longest_s)


class EndPointer:
    """Turns signs into decisions; the order of one utterance is (speculative reset)* speculative final.

    pointer = EndPointer(EndpointRule())
    for signs in moments: act_on(pointer.update(signs))
    """

    def __init__(self, rule: EndpointRule | None = None) -> None:
        self.rule = rule or EndpointRule()
        self.reset()

    def reset(self) -> None:
        """Begin an utterance."""
        self.done = False
        """Whether the final end-point is there; nothing follows it."""
        self._speculated: int | None = None

    @property
    def speculated(self) -> bool:
        """Whether a speculative end-point stands."""
        return self._speculated is not None

    def update(self, signs: Signs) -> tuple[Decision, ...]:
        """The decisions at a moment, in their order; mostly none."""
        if self.done:
            return ()
        made, heard = [], signs.speech >= SPEECH
        if self.speculated and (heard or signs.version != self._speculated):
            made.append(Decision.RESET)
            self._speculated = None
        if heard or signs.pieces == 0:
            return tuple(made)
        rule, patience = self.rule, self.rule.patience_s(signs.whole)
        final = signs.silence_s >= patience
        early = signs.silence_s >= patience - rule.lead_s and signs.still_s >= rule.still_s
        if not self.speculated and (final or early):
            made.append(Decision.SPECULATIVE)
            self._speculated = signs.version
        if final:
            made.append(Decision.FINAL)
            self.done = True
        return tuple(made)
