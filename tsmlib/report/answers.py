"""The README's first screen: questions, today's answers, and one chart.

Every number is read from published records: results/runs, results/benchmarks, results/parity.csv.
"""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..intervals import Clustered, prediction_interval
from ..paths import HOME
from ..plots import ACCENT, INK, PALE, entitle
from ..reference import comparable
from ..study.census import NOT_FOUND
from ..study.findings import intervals
from ..study.plan import get_study
from ..study.records import find_recorded_runs
from ..study.verdicts import (
    AGREES,
    BY_CONSTRUCTION,
    CONTRADICTED,
    INSENSITIVE,
    NO_DIFFERENCE,
    NOT_CONVERGED,
    NOT_MEASURED,
)
from .evidence import name_verdict
from .replications import describe_gain, describe_headlines, summarise_census
from .tables import standin_runs

TOLERANCE = 1e-4  # standard deviations of the logits, within which two implementations agree
CHANCE = 50.0  # between a class and the same clips played backwards (%)
UNDECIDED = {NOT_CONVERGED, INSENSITIVE, BY_CONSTRUCTION}  # verdicts that say nothing of the paper


def answer_questions(claims: pd.DataFrame, runs: pd.DataFrame, peers: pd.DataFrame) -> pd.DataFrame:
    """Answer the questions of the README, each in a sentence or two with its page.

    Args:
        claims: of claims.csv.
        runs: the published records, from `results.read_runs`.
        peers: from `parity.compare.compare_with_published`.

    Returns:
        Markdown by question: `today's answer`, `page`.
    """
    answers = {
        "Is this the published function?": (_parity(peers), "[parity](notebooks/parity.ipynb)"),
        "Is the shift free?": (_cost(claims), "[profile](notebooks/profile.ipynb)"),
        "Does it see the order of frames?": (_order(claims), "[claims](docs/claims.md)"),
        "What do others gain by it on real data?": (
            describe_gain(summarise_census()), "[claims](docs/claims.md)",
        ),
        "Are the published accuracies reproduced?": (
            _reproduction(runs), "[compare](notebooks/compare.ipynb)",
        ),
        "What is open?": (_open(claims, runs), "[claims](docs/claims.md)"),
    }  # fmt: skip
    table = pd.DataFrame(answers, index=["today's answer", "page"]).T
    return table.rename_axis("question")


def _parity(peers: pd.DataFrame) -> str:
    agree, worst = int((peers["difference"] <= TOLERANCE).sum()), peers["difference"].max()
    verdict = "Yes." if agree == len(peers) else "Not everywhere."
    return (
        f"{verdict} With the same weights, {agree} of {len(peers)} published models give the same "
        f"logits, to within {worst:.0e} of their standard deviation."
    )


def _cost(claims: pd.DataFrame) -> str:
    added = claims[(claims["claim"] == "C1") & claims["part"].str.contains("added by the shift")]
    free = int((pd.to_numeric(added["measured"]) == 0).sum())
    record = json.loads(sorted((HOME / "results/benchmarks").glob("*-cores.json"))[0].read_text())
    inference, training = record["ratios"]["shift_eager"], record["ratios"]["shift_train"]
    return (
        f"In operations, yes: it adds no parameter and no multiply-add ({free} of {len(added)} "
        f"networks counted). In time, nearly: on {record['device']}, inference takes "
        f"{_quartiles(inference)} times as long as without it, a training step "
        f"{_quartiles(training)} times (median, quartiles)."
    )


def _quartiles(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['q25']:.2f} to {ratio['q75']:.2f})"


def _order(claims: pd.DataFrame) -> str:
    asked = claims[(claims["study"] == "pushups") & (claims["question"] == "TSM against chance")]
    if asked.empty or asked["verdict"].iloc[0] != AGREES:
        counts = claims[claims["part"].str.startswith("reorderings of 4 frames")]
        tsn, tsm = (
            int(counts.loc[counts["part"].str.endswith(f"{name}'s logits"), "measured"].iloc[0])
            for name in ("TSN", "TSM")
        )
        return (
            f"By the count, yes: of 23 other orders of four frames, {tsm} change the answers of "
            f"TSM and {tsn} those of TSN."
        )
    known = find_recorded_runs("runs")
    seen = intervals(get_study("pushups"), known)
    tuned = intervals(get_study("pushups_tuning"), known)["residual, 0.0005, 12 epochs"]
    with_shift, without = seen["residual 1/8"], seen["none"]
    return (
        "Yes, on a simple task: in real push-ups, played forwards and backwards, it tells up from "
        f"down in {_over_groups(with_shift)} groups of people, on whom frame size and batch were "
        f"chosen, and in {_over_groups(tuned)} others, used to choose the learning rate; without "
        f"the shift in {without.accuracy:.1f} %, chance."
    )


