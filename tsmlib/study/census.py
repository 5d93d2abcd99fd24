"""What others measured on the real data sets: results/census, read, pooled and judged.

Pairs of one party that differ in one factor are effects. Only pairs under equal test views are
pooled; the paper's authors are not independent of the paper and are left out.
"""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from ..paths import published_file
from ..results import ResultsError
from .verdicts import NOT_REPLICATED, REPLICATED

NORMAL = 1.96  # standard errors of a 95 % interval
HEADLINE_WITHIN = 1.0  # points within which a training has reached a published accuracy
UNEQUAL = "no pair under equal views"
NUMBERS = {  # columns of each table
    "pairs": ("top1_a", "top1_b", "standard_error"),
    "trainings": ("top1",),
    "two_codes": ("top1", "top1_mit_code"),
}
ORIGINAL = "MIT README"  # begins the source of the authors' own pairs
# factor of pairs.csv -> name, of networks with the shift alone except in the first
FACTORS = {
    "TSM vs TSN": "TSM over TSN",
    "16 vs 8 frames": "16 over 8 frames",
    "non-local vs none": "non-local over none",
    "ResNet-101 vs ResNet-50": "ResNet-101 over ResNet-50",
    "efficient vs accurate views (same checkpoint; a = accurate)": "accurate over efficient",
}
NOT_FOUND = ("residual vs in-place", "one-way vs two-way", "shift proportion", "padding")


def read_census(name: str, file: Path | None = None) -> pd.DataFrame:
    """Read `trainings`, `pairs` or `two_codes` of results/census: text, and numbers.

    Raises:
        ResultsError: a row has no source.
    """
    file = file or published_file(f"census/{name}.csv")
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    for row in table.index[table["source"].str.strip() == ""]:
        raise ResultsError(f"{file}, line {row + 2}: the census needs a source for every row")
    for column in NUMBERS[name]:
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table


@cache
def training_noise() -> tuple[float, int]:
    """Estimate the deviation of one training's top-1 from configurations that were trained twice.

    MMAction2 trained them with its own code and with MIT's. The difference of two trainings has
    twice the variance of one.

    Returns:
        The deviation in points, and the number of configurations.
    """
    table = read_census("two_codes")
    differences = table["top1"] - table["top1_mit_code"]
    return float(np.sqrt((differences**2).mean() / 2)), len(differences)


def paired_effects(pairs: pd.DataFrame, noise: float) -> pd.DataFrame:
    """Reduce the pairs to one effect per pair of trainings.

    Pairs of one party with the same networks under other test views are the same trainings: their
    differences are averaged. Two under the same views are different trainings.

    Args:
        pairs: from `read_census("pairs")`.
        noise: the deviation of one training, in points; see `training_noise`.

    Returns:
        `factor`, `dataset`, `source`, `a`, `b`, `difference` (points of top-1), `se` (clips and two
        trainings), `low`, `high` (95 %), `equal` (test views), `independent` (of the authors).
    """
    table = pairs[pairs["factor"].isin(FACTORS)].copy()
    with_shift = ~table["a"].str.match(r"TSN|.*without TSM")
    table = table[with_shift]
    table["factor"] = table["factor"].map(FACTORS)
    accurate = table["factor"] == "accurate over efficient"  # the views are the factor
    table["equal"] = table["views_equal"].str.startswith("yes") | accurate
    table["independent"] = ~table["source"].str.startswith(ORIGINAL)
    table["difference"] = table["top1_a"] - table["top1_b"]
    keys = ["factor", "dataset", "source", "a", "b", "equal", "independent"]
    table["training"] = table.groupby([*keys, "views_a", "views_b"]).cumcount()
    effects = table.groupby([*keys, "training"], sort=False, as_index=False).agg(
        difference=("difference", "mean"), se=("standard_error", "mean"), views=("a", "size")
    )
    trainings = np.where(effects["factor"] == "accurate over efficient", 0, 2)  # one checkpoint
    effects["se"] = np.sqrt(effects["se"] ** 2 + trainings * noise**2)
    effects["low"] = effects["difference"] - NORMAL * effects["se"]
    effects["high"] = effects["difference"] + NORMAL * effects["se"]
    return effects.drop(columns="training")


