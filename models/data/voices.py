"""The synthesizers of the corpus: their voices, which are held out, and how each is run."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from ossicle.models.data.accent import phones

RATE = 16000
ESPEAK_ACCENTS = ("en-us", "en-us", "en-us", "en-gb", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-rp",
                  "en-gb-x-gbcwmd", "en-029", "en-us-nyc")  # fmt: skip
OTHER_LANGUAGES = ("de",)  # of espeak-ng
ESPEAK_VARIANTS = (
    "adam", "caleb", "edward", "f1", "f2", "f4", "m1", "m2", "m3", "m4", "m6", "m8", "klatt", "klatt2",
    "klatt3", "klatt5", "klatt6", "Alex", "Alicia", "Andrea", "Andy", "antonio", "aunty", "belinda",
    "benjamin", "boris", "david", "Diogo", "ed", "Gene", "Gene2", "grandma", "grandpa", "gustave", "Henrique",
    "Hugo", "iven", "iven2", "iven3", "iven4", "Jacky", "john", "Lee", "marcelo", "Marco", "Mario", "max",
    "Michael", "michel", "miguel", "norbert", "pablo", "paul", "pedro", "rob", "sandro", "shelby", "steph",
    "steph2", "steph3", "travis", "victor", "zac",
)  # fmt: skip
ESPEAK_DEV = ("f5", "m7", "quincy")
ESPEAK_TEST = ("f3", "m5", "Annie", "edward2", "klatt4", "linda", "robert", "Denis")
TRAINING = {
    "espeak": 0.36,
    "flite:slt": 0.16,
    "flite:awb": 0.16,
    "flite:kal16": 0.1,
    "festival:kal_diphone": 0.15,
    "festival:cmu_us_slt_arctic_hts": 0.07,
}
SHARES = {  # of each set; "espeak" stands for all variants that the set may use
    "train": TRAINING,
    "dev": {"espeak": 1.0},
    "test-sentences": TRAINING,
    "test-voices": {"espeak": 1.0},
    "test-synthesizer": {"flite:rms": 0.5, "festival:ked_diphone": 0.5},
    "test-names": {"espeak": 0.5, "flite:rms": 0.25, "festival:ked_diphone": 0.25},
}
VARIANTS = {"train": ESPEAK_VARIANTS, "test-sentences": ESPEAK_VARIANTS, "dev": ESPEAK_DEV}
FOREIGN = "@"  # flite:slt@de: an English voice, given the sounds of another language (accent.py)
PACKAGES = {  # of Debian
    "espeak": "espeak-ng",
    "flite": "flite",
    "festival": "festival",
    "kal_diphone": "festvox-kallpc16k",
    "ked_diphone": "festvox-kdlpc16k",
    "cmu_us_slt_arctic_hts": "festvox-us-slt-hts",
}
LICENCES = {
    "espeak": "output of espeak-ng (GPL-3.0-or-later program)",
    "flite": "output of flite (BSD-style, Carnegie Mellon University)",
    "festival": "output of festival (MIT-style, University of Edinburgh and Carnegie Mellon University)",
}


INTONATION = (  # of festival's diphone voices, whose model was made of a woman of 170 Hz
    "(set! int_lr_params '((target_f0_mean {f0}) (target_f0_std {deviation})"
    " (model_f0_mean 170) (model_f0_std 34)))"
)
CENTRES = {"slt": 170, "awb": 130, "kal16": 105, "rms": 105, "kal_diphone": 105, "ked_diphone": 105}  # Hz
DEVIATION = 14  # Hz, of festival's diphone voices
SHIFTS = (0.82, 1.22)
SHIFTED = 0.75  # share of training sentences
PITCHES = (0.7, 1.4)


@dataclass(frozen=True)
class Request:
    """One sentence for one voice. `shift` > 1 raises pitch and formants by resampling.

    pitch, speed: espeak-ng's, 0 to 99 and words a minute; stretch: duration, of the others; f0, deviation:
    Hz, where the voice has such settings.
    """

    spoken: str
    engine: str
    voice: str
    pitch: int = 50
    speed: int = 160
    stretch: float = 1.0
    f0: int = 0
    deviation: int = 0
    shift: float = 1.0

    @property
    def speaker(self) -> str:
        """Speaker name of the manifest: engine and voice."""
        return f"{self.engine}:{self.voice}"


Shares = dict[str, dict[str, float]]


def draw(
    spoken: str, name: str, rng: random.Random, sets: Shares = SHARES, accents: Sequence[str] = ESPEAK_ACCENTS
) -> Request:
    """A random voice of a set, with random pitch and speed.

    Half a dozen synthetic people must stand for everyone: in training their vocal tracts are made longer or
    shorter, and their pitch is set apart from that, far from their own; the tempo stays what it was.
    """
    shares = sets[name]
    engine, _, voice = rng.choices(list(shares), list(shares.values()))[0].partition(":")
    if engine == "espeak":
        voice = f"{rng.choice(accents)}+{rng.choice(VARIANTS.get(name, ESPEAK_TEST))}"
    request = Request(
        spoken, engine, voice,
        pitch=rng.randint(20, 80), speed=rng.randint(125, 205), stretch=round(rng.uniform(0.8, 1.3), 2),
        f0=round(CENTRES.get(_person(voice), 0) * rng.uniform(0.85, 1.2)),
    )  # fmt: skip
    return another_person(request, rng) if name == "train" else request


def another_person(request: Request, rng: random.Random) -> Request:
    """The same voice with another vocal tract, pitch and liveliness."""
    shift = round(rng.uniform(*SHIFTS), 3) if rng.random() < SHIFTED else 1.0
    f0 = CENTRES.get(_person(request.voice), 0) * rng.uniform(*PITCHES) / shift**0.5
    return replace(
        request, shift=shift, pitch=rng.randint(5, 95), speed=round(request.speed / shift),
        stretch=round(request.stretch * shift, 2), f0=round(f0),
        deviation=rng.randint(6, 36) if _person(request.voice) in CENTRES else 0,
    )  # fmt: skip


def _person(voice: str) -> str:
    """A voice without the language that it is made to speak."""
    return voice.partition(FOREIGN)[0]


def fingerprint(sets: Shares = SHARES, accents: Sequence[str] = ESPEAK_ACCENTS) -> str:
    """A hash that changes with the voices and what is drawn of them."""
    rng = random.Random(0)
    drawn = [draw("", name, rng, sets, accents) for name in sets for _ in range(100)]
    return hashlib.sha256(repr((drawn, sets, VARIANTS, ESPEAK_TEST)).encode()).hexdigest()


def check_installed(sets: Shares = SHARES) -> None:
    """Raise ValueError, a line that says what to install, if a synthesizer or voice of a set is missing."""
    wanted = [voice.partition(":") for shares in sets.values() for voice in shares]
    absent = {engine for engine, _, _ in wanted if not shutil.which(_program(engine))}
    if "festival" not in absent and any(engine == "festival" for engine, _, _ in wanted):
        command = ["festival", "-b", "(print (voice.list))"]
        known = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        absent |= {voice for engine, _, voice in wanted if engine == "festival" and voice not in known}
    if absent:
        packages = " ".join(sorted(PACKAGES[name] for name in absent))
        raise ValueError(f"no {', '.join(sorted(absent))} here; apt-get install {packages}")


def _program(engine: str) -> str:
    return "espeak-ng" if engine == "espeak" else engine


def is_english(voice: str) -> bool:
    """Whether it is English that a voice speaks: de+f3, slt@de: no; en-us+f3, slt: yes."""
    return not (FOREIGN in voice or voice.partition("+")[0] in OTHER_LANGUAGES)


def pronounceable(spoken: str, english: bool = True) -> str:
    """Text as an engine should get it: 'A' would be read as the English article, so it is written 'ay'."""
    if not english:
        return spoken.lower()
    return " ".join("ay" if word == "A" else word.lower() for word in spoken.split())


def synthesize(requests: list[Request], folder: Path) -> list[NDArray[np.int16] | None]:
    """Audio at 16 kHz of each request, None where an engine failed. `folder` holds temporary files."""
    files = [folder / f"{i}.wav" for i in range(len(requests))]
    festival: dict[str, list[int]] = {}
    for i, (request, file) in enumerate(zip(requests, files, strict=True)):
        text = pronounceable(request.spoken, is_english(request.voice))
        if request.engine == "festival":
            festival.setdefault(request.voice, []).append(i)
        elif request.engine == "flite":
            tuned = [f"duration_stretch={request.stretch}", f"int_f0_target_mean={request.f0}"]
            if request.deviation:
                tuned.append(f"int_f0_target_stddev={request.deviation}")
            settings = [word for setting in tuned for word in ("--setf", setting)]
            voice, _, language = request.voice.partition(FOREIGN)
            said = ["-p", phones(text, language)] if language else ["-t", text]
            _run(["flite", "-voice", voice, *settings, *said, "-o", str(file)])
        else:
            speed = ["-p", str(request.pitch), "-s", str(request.speed)]
            _run(["espeak-ng", "-v", request.voice, *speed, "-w", str(file), text])
    for voice, indices in festival.items():
        _festival(voice, [(requests[i], files[i]) for i in indices], folder / "batch.scm")
    return [_read(file, request.shift) for file, request in zip(files, requests, strict=True)]


def _run(command: list[str]) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=60)


def _festival(voice: str, jobs: list[tuple[Request, Path]], script: Path) -> None:
    lines = [f"(voice_{voice})"]
    for request, file in jobs:
        lines.append(f"(Parameter.set 'Duration_Stretch {request.stretch})")
        if request.f0:
            lines.append(INTONATION.format(f0=request.f0, deviation=request.deviation or DEVIATION))
        text = pronounceable(request.spoken).replace('"', "")
        lines.append(f'(utt.save.wave (utt.synth (Utterance Text "{text}")) "{file}" \'riff)')
    script.write_text("\n".join(lines))
    subprocess.run(
        ["festival", "-b", str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )


def _read(file: Path, shift: float) -> NDArray[np.int16] | None:
    try:
        audio, rate = soundfile.read(file, dtype="float32")
    except (OSError, soundfile.SoundFileError):
        return None
    finally:
        file.unlink(missing_ok=True)
    if len(audio) < rate // 10:
        return None
    if rate != RATE or shift != 1.0:
        audio = soxr.resample(audio, rate * shift, RATE, quality="MQ")
    return np.clip(np.rint(audio * 32767), -32768, 32767).astype(np.int16)