def _over_groups(seen: Clustered) -> str:
    ends = f"{seen.low:.0f} to {seen.high:.0f}"
    return f"{seen.accuracy:.1f} % ({ends}) of the clips of {seen.n_groups}"


def _reproduction(runs: pd.DataFrame) -> str:
    real = sum(comparable(run, json.loads(run["changes"])) for run in runs.to_dict("records"))
    if real:
        return f"{real} runs on the real data sets stand beside the published accuracies."
    return (
        f"{describe_headlines()} Here not yet: with the data, `make reproduce row=sthv1` tests the "
        "published weights."
    )


def _open(claims: pd.DataFrame, runs: pd.DataFrame) -> str:
    of_paper = claims[claims["statement"] != ""]
    found = [set(parts) - {NOT_MEASURED} for _, parts in of_paper.groupby("claim")["verdict"]]
    nothing = sum(not verdicts for verdicts in found)
    undecided = sum(verdicts <= UNDECIDED for verdicts in found) - nothing
    decided = of_paper[of_paper["verdict"].isin((AGREES, CONTRADICTED, NO_DIFFERENCE))]
    trained = "none of them is decided by our trainings"
    if len(decided):
        parts = (f"{part} ({name_verdict(verdict, margin)})" for part, verdict, margin in
                 decided[["part", "verdict", "margin"]].itertuples(index=False))  # fmt: skip
        names = "; ".join(parts).replace(" at convergence", "")
        trained = f"our trainings decide only: {names}"
    return (
        f"No independent comparison was found of {', '.join(NOT_FOUND)}; {trained}. Of the paper's "
        f"{len(found)} claims, {nothing} have no evidence, and for {undecided} our trainings are "
        "inconclusive."
    )


def expect_accuracy(runs: pd.DataFrame, name: str = "sthv1") -> str:
    """Say in a sentence which accuracy the first command gives, and what it varies with."""
    seeds = standin_runs(runs[(runs["kind"] == "training") & (runs["cfg"] == name)])
    seeds = seeds[(seeds["explicit"] == "{}") & (seeds["scale"] == "mini")]
    low, high = prediction_interval(seeds["top1"])
    return (
        f"Expect {low:.0f} to {high:.0f} % top-1 from the first command (95 % prediction interval, "
        f"from {len(seeds)} seeds)."
    )


def order_within_pairs(runs: pd.DataFrame) -> pd.DataFrame:
    """Select the trainings of rows that were run with and without the shift.

    Returns:
        One row per run: `cfg`, `shift` (bool), `seed`, `within_pair` (%).
    """
    chosen = standin_runs(runs[runs["kind"] == "training"]).copy()
    chosen["shift"] = [json.loads(e).get("is_shift") is not False for e in chosen["explicit"]]
    both = chosen.groupby("cfg")["shift"].nunique() == 2
    return chosen[chosen["cfg"].isin(both[both].index)][["cfg", "shift", "seed", "within_pair"]]


def plot_order(pairs: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw how often each run of `order_within_pairs` tells a clip from its reversal."""
    if ax is None:
        _, ax = plt.subplots(figsize=(8.5, 3.6), layout="constrained")
    names = list(pairs["cfg"].unique())
    styles = (
        (False, "without the shift (TSN)", PALE, "s"),
        (True, "with the shift (TSM)", INK, "o"),
    )
    for shift, label, colour, marker in styles:
        part = pairs[pairs["shift"] == shift]
        rows = part["cfg"].map(names.index) + (-0.12 if shift else 0.12)
        seeds = part.groupby("cfg")["seed"].transform("size").to_numpy()
        nudge = 0.05 * (part["seed"].rank(method="dense").to_numpy(dtype=float) - 2) * (seeds > 1)
        ax.scatter(part["within_pair"], rows + nudge, s=90, color=colour, marker=marker,
                   edgecolor=INK, label=label, zorder=3)  # fmt: skip
    ax.axvline(CHANCE, color=ACCENT, linestyle="--", label="chance")
    ax.set_yticks(np.arange(len(names)), names, fontsize=12)
    ax.set(xlim=(40, 101), ylim=(len(names) - 0.5, -0.5))
    ax.set_xlabel("clips told from their reversal (%), one mark per training", fontsize=12)
    entitle(ax, "Only with the shift does the network see the order of frames",
            "Generated stand-in clips, mini scale")  # fmt: skip
    ax.legend(loc="center left", bbox_to_anchor=(0.2, 0.5), fontsize=11)
    return ax
