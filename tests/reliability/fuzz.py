"""Read damaged and hostile files of all kinds: `make fuzz`.

python tests/reliability/fuzz.py [--files 1300] [--examples 1000] [--seed 0]
"""

import argparse
import logging
import random
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from damaged import damaged_files, read_in_processes
from reliability import write_part
from texts import FUZZERS, fuzz

from tsmlib.models.checkpoint_files import (
    CheckpointError,
    checkpoint_bytes,
    read_checkpoint,
    safetensors_bytes,
)

FLIPS = 200  # bits of each form of weights


def flip_bits(count: int, seed: int) -> dict[str, int]:
    """Flip single bits in files of weights that we write; count those that are noticed.

    Raises:
        AssertionError: one is not.
    """
    draw, counts = random.Random(seed), {}
    state = {"conv1.weight": torch.randn(8, 3, 3, 3), "fc.bias": torch.randn(5)}
    facts = {"config": {"name": "sthv1", "num_classes": 5}, "run": "a", "epoch": 3}
    forms = {
        "pth": bytes(checkpoint_bytes({"model": state, **facts})),
        "safetensors": safetensors_bytes(state, facts),
    }
    with tempfile.TemporaryDirectory() as folder:
        for suffix, whole in forms.items():
            file, noticed = Path(folder) / f"weights.{suffix}", 0
            for bit in draw.sample(range(8 * len(whole)), count):
                damaged = bytearray(whole)
                damaged[bit // 8] ^= 1 << bit % 8
                file.write_bytes(damaged)
                try:
                    read_checkpoint(file)
                except CheckpointError:
                    noticed += 1
                else:
                    raise AssertionError(f"bit {bit} of a .{suffix} file: nobody noticed")
            counts[f"flipped bits in .{suffix}, all noticed"] = noticed
    return counts


def read_damaged(count: int, seed: int, say: Callable[[str], None]) -> dict[str, int]:
    """Read damaged videos and frames, and return the counts.

    Raises:
        AssertionError: a process crashed or hung, or a frame was wrong.
    """
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        cases = list(damaged_files(count, seed, Path(folder)))
        found = read_in_processes(cases, wrong, say)
    if wrong:
        raise AssertionError(f"{len(wrong)} of {count} damaged files, the first: {wrong[0]}")
    return {
        "damaged videos and frames": count,
        "of them refused": found["refused"],
        "of them read, each frame right": found["right"],
        "crashes": found["crashes"],
        "hangs": found["hangs"],
        "wrong frames": found["wrong"],
        "most memory, MB": found["memory"] // 1024,
    }


def read_texts(examples: int, seed: int, say: Callable[[str], None]) -> dict[str, int]:
    """Read lists, YAML files, configurations, records and weights of hypothesis."""
    counts = {}
    for make in FUZZERS:
        found = fuzz(make, examples, seed)
        counts[make.__name__.replace("_", " ")] = found.total()
        say(f"{make.__name__}: {dict(found)}")
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=1300)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.disable()  # of records that are left out
    torch.set_num_threads(1)  # no thread is lost at a fork
    say = partial(print, flush=True)
    try:
        counts = flip_bits(FLIPS, given.seed)
        counts |= read_texts(given.examples, given.seed, say)
        counts |= read_damaged(given.files, given.seed, say)
    except Exception as error:  # of any reader
        traceback.print_exc()  # with hypothesis's smallest example
        sys.exit(f"LOST, with --seed {given.seed}: {type(error).__name__}: {error}")
    write_part("fuzz", {"seed": given.seed, "counts": counts})
    print("nothing lost")
