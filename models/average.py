"""A point between a model and what a further stage made of it.

    python -m ossicle.models.average BEFORE AFTER OUT.safetensors [--share 0.7] [--name commands]

weights = (1 - share) BEFORE + share AFTER, before they are rounded; zeros are those of AFTER. In one valley
errors in between are as low as at the better one, and lower on what neither was trained on (WiSE-FT:
Wortsman et al. 2022, CVPR, arXiv:2109.01903). BEFORE and AFTER: state.pt of runs, or checkpoints.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from ossicle.models.export import Checkpoint, write_checkpoint
from ossicle.models.initial import Start, read_start


def average(before: Start, after: Start, share: float, header: dict) -> Checkpoint:
    """The integers, of 8 bits, of a point between.

    Raises:
        ValueError: the two are not stages of one model, or a share outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of {share} is not between the two; use 0 to 1")
    for what in ("topology", "tokenizer", "frontend"):
        if getattr(before, what) != getattr(after, what):
            raise ValueError(f"the two have not the same {what}: they are not stages of one model")
    network = after.network()
    own = {**network.state_dict(), **after.parameters}
    mixed = {
        name: torch.lerp(before.parameters.get(name, value), value, share) for name, value in own.items()
    }
    network.load_state_dict(mixed)
    return network.checkpoint(after.tokenizer, after.frontend, header)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.7, help="of AFTER")
    parser.add_argument("--name", default="commands")
    a = parser.parse_args()
    try:
        command = "python -m ossicle.models.average " + " ".join(sys.argv[1:])
        header = {"name": a.name, "provenance": {"command": command, "share": a.share}}
        write_checkpoint(a.out, average(read_start(a.before), read_start(a.after), a.share, header))
    except (ValueError, OSError) as error:
        print(f"average: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
