"""Answer the questions of the notebooks in a sentence, computed from what they measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..configs import Config, is_row
from ..intervals import beside_constant_answer
from ..own_videos.prediction_tables import is_cut, merge_windows
from ..study.verdicts import (
    AGREES,
    ARITHMETIC,
    CONTRADICTED,
    COUNTED,
    MISPRINT,
    NO_DIFFERENCE,
    NOT_REPLICATED,
    REPLICATED,
    TIMED,
)
from .evidence import BY_OTHERS, COUNTED_HERE, TRAINED_HERE, name_verdict

NOT_COMPARABLE = {
    "standin": "Clips of a generated stand-in: not comparable with any published accuracy.",
    "real": "Not the published row at full scale: not comparable with its published accuracy.",
}


def accuracy(
    record: dict, scores: np.ndarray, labels: np.ndarray, published: dict, blind: float = 100.0,
    groups: Sequence[str] | None = None,
) -> tuple[str, str]:  # fmt: skip
    """Say how many videos a model recognises, beside chance and what needs no learning.

    Args:
        record: of a training or an evaluation.
        scores, labels: `[N, K]` and `[N]`, of the videos.
        published: accuracies beside which it may stand; empty: none.
        blind: highest accuracy in percent of a network blind to the order of frames, if it is less.
        groups: `[N]` the recording or person of each video, which the interval is over.

    Returns:
        The answer, and a note on what it may be compared with.
    """
    sentence, note = beside_constant_answer(scores, labels, record["class_names"], groups).split(
        ". ", 1
    )
    folds = f", {record['folds']} folds" if "folds" in record else ""
    if blind < 100:
        note += f" A network that cannot see the order of frames reaches {blind:.0f} % at most."
    if published:
        note += f" Published: {published['top1']:.2f} %."
    elif is_row(record["cfg"]):  # nothing is published of one's own data
        note += f" {NOT_COMPARABLE[record['data']]}"
    return f"{record['cfg']}{folds}: {sentence}.", note


def predictions(table: pd.DataFrame, cfg: Config, weights: str, file: str) -> tuple[str, str]:
    """Say what a model answers for the first video or recording, and where all answers are.

    Args:
        table: of `own_videos.predict.predict`.
        cfg: of the model.
        weights: file of the model.
        file: the csv that holds all answers.
    """
    first, videos = table.iloc[0], table["path"].nunique()
    if is_cut(table)[0]:
        parts = merge_windows(table[table["path"] == first["path"]])
        seconds = (parts["end"] - parts["start"]).groupby(parts["name"]).sum()
        segments = "1 segment" if len(parts) == 1 else f"{len(parts)} segments"
        said = f"{segments}, {100 * seconds.max() / seconds.sum():.0f} % of the time "
        said += seconds.idxmax()
    else:
        said = f"{first['name']} ({100 * first['probability']:.0f} %)"
    answer = f"{Path(first['path']).name}: {said}"
    more = f", and answers for {videos - 1:,} more videos below" if videos > 1 else ""
    return (f"{answer}{more}.", f"Model: {cfg.name}, {cfg.num_classes} classes, {weights}. "
            f"All answers: {file}.")  # fmt: skip


def completeness(report, name: str, data: str) -> tuple[str, str]:
    """Say whether the data of a row are whole.

    Args:
        report: of `check_data`.
        name: of the row.
        data: `real` or `standin`.

    Returns:
        The answer, and a note on which data they are.
    """
    counts = report.summary.set_index("split")["present"]
    names = {"train": "training", "val": "validation"}
    videos = " and ".join(f"{n:,} {names[split]} videos" for split, n in counts.items())
    if report.ready:
        answer = f"The data of {name} are whole: {videos}, all of them can be read."
    else:
        answer = f"The data of {name} are NOT ready: {len(report.problems):,} problems; {videos}."
    if data == "standin":
        return answer, "They are the generated stand-in, as the real data set is not here."
    return answer, ""


def study(findings: pd.DataFrame | None, values: pd.DataFrame | None, data: str) -> tuple[str, str]:
    """Say what a study found.

    Args:
        findings: of `findings.findings`; None: the study asks no question.
        values: accuracies, one column per arm; None: rows of the published tables.
        data: that were used.
    """
    note = f"Measured on {data} at mini scale: not comparable with published accuracies."
    if findings is not None and len(findings):
        rows = sorted(findings.itertuples(), key=lambda row: not row.claim)  # of the paper, first
        lines = [_difference(row) for row in rows]
        more = f"; {len(lines) - 2} more below" if len(lines) > 2 else ""
        return "; ".join(lines[:2]) + more + ".", note
    means = values.mean().dropna() if values is not None else pd.Series(dtype=float)
    if not len(means):
        return "No arm has been run yet.", ""
    return f"The best arm is {means.idxmax()}, with {means.max():.1f} %.", note


def _difference(line) -> str:
    if pd.isna(line.difference):
        return f"{line.question}: not run yet"
    ends = f"{line.low_holm:+.1f} to {line.high_holm:+.1f}"
    seeds = f"{line.n_seeds:.0f} seeds"
    verdict = name_verdict(line.verdict, f"{line.margin:g}")
    return f"{line.question}: {line.difference:+.1f} points ({ends}, {seeds}), {verdict}"


def same_function(peers: pd.DataFrame, tolerance: float, costs: pd.DataFrame) -> tuple[str, str]:
    """Say whether published models are reproduced, and how many mistakes would have shown.

    Args:
        peers: of `compare_with_published`.
        tolerance: the largest difference that counts as equal.
        costs: of `sensitivity_table`.
    """
    largest, pitfalls = peers["difference"].max(), costs[costs["pitfall"] != "none"]
    equal = (peers["difference"] <= tolerance).sum()
    same = "Yes" if equal == len(peers) else "No"
    answer = (
        f"{same}: {equal} of {len(peers)} published models give the same logits (largest "
        f"difference {largest:.0e} standard deviations; {tolerance:.0e} is allowed)"
    )
    harmless = (pitfalls["flipped"] == 0).sum()
    answer += f"; of {len(pitfalls)} known mistakes {harmless} flip no prediction"
    if pitfalls["difference"].notna().any():
        worst = pitfalls.loc[pitfalls["difference"].idxmin()]
        answer += f", and the worst ({worst.pitfall}) costs {-worst.difference:.0f} points"
    return answer + ".", ""


def cost_of_shift(counts: pd.DataFrame, forms: pd.DataFrame, device: str) -> tuple[str, str]:
    """Say what the shift costs: counted parameters and multiply-adds, and measured time.

    Args:
        counts: of `count_costs`, with the rows TSN and TSM.
        forms: of `measure_forward`.
        device: on which it was measured.
    """
    extra = counts.loc["TSM"] - counts.loc["TSN"]
    single = forms[(forms["clips"] == 1) & (forms["network"] == "TSM")]
    fastest = single.loc[single["median"].idxmin()]
    answer = (f"The shift adds {extra['parameters']:,.0f} parameters and {extra['macs']:,.0f} "
              f"multiply-adds; a clip takes {fastest['median']:.1f} ms with it, "
              f"{fastest['over_tsn']:.2f} times the network without it.")  # fmt: skip
    return answer, f"Fastest form ({fastest['runtime']}), on {device}."


def comparison(claims: pd.DataFrame) -> tuple[str, str]:
    """Say what is counted, what others replicated, what trainings here decide, and what is open."""
    of_paper = claims[claims["statement"] != ""]
    names = list(of_paper["claim"].unique())

    def name(evidence: str, *verdicts: str) -> list[str]:
        chosen = of_paper[of_paper["evidence"] == evidence]
        return list(chosen.loc[chosen["verdict"].isin(verdicts), "claim"].unique())

    counted = name(COUNTED_HERE, COUNTED, MISPRINT, ARITHMETIC, TIMED)
    replicated, failed = name(BY_OTHERS, REPLICATED), name(BY_OTHERS, NOT_REPLICATED)
    decided = name(TRAINED_HERE, AGREES, CONTRADICTED, NO_DIFFERENCE)
    still = [n for n in names if n not in {*counted, *replicated, *failed, *decided}]
    answer = (
        f"Of the paper's {len(names)} claims, {len(counted)} are counted or timed here, at least "
        f"in part ({_list(counted)}). Others who trained on the real data replicated figures of "
        f"{_list(replicated)}; figures of {_list(failed)} they did not, or not surely. "
        f"Trainings here, at convergence, decide parts of {_list(decided)}. "
        f"Nothing is decided of {_list(still)}."
    )
    return answer, "No accuracy of the paper can be tested here on the paper's own data."


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"


def online(
    tables: Mapping[str, pd.DataFrame],
    early: Mapping[str, pd.DataFrame],
    alarms: float,
    caption: str,
) -> tuple[str, str]:
    """Say how much recognizers recognise at equally many false alarms, and how soon.

    Args:
        tables: of `score_thresholds`, by recognizer.
        early: of `score_early`, likewise.
        alarms: false alarms a minute that each may give.
        caption: which network, data and scale.
    """
    parts = []
    for name, table in tables.items():
        few, curve = table[table["false alarms"] <= alarms], early[name].set_index("share")
        recognised = few["recognised"].max() if len(few) else 0
        parts.append(
            f"{recognised:.0f} % ({name}; {curve['accuracy'][0.5]:.0f} % after half of an action, "
            "where its start is told)"
        )
    return (
        f"With at most {alarms:g} false alarms a minute, of the actions in a stream are "
        f"recognised: {', '.join(parts)}.",
        f"{caption}.",
    )


def detection(table: pd.DataFrame, caption: str) -> tuple[str, str]:
    """Say what the past gives a detector on degraded frames and on clean ones.

    Args:
        table: of `detection.compare_detectors.compare`, of a stand-in.
        caption: which data and scale, and what the intervals are over.
    """

    def gain(part: str) -> str:
        row = table.loc[part]
        return f"{row.gain:+.1f} points ({row.gain_low:+.1f} to {row.gain_high:+.1f})"

    return (
        f"The one-way shift adds {gain('degraded')} of mAP on degraded frames and {gain('clean')} "
        f"on clean ones; on fast objects {gain('fast')}, on slow ones {gain('slow')}.",
        f"{caption}. Not comparable with ImageNet VID.",
    )


def stream_scores(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tabulate the measures of `score_streams` with their intervals, one column a recognizer."""
    cells = {
        name: [f"{row.value:.1f} ({row.low:.1f} to {row.high:.1f})" for row in table.itertuples()]
        for name, table in scores.items()
    }
    first = next(iter(scores.values()))
    titles = [f"{name} ({unit})" for name, unit in first["unit"].items()]
    return pd.DataFrame(cells, index=pd.Index(titles, name="measure"))


def shift(answers: pd.DataFrame, cfg: Config, added: dict[str, int]) -> str:
    """Say what the shift does and costs.

    Args:
        answers: one row per network (TSN, TSM): `accuracy` in percent and `difference`, the largest
            difference of the logits of a clip and of its reversal.
        cfg: the row whose costs were counted.
        added: parameters and multiply-adds that the shift adds to it.
    """
    tsn, tsm = answers.loc["TSN"], answers.loc["TSM"]
    return (f"It lets 2-D convolutions see the order of frames: forward or reversed is answered "
            f"right for {tsm.accuracy:.0f} % of the clips with the shift and for "
            f"{tsn.accuracy:.0f} % without it, and it adds {added['parameters']} parameters and "
            f"{added['macs']} multiply-adds to the published {cfg.backbone}.")  # fmt: skip
