"""What a stack tells of an utterance, an event at a time, each of a kind:

    partial          the best text so far is another
    speculative_end  the speaker may have finished: text, lattice
    intent           what the text means; holds until a reset or a revision
    reset            the speaker goes on: the speculative end and the intent are taken back
    revision         the final text is another than the speculative one, whose intent is taken back
    speaker          who spoke
    whisper          whether it was whispered
    language         in which language
    final            the response: the text, its lattice, and all of the above; nothing follows it
"""

from __future__ import annotations

from dataclasses import dataclass

from ossicle.runtime.endpointer import Decision
from ossicle.runtime.language import Language
from ossicle.runtime.nlu import Intent
from ossicle.runtime.recognizer import Result
from ossicle.runtime.scheduling.networks import LANGUAGE, SPEAKER, WHISPER
from ossicle.runtime.session import PARTIAL
from ossicle.runtime.speaker import Speaker
from ossicle.runtime.whisper import Voice

SPECULATIVE, RESET, FINAL = str(Decision.SPECULATIVE), str(Decision.RESET), str(Decision.FINAL)
INTENT, REVISION = "intent", "revision"
KINDS = (PARTIAL, SPECULATIVE, RESET, INTENT, REVISION, SPEAKER, WHISPER, LANGUAGE, FINAL)


@dataclass(frozen=True)
class StackEvent:
    """One of KINDS. What an event of its kind does not tell is None."""

    kind: str
    text: str
    audio_s: float
    """What was heard by then."""
    cycles: int | None
    """Of the jobs of all networks by then; None where the devices count none."""
    at_cycle: int | None
    """When it is known, on the processor's clock from the first sample on."""
    jobs: int = 0
    """How many jobs of the stack's record came before it."""
    result: Result | None = None
    """Of speculative_end, revision, final: text, lattice, n-best."""
    silence_s: float | None = None
    """Since speech was last heard; of a final event None where the audio ended before an end-point."""
    revised: bool = False
    """Of final: whether a revision came."""
    intent: Intent | None = None
    voice: Voice | None = None
    speaker: Speaker | None = None
    language: Language | None = None


def meaning_json(intent: Intent) -> dict:
    """Intent, its posterior, and slots with their values."""
    return {
        "intent": intent.name,
        "posterior": round(intent.posterior, 4),
        "slots": intent.slots,
        "spans": [vars(span) for span in intent.spans],
    }


def verdicts_json(event: StackEvent) -> dict:
    """What an event says of meaning, voice, speaker and language, of each only where it is known."""
    made: dict = meaning_json(event.intent) if event.intent else {}
    if event.voice:
        made |= {"whispered": event.voice.whispered, "whisper_probability": round(event.voice.probability, 4)}
    if event.speaker:
        score = event.speaker.score
        made |= {"speaker": event.speaker.name, "speaker_score": None if score is None else round(score, 4)}
    if event.language:
        probability = round(event.language.probability, 4)
        made |= {"language": event.language.code, "language_probability": probability}
    return made
