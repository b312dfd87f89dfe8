"""Energy of a run: its counters times a table of energies, whose source is in the table.

E = products (multiply + add) + words fetched (weight and activation memory)
  + vector elements (multiply + add + memory) + bytes over the bus (DRAM)
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ossicle.hw.config import WEIGHTS_PER_WORD, NpuConfig

TABLE_VERSION = 1
SHIPPED = Path(__file__).with_name("energy.toml")
NAMES = ("multiply_8", "add_32", "multiply_32", "sram_8k_64", "sram_32k_64", "sram_1m_64", "dram_64")
COUNTERS_USED = ("lane_products", "macs_skipped", "vector_busy", "read_beats", "write_beats")
KIB = 1024


class EnergyError(ValueError):
    """An energy table that cannot be used; the message says why."""


@dataclass(frozen=True)
class EnergyTable:
    """Picojoules by name (`NAMES`), and where they come from."""

    source: str
    picojoules: dict[str, float]

    @classmethod
    def load(cls, path: str | Path | None = None) -> EnergyTable:
        """Read a table; None reads the one that comes with Ossicle.

        Raises:
            EnergyError: no such file, not TOML, of another version, a name missing, or no number.
        """
        place = Path(path) if path else SHIPPED
        try:
            text = place.read_text("utf-8")
            values = tomllib.loads(text)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise EnergyError(f"{place}: not an energy table ({error})") from None
        if values.get("version") != TABLE_VERSION:
            raise EnergyError(f"{place}: version {values.get('version')}; this Ossicle reads {TABLE_VERSION}")
        table = values.get("picojoules", {})
        wrong = [
            n for n in NAMES if isinstance(table.get(n), bool) or not isinstance(table.get(n), int | float)
        ]
        if wrong or any(table[n] < 0 for n in NAMES):
            raise EnergyError(
                f"{place}: [picojoules] needs a number of 0 or more for each of {', '.join(NAMES)}"
            )
        return cls(str(values.get("source", "no source given")), {n: float(table[n]) for n in NAMES})

    def memory(self, size_bytes: int, bits: int) -> float:
        """One access of `bits` to a memory of a size, by the next larger memory of the table."""
        known = ((8 * KIB, "sram_8k_64"), (32 * KIB, "sram_32k_64"))
        name = next((name for limit, name in known if size_bytes <= limit), "sram_1m_64")
        return self.picojoules[name] * bits / 64

    def estimate(self, counters: dict[str, int], config: NpuConfig) -> dict[str, float]:
        """Picojoules by part: mac, weights, activations, vector, dram.

        Args:
            counters: by the names of `registers.COUNTERS`, of one job or added up; those of COUNTERS_USED.
        """
        pj, bits = self.picojoules, 8 * WEIGHTS_PER_WORD
        words = (counters["lane_products"] + counters["macs_skipped"]) / WEIGHTS_PER_WORD
        elements = counters["vector_busy"] * config.vector_width
        vector_memory = self.memory(config.vector_words * config.vector_width * 2, 16)
        beats = counters["read_beats"] + counters["write_beats"]
        return {
            "mac": counters["lane_products"] * (pj["multiply_8"] + pj["add_32"]),
            "weights": words * self.memory(config.weight_words * WEIGHTS_PER_WORD, bits),
            "activations": words * self.memory(config.activation_words * WEIGHTS_PER_WORD, bits),
            "vector": elements * (pj["multiply_32"] + pj["add_32"] + 2 * vector_memory),
            "dram": beats * config.bus_bits / 64 * pj["dram_64"],
        }
