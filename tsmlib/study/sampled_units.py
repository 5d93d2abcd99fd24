"""Compare arms over what their test clips were sampled from: recordings, or images of digits.

Seeds tell how much trainings vary; units, how much depends on who was filmed, or on who wrote. Each
hides the other, so the wider interval counts.
"""

from typing import NamedTuple

import numpy as np

from ..records import ResultsError
from ..results import read_predictions
from . import statistics
from .moving_digits import answer_right, number_tested_images, with_run_seed
from .plan import Question, Study
from .records import Records, identify_run, read_arm_hits, read_clip_recordings
from .statistics import Comparison
from .uncertainty import least_deviation, over_recordings


class Clips(NamedTuple):
    """What an arm answered on its test clips, under several seeds."""

    right: np.ndarray  # [S, N], 0 or 1
    units: np.ndarray  # what each was sampled from: [N] of clips that all seeds share, else [S, N]

    def average(self) -> tuple[np.ndarray, np.ndarray]:
        """Average what the seeds share; return values and units of equal length."""
        if self.units.ndim == 1:
            return self.right.mean(axis=0), self.units
        return self.right.ravel(), self.units.ravel()


def read_clips(
    study: Study, arm: str, measure: str, seeds: list[int], known: Records
) -> Clips | None:
    """Read the answers of an arm of real videos or digits; None: its clips have no units.

    Raises:
        ResultsError: a run on real videos whose answers are not recorded, or are of other clips.
    """
    if study.videos and measure == "top1":
        hits = read_arm_hits(study, arm, seeds, known)
        if hits is None:
            raise ResultsError(f"study {study.name}: {arm} lacks the answers of some of its runs")
        return Clips(hits.astype(float), read_clip_recordings(study, arm, known))
    if not (digits := study.arms[arm].digits):
        return None
    runs = [known[identify_run(study, study.arms[arm], seed)]["run_dir"] for seed in seeds]
    answers = [read_predictions(run) for run in runs]
    if any(one is None for one in answers):
        return None
    right = [answer_right(measure, *one) for one in answers]
    images = [number_tested_images(with_run_seed(digits, seed)) for seed in seeds]
    return Clips(np.stack(right).astype(float), np.stack(images))


def compare_over_units(
    study: Study, asked: Question, seeds: list[int], known: Records
) -> tuple[Comparison, float, int | None] | None:
    """Compare two arms, or one and a number, over units or seeds, whichever interval is wider.

    Returns:
        The comparison; p of equivalence, the larger; the number of units, None where seeds vary
        more. None: the clips have no units.
    """
    of = read_clips(study, asked.of, asked.measure, seeds, known)
    if of is None:
        return None
    if isinstance(asked.over, str):
        over = read_clips(study, asked.over, asked.measure, seeds, known)
    else:
        over = of._replace(right=np.full(of.right.shape, float(asked.over) / 100))
    if over is None:
        return None
    (ours, units), (theirs, _) = of.average(), over.average()
    least = least_deviation(np.abs(ours - theirs) if isinstance(asked.over, str) else ours, units)
    by_unit = over_recordings(ours, units), over_recordings(theirs, units)
    by_seed = 100 * of.right.mean(axis=1), 100 * over.right.mean(axis=1)
    compared = [
        (statistics.paired(*pair, least=least), statistics.equivalence(*pair, study.margin, least))
        for pair, least in ((by_unit, least), (by_seed, 0.0))
    ]
    wider = max((c for c, _ in compared), key=lambda c: c.high - c.low)
    counted = len(by_unit[0]) if wider is compared[0][0] else None
    return wider, max(p for _, p in compared), counted