def pool_effects(effects: pd.DataFrame) -> pd.DataFrame:
    """Average the independent effects under equal views, by factor and data set.

    The mean is a random-effects mean (Paule and Mandel's variance between trainings). Its interval
    is normal, as the errors of the pairs are known; a single pair keeps its own.

    Returns:
        `factor`, `dataset`, `pairs` (independent ones under equal views), `unequal` (those under
        unequal views), `mean`, `low`, `high` (points; NaN without a pair), `smallest`, `largest` of
        all independent effects, and `verdict`.
    """
    rows = []
    for (factor, dataset), group in effects.groupby(["factor", "dataset"], sort=False):
        independent = group[group["independent"]]
        equal = independent[independent["equal"]]
        mean, low, high = _random_effects(equal)
        rows.append({
            "factor": factor, "dataset": dataset, "pairs": len(equal),
            "unequal": len(independent) - len(equal), "mean": mean, "low": low, "high": high,
            "smallest": independent["difference"].min(), "largest": independent["difference"].max(),
            "verdict": (REPLICATED if low > 0 else NOT_REPLICATED) if len(equal) else UNEQUAL,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _random_effects(effects: pd.DataFrame) -> tuple[float, float, float]:
    """Return the random-effects mean and its 95 % interval."""
    from statsmodels.stats.meta_analysis import combine_effects  # slow to import

    if len(effects) < 2:
        rows = effects[["difference", "low", "high"]].to_numpy().tolist()
        return tuple(rows[0]) if rows else (np.nan,) * 3
    pooled = combine_effects(
        effects["difference"].to_numpy(), effects["se"].to_numpy() ** 2, method_re="iterated"
    )
    mean, half = float(pooled.mean_effect_re), NORMAL * float(pooled.sd_eff_w_re)
    return mean, mean - half, mean + half


def headline_trainings(trainings: pd.DataFrame) -> pd.DataFrame:
    """Count the independent trainings that reach each accuracy published by the authors.

    Args:
        trainings: from `read_census("trainings")`.

    Returns:
        One row per number of the authors' ResNets with TSM: `dataset`, `backbone`, `frames`,
        `views`, `published` (top-1, %), `trainings` (independent, of the same network under such
        views), `within` (of these, within a point), `best` of them.
    """
    table = trainings[trainings["model"] == "TSM"].assign(
        views=trainings["test_views"].map(_kind_of_views)
    )
    table = table[table["views"] != ""]
    keys = ["dataset", "backbone", "frames", "views"]
    others, rows = table[table["retrained_or_copied"] == "retrained"], []
    original = (table["retrained_or_copied"] == "original") & table["source"].str.contains("README")
    for row in table[original].to_dict("records"):
        same = others[(others[keys] == [row[key] for key in keys]).all(axis=1)]["top1"].dropna()
        within = int(((same - row["top1"]).abs() <= HEADLINE_WITHIN).sum())
        rows.append({key: row[key] for key in keys} | {
            "published": row["top1"], "trainings": len(same), "within": within,
            "best": same.max() if len(same) else np.nan,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _kind_of_views(views: str) -> str:
    """Group the wordings of a test view; "" for those that are not known or rare."""
    kinds = {
        "one clip": r"(listed as )?(8|16) frames( uniform)? x (1 )?(center|clip|crop)|1 clip$",
        "one clip, 10 crops": r"(8|16) frames( uniform)? x 10 crops",
        "2 clips x 3 crops": r"2 clips x (8|16) frames x 3",
        "dense, 10 x 3": r"dense: 10 (clips of|positions x) 8 frames x 3",
    }
    return next((kind for kind, pattern in kinds.items() if re.match(pattern, views)), "")
