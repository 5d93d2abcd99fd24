"""Tables for people: each class of a run, the arms of a study."""

from types import SimpleNamespace

import numpy as np
import pytest

from tsmlib import get_config
from tsmlib.data.annotations import VideoEntry
from tsmlib.intervals import mean_interval
from tsmlib.report.tables import arms_and_gates, class_table
from tsmlib.study.plan import Arm, Question, Study
from tsmlib.study.records import identify_run


def test_each_class_is_counted():
    trained = [VideoEntry("a", 9, label) for label in (0, 0, 0, 1)]
    setup = SimpleNamespace(
        class_names=("walk", "run", "swim"), train_list=SimpleNamespace(entries=trained)
    )
    labels, answers = np.array([0, 0, 0, 1]), np.array([0, 0, 2, 1])
    table = class_table(setup, np.eye(3)[answers], labels)
    assert table["training"].to_dict() == {"walk": 3, "run": 1, "swim": 0}
    assert table["test"].to_dict() == {"walk": 3, "run": 1, "swim": 0}
    assert table.loc["walk", "recognised (%)"] == pytest.approx(66.7)
    assert np.isnan(table.loc["swim", "recognised (%)"])


SEEDS = tuple(range(10, 20))


def test_arms_with_all_measures_that_are_asked():
    """An arm that passes in top-1 has not converged where it fails in what is asked."""
    arms = {
        "shift": Arm("shift", get_config("jester")),
        "longer": Arm("longer", get_config("jester", epochs=7), half="shift"),
        "later": Arm("later", get_config("jester", epochs=9)),
    }
    asked = (Question("?", "more", of="shift", over="later", measure="appearance"),)
    study = Study("small", "?", arms, asked, SEEDS, False, margin=2.0, doubled_seeds=1)
    found = {
        identify_run(study, arms[arm], seed): {
            "top1": 80.0 + seed % 2 + gain / 10, "appearance": 90.0 + seed % 2 + gain
        }
        for arm, seeds, gain in (("shift", SEEDS, 0), ("longer", SEEDS[:1], 5))
        for seed in seeds
    }  # fmt: skip
    table = arms_and_gates(study, found)
    assert list(table.index) == ["shift"]  # the longer training is in its line, `later` was not run
    line = table.loc["shift"]
    low, high = mean_interval([80.0, 81.0] * 5)[1:]
    assert line["top-1 (%)"] == f"80.5 ({low:.1f} to {high:.1f})"
    assert line["digit (%)"].startswith("90.5 (")
    assert line["seeds"] == 10 and line["by twice the training"] == "+0.50 (1 seed)"
    assert line["gates"] == "failed: digit (%): twice the training changes it by +5.0 points"
