"""The sentences that answer the questions of the notebooks, and the charts of the shift."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tsmlib.configs import get_config
from tsmlib.report import notebook_answers as answers
from tsmlib.report import shift_plots

LABELS = np.repeat(np.arange(4), 25)
RECORD = {"cfg": "sthv1", "data": "standin", "class_names": list("abcd")}


def test_accuracy_stands_beside_what_needs_no_learning():
    answer, note = answers.accuracy(RECORD, np.eye(4)[LABELS], LABELS, {}, blind=50.0)
    assert answer.startswith("sthv1: Top-1 is 100.0 % of 100 videos (95 % interval 96.3 to 100.0).")
    assert "Chance is 25.0 %" in note and "order of frames reaches 50 % at most." in note
    assert note.endswith("not comparable with any published accuracy.")


def test_no_better_than_the_commonest_class():
    record = RECORD | {"data": "real"}
    _, note = answers.accuracy(record, np.eye(4)[0 * LABELS], LABELS, {"top1": 45.58})
    assert "NO BETTER" in note and note.endswith("Published: 45.58 %.")


def test_predictions():
    table = pd.DataFrame({"path": ["v/a.mp4", "v/a.mp4", "v/b.mp4"], "name": ["x", "y", "x"],
                          "probability": [0.9, 0.1, 0.8], "rank": [1, 2, 1],
                          "start": 0.0, "end": 1.0})  # fmt: skip
    answer, note = answers.predictions(table, get_config("sthv1"), "last.pth", "v-1.csv")
    assert answer == "a.mp4: x (90 %), and answers for 1 more videos below."
    assert note == "Model: sthv1, 174 classes, last.pth. All answers: v-1.csv."


@pytest.mark.parametrize("ready", [True, False])
def test_completeness(ready):
    summary = pd.DataFrame({"split": ["train", "val"], "present": [1880, 400]})
    report = SimpleNamespace(ready=ready, summary=summary, problems=["a", "b"])
    answer, note = answers.completeness(report, "sthv1", "standin")
    assert "1,880 training videos and 400 validation videos" in answer and "stand-in" in note
    assert ("whole" in answer) == ready and ("2 problems" in answer) != ready


def test_a_study_answers_its_questions_or_names_its_best_arm():
    line = {"question": "a over b", "difference": 3.25, "low_holm": 1.0, "high_holm": 5.5,
            "n_seeds": 10, "margin": 2.0, "claim": "C15",
            "verdict": "no difference >= m"}  # fmt: skip
    waiting = line | {"question": "c over b", "difference": np.nan, "claim": ""}
    answer, note = answers.study(pd.DataFrame([waiting, line]), None, "stand-in data")
    assert answer == ("a over b: +3.2 points (+1.0 to +5.5, 10 seeds), no difference ≥ 2; "
                      "c over b: not run yet.")  # fmt: skip
    assert "stand-in data" in note
    values = pd.DataFrame({"a": [50.0, 60.0], "b": [np.nan, 10.0]})
    assert answers.study(None, values, "")[0] == "The best arm is a, with 55.0 %."
    assert answers.study(None, None, "")[0] == "No arm has been run yet."


def test_same_function():
    peers = pd.DataFrame({"difference": [2e-6, 3e-4]})
    costs = pd.DataFrame({"pitfall": ["none", "mirrored", "BGR"], "flipped": [0.0, 0.0, 40.0],
                          "difference": [0.0, 0.0, -37.0]})  # fmt: skip
    answer, _ = answers.same_function(peers, 1e-4, costs)
    assert answer.startswith("No: 1 of 2 published models")
    assert "of 2 known mistakes 1 flip no prediction" in answer
    assert "the worst (BGR) costs 37 points" in answer


def test_cost_of_the_shift():
    counts = pd.DataFrame({"parameters": [10, 10], "macs": [5, 5]}, index=["TSN", "TSM"])
    forms = pd.DataFrame({
        "network": ["TSN", "TSM", "TSM"], "runtime": ["a", "a", "b"], "clips": 1,
        "median": [4.0, 4.4, 4.2], "over_tsn": [np.nan, 1.1, 1.05],
    })  # fmt: skip
    answer, note = answers.cost_of_shift(counts, forms, "a CPU")
    assert "adds 0 parameters and 0 multiply-adds; a clip takes 4.2 ms with it, 1.05" in answer
    assert note == "Fastest form (b), on a CPU."


def test_comparison_counts_the_claims():
    def line(claim, evidence, verdict):
        return {"claim": claim, "statement": "?", "evidence": evidence, "verdict": verdict}

    claims = pd.DataFrame([
        line("C1", "counted or timed here", "counted"),
        line("C1", "counted or timed here", "misprint"),
        line("C2", "trained by others on the real data", "replicated by others"),
        line("C2", "trained by others on the real data", "not replicated by others"),
        line("C3", "trained here", "no difference >= m at convergence"),
        line("C4", "trained here", "not converged"),
        line("C5", "trained here", "not measured here"),
        line("C6", "trained by others on the real data", "not replicated by others"),
    ])  # fmt: skip
    answer, note = answers.comparison(claims)
    assert answer == (
        "Of the paper's 6 claims, 1 are counted or timed here, at least in part (C1). Others who "
        "trained on the real data replicated figures of C2; figures of C2, C6 they did not, or not "
        "surely. Trainings here, at convergence, decide parts of C3. Nothing is decided of C4, C5."
    )
    assert "No accuracy of the paper can be tested here" in note


def test_the_shift():
    table = pd.DataFrame({"accuracy": [50.0, 98.0], "difference": [0.0, 9.0]}, index=["TSN", "TSM"])
    answer = answers.shift(table, get_config("sthv1"), {"parameters": 0, "macs": 0})
    assert "98 % of the clips with the shift and for 50 % without" in answer
    assert answer.endswith("adds 0 parameters and 0 multiply-adds to the published resnet50.")


def test_charts_of_the_shift():
    x = np.arange(1.0, 5)[:, None].repeat(8, 1)
    axes = shift_plots.arrays({"before": x, "after": np.zeros_like(x)}, "finding", "source")
    assert [ax.get_title() for ax in axes] == ["before", "after"]
    assert [text.get_text() for text in axes[0].texts][:9] == ["1"] * 8 + ["2"]
    assert axes[0].figure.get_suptitle() == "finding"
    assert len(shift_plots.residual_blocks()) == 2
    clip = np.zeros((8, 12, 16, 3), np.uint8)
    figure = shift_plots.forward_and_reversed(clip, {"TSN": (0.5, 0.5)}, "finding", "source")
    assert [text.get_text() for ax in figure.axes for text in ax.texts] == ["0.50", "0.50"]


def test_what_a_stream_recognises():
    table = pd.DataFrame(
        {"value": [85.0, 9.0], "low": [75.0, 7.5], "high": [95.0, 12.0],
         "unit": ["% of actions", "per minute"]}, index=["recognised", "false alarms"],
    )  # fmt: skip
    curve = pd.DataFrame({"share": [0.1, 0.5], "accuracy": [20.0, 70.0]})
    rates = pd.DataFrame({"recognised": [85.0, 60.0, 50.0], "false alarms": [20.0, 10.0, 1.0]})
    answer, note = answers.online({"online": rates}, {"online": curve}, 10, "8 streams")
    assert answer == (
        "With at most 10 false alarms a minute, of the actions in a stream are recognised: 60 % "
        "(online; 70 % after half of an action, where its start is told)."
    )
    answer, _ = answers.online({"online": rates}, {"online": curve}, 0, "8 streams")
    assert "recognised: 0 % (online" in answer
    assert note == "8 streams."
    cells = answers.stream_scores({"online": table})["online"]
    assert cells.to_dict() == {
        "recognised (% of actions)": "85.0 (75.0 to 95.0)",
        "false alarms (per minute)": "9.0 (7.5 to 12.0)",
    }
