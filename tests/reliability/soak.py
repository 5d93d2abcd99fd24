"""Train, evaluate, decode and follow streams in turn in one process, and watch its memory.

    python tests/reliability/soak.py [--seconds 600] [--seed 0]

The memory of the process after a round may be 5 % above the most of the first quarter of the time.
"""

import argparse
import gc
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from chaos import study, write_data
from damaged import FORMS, write_whole_files
from reliability import write_part

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers import tiny_stream  # noqa: E402

from tsmlib import OnlineTSM, build_model  # noqa: E402
from tsmlib.data.video import VideoFile  # noqa: E402
from tsmlib.own_videos.video_stream import stream_video  # noqa: E402

ALLOWED = 0.05  # growth
WARM_UP = 0.25  # share of the time
STEPS = 300  # of a stream in a round
READERS = 5  # of each video in a round


def resident_megabytes() -> float:
    """Return the memory that this process has now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def find_growth(rounds: list[tuple[float, float]], seconds: float) -> float:
    """Return how far memory grew above the most of the warm-up, of rounds (s, MB)."""
    early = max(memory for second, memory in rounds if second <= WARM_UP * seconds)
    return max(memory for _, memory in rounds) / early - 1


def do_round(data: Path, folder: Path, draw: random.Random, stream: OnlineTSM) -> Counter:
    """Do all kinds of work once; return the counts."""
    with tempfile.TemporaryDirectory(dir=folder) as results:
        before = os.environ.get("TSM_RESULTS")
        os.environ["TSM_RESULTS"] = results
        try:
            study(data, Path(results))
        finally:  # whatever runs next in this process has its own results
            os.environ.pop("TSM_RESULTS")
            os.environ |= {"TSM_RESULTS": before} if before is not None else {}
    counts, frame = Counter({"trainings and evaluations": 1}), torch.randn(1, 3, 32, 32)
    stream.reset()
    for _ in range(STEPS):
        stream.step(frame)
    counts["steps of streams"] += STEPS
    for name in FORMS:
        if name.endswith(".jpg"):
            continue
        for _ in range(READERS):
            video = VideoFile(folder / name, decoder="pyav")
            video.frames([draw.randrange(video.num_frames) for _ in range(8)])
        counts["frames decoded"] += 8 * READERS + sum(1 for _ in stream_video(folder / name))
    return counts


def soak(seconds: float, seed: int = 0, say: Callable[[str], None] = print) -> dict[str, float]:
    """Work so long, and return the counts.

    Raises:
        AssertionError: memory grew.
    """
    draw, counts, rounds = random.Random(seed), Counter(), []
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "data").mkdir()
        write_data(folder / "data")
        write_whole_files(folder)
        stream, begun, passed = OnlineTSM(build_model(tiny_stream())), time.perf_counter(), 0.0
        while passed < seconds or len(rounds) < 2:
            counts += do_round(folder / "data", folder, draw, stream)
            passed = time.perf_counter() - begun
            memory = resident_megabytes()
            rounds.append((passed if rounds else 0.0, memory))
            say(f"{passed:.0f} of {seconds:.0f} s: {len(rounds)} rounds, {memory:.0f} MB")
    growth = find_growth(rounds, seconds)
    if growth > ALLOWED and seconds > 60:
        raise AssertionError(f"memory grew by {100 * growth:.1f} %: {rounds}")
    most = round(max(memory for _, memory in rounds))
    told = {"seconds": round(passed), "rounds": len(rounds)}
    return {**told, **counts, "most memory, MB": most, "growth, %": round(100 * growth, 1)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    try:
        counts = soak(given.seconds, given.seed, partial(print, flush=True))
    except AssertionError as error:
        sys.exit(f"LOST, with --seed {given.seed}: {error}")
    write_part("soak", {"seed": given.seed, "counts": counts})
    print("nothing lost")
