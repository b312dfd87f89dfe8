"""Impulse responses of random rooms, by the image source method.

A shoebox of U(2.5, 8) x U(2.5, 6) x U(2.3, 3.5) m whose walls absorb what Sabine's formula says for a T60 of
0.15 to 0.7 s; source and microphone 0.4 m or more from the walls (Allen & Berkley 1979, JASA 65, 943).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE = 16000
LONGEST = 8000  # samples
ORDER = 14  # reflections; more cost time and change the first half second little
SMALLEST, LARGEST = (2.5, 2.5, 2.3), (8.0, 6.0, 3.5)
T60 = (0.15, 0.7)
FROM_WALL = 0.4
APART = (0.3, 3.5)  # metres between source and microphone


def room_response(rng: np.random.Generator) -> NDArray[np.float32]:
    """A response at 16 kHz, 0.5 s at most, that begins with its direct path of height 1.

    Raises:
        ValueError: pyroomacoustics is not installed.
    """
    acoustics = _acoustics()
    while True:
        size = rng.uniform(SMALLEST, LARGEST)
        source, microphone = (rng.uniform(FROM_WALL, size - FROM_WALL) for _ in range(2))
        distance = float(np.linalg.norm(source - microphone))
        if not APART[0] <= distance <= APART[1]:
            continue
        try:
            absorption, order = acoustics.inverse_sabine(rng.uniform(*T60), size)
        except ValueError:  # so short a T60 needs more than full absorption in so large a room
            continue
        wall = acoustics.Material(absorption)
        room = acoustics.ShoeBox(size, fs=RATE, materials=wall, max_order=min(order, ORDER))
        room.add_source(source)
        room.add_microphone(microphone)
        room.compute_rir()
        return _from_direct(np.array(room.rir)[0, 0], distance, acoustics)


def _from_direct(response: NDArray, distance: float, acoustics) -> NDArray[np.float32]:
    filtered = acoustics.constants.get("frac_delay_length") // 2  # the direct path comes that much later
    arrival = round(distance / acoustics.constants.get("c") * RATE) + filtered
    direct = arrival - 1 + int(np.argmax(np.abs(response[arrival - 1 : arrival + 2])))
    return (response[direct : direct + LONGEST] / response[direct]).astype(np.float32)


def _acoustics():
    try:
        import pyroomacoustics
    except ImportError as error:
        raise ValueError('rooms need pyroomacoustics; pip install "ossicle[train]"') from error
    return pyroomacoustics
