"""What others measured on the real data sets: results/census, read, pooled and judged.

Pairs of one party that differ in one factor are effects. Pooled are those that are comparable: the
test views are equal, and nothing is known to differ but the factor and the recipe. The paper's
authors are not independent of the paper and are left out.
"""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ..paths import published_file
from ..results import ResultsError
from .statistics import holm_levels
from .uncertainty import Z
from .verdicts import NOT_REPLICATED, REPLICATED

HEADLINE_WITHIN = 1.0  # points within which a training has reached a published accuracy
NOT_COMPARABLE = "no comparable pair"
MARKED = r"recipe|unclear"  # `also_differs` of pairs that are compared nevertheless, but marked
NUMBERS = {  # columns of each table
    "pairs": ("top1_a", "top1_b", "standard_error"),
    "trainings": ("top1",),
    "two_codes": ("top1", "top1_mit_code"),
}
ORIGINAL = "MIT README"  # begins the source of the authors' own pairs
# factor in pairs.csv -> its name here; but for the first, of networks with the shift alone
FACTORS = {
    "TSM vs TSN": "TSM over TSN",
    "16 vs 8 frames": "16 over 8 frames",
    "non-local vs none": "non-local over none",
    "ResNet-101 vs ResNet-50": "ResNet-101 over ResNet-50",
    "efficient vs accurate views (same checkpoint; a = accurate)": "accurate over efficient",
}
# factors of which the census has no pair
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

    Within a source and a data set one label is one training, so rows with the same labels are the
    same trainings under several test views: their differences are averaged.

    Args:
        pairs: from `read_census("pairs")`.
        noise: the deviation of one training, in points; see `training_noise`.

    Returns:
        `factor`, `dataset`, `measure` (where one pair was measured in several ways), `source`, `a`,
        `b`, `difference` (points of top-1), `se` (clips and trainings), `low`, `high` (95 %),
        `comparable` (equal test views, and the same but for the factor and the recipe), `marked`
        (the recipe differs, or it is unclear whether more does), `independent` (of the authors).
    """
    with_shift = ~pairs["a"].str.match(r"TSN|.*without TSM")
    table = pairs[pairs["factor"].isin(FACTORS) & with_shift].copy()
    table["factor"] = table["factor"].map(FACTORS)
    accurate = table["factor"] == "accurate over efficient"  # the views are the factor
    table["marked"] = table["also_differs"].str.match(MARKED)
    alike = (table["also_differs"] == "") | table["marked"]
    table["comparable"] = alike & (table["views_equal"].str.startswith("yes") | accurate)
    table["independent"] = ~table["source"].str.startswith(ORIGINAL)
    table["difference"] = table["top1_a"] - table["top1_b"]
    keys = ["factor", "dataset", "measure", "source", "a", "b"]
    flags = ["comparable", "marked", "independent"]
    effects = table.groupby([*keys, *flags], sort=False, as_index=False).agg(
        difference=("difference", "mean"), se=("standard_error", "mean")
    )
    trainings = np.where(effects["factor"] == "accurate over efficient", 0, 2)  # one checkpoint
    effects["se"] = np.sqrt(effects["se"] ** 2 + trainings * noise**2)
    effects["low"] = effects["difference"] - Z * effects["se"]
    effects["high"] = effects["difference"] + Z * effects["se"]
    return effects


def pool_effects(effects: pd.DataFrame) -> pd.DataFrame:
    """Average the independent comparable effects, by factor, data set and measure.

    Pairs that share their second training are averaged to one effect first, with the mean of their
    errors: what they share does not average out. `random_effects` pools these. The measures of one
    pair of trainings are a family, whose intervals are adjusted by Holm (1979).

    Returns:
        `factor`, `dataset`, `measure`, `pairs` (pooled), `controls` (separate second trainings),
        `marked` (of the pairs), `apart` (independent pairs that are not comparable), `mean`, `low`,
        `high` (points; NaN without a pair), `smallest`, `largest` of all independent effects, and
        `verdict`.
    """
    rows = []
    keys = ["factor", "dataset", "measure"]
    for group, members in effects[effects["independent"]].groupby(keys, sort=False):
        chosen = members[members["comparable"]]
        controls = chosen.groupby(["source", "b"])[["difference", "se"]].mean()
        mean, se, df = random_effects(controls["difference"].to_numpy(), controls["se"].to_numpy())
        rows.append(dict(zip(keys, group, strict=True)) | {
            "pairs": len(chosen), "controls": len(controls), "marked": chosen["marked"].sum(),
            "apart": len(members) - len(chosen), "mean": mean, "se": se, "df": df,
            "smallest": members["difference"].min(), "largest": members["difference"].max(),
        })  # fmt: skip
    pooled = pd.DataFrame(rows)
    p = 2 * stats.t.sf(abs(pooled["mean"]) / pooled["se"], pooled["df"])
    families = pd.Series(p).dropna().groupby([pooled["factor"], pooled["dataset"]])
    level = families.transform(lambda p: holm_levels(p.to_numpy(), len(p))).reindex(pooled.index)
    half = stats.t.isf(level / 2, pooled["df"]) * pooled["se"]
    pooled["low"], pooled["high"] = pooled["mean"] - half, pooled["mean"] + half
    pooled["verdict"] = np.where(pooled["low"] > 0, REPLICATED, NOT_REPLICATED)
    pooled.loc[pooled["pairs"] == 0, "verdict"] = NOT_COMPARABLE
    return pooled.drop(columns=["se", "df"])


def random_effects(effects: np.ndarray, se: np.ndarray) -> tuple[float, float, float]:
    """Compute a random-effects mean, its standard error, and the degrees of freedom of its t.

    Hartung and Knapp (2001) and Sidik and Jonkman (2002) take t with k - 1 degrees of freedom, and
    multiply the variance of the mean by q = sum(w (y - mean)^2) / (k - 1), w being the weights of
    the random effects; Knapp and Hartung (2003) by max(1, q), which never narrows the interval.
    Under Paule and Mandel's (1982) variance between effects q is 1 by definition where that
    variance is above 0, and at most 1 elsewhere. So max(1, q) is 1, and only the t remains.

    A single effect keeps its own error, and infinite degrees of freedom: nothing says how it would
    vary. NaN without an effect.
    """
    from statsmodels.stats.meta_analysis import combine_effects  # slow to import

    if len(effects) < 2:
        return (*effects, *se, np.inf) if len(effects) else (np.nan,) * 3
    pooled = combine_effects(effects, se**2, method_re="pm")
    return pooled.mean_effect_re, pooled.sd_eff_w_re, len(effects) - 1


def headline_trainings(trainings: pd.DataFrame) -> pd.DataFrame:
    """Count the independent trainings that come near each accuracy published by the authors.

    Args:
        trainings: from `read_census("trainings")`.

    Returns:
        One row per number in the authors' README of TSM: `dataset`, `backbone`, `frames`, `views`,
        `published` (top-1, %), `trainings` (independent, of the same network under such views, for
        no more epochs), `theirs` (of these, MMAction2's), `within` (a point), `median` and `best`
        of them, `reached` (at least half of them are within a point).
    """
    table = trainings[trainings["model"].isin(("TSM", "TSM dense"))].assign(
        views=trainings["test_views"].map(_kind_of_views), epochs=trainings["epochs"].map(_epochs)
    )
    table = table[table["views"] != ""]
    keys = ["dataset", "backbone", "frames", "views"]
    others, rows = table[table["retrained_or_copied"] == "retrained"], []
    original = (table["retrained_or_copied"] == "original") & table["source"].str.contains("README")
    for row in table[original].to_dict("records"):
        same = (others[keys] == [row[key] for key in keys]).all(axis=1)
        longer = others["epochs"] > row["epochs"]  # False where one is not stated
        found = others[same & ~longer].dropna(subset="top1")
        top1, theirs = found["top1"], found["trained_by"].str.contains("MMAction2")
        within = int(((top1 - row["top1"]).abs() <= HEADLINE_WITHIN).sum())
        rows.append({key: row[key] for key in keys} | {
            "published": row["top1"], "trainings": len(top1), "theirs": int(theirs.sum()),
            "within": within,
            "median": top1.median(), "best": top1.max(),
            "reached": len(top1) > 0 and 2 * within >= len(top1),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _epochs(text: str) -> float:
    """Read "50" or "45 or 50 (checkpoint e45)" as the larger number; NaN where none is stated."""
    return max(map(float, re.findall(r"\d+", text)), default=np.nan)


def _kind_of_views(views: str) -> str:
    """Group the wordings of a test view; "" for those that are not known or rare."""
    kinds = {
        "one clip": r"(listed as )?(8|16) frames( uniform)? x (1 )?(center|clip|crop)|1 clip$",
        "one clip, 10 crops": r"(8|16) frames( uniform)? x 10 crops",
        "2 clips x 3 crops": r"2 clips x (8|16) frames x 3",
        "dense, 10 x 3": r"dense: 10 (clips of|positions x) 8 frames x 3",
    }
    return next((kind for kind, pattern in kinds.items() if re.match(pattern, views)), "")
