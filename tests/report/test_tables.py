"""Tables for people: each class of a run."""

from types import SimpleNamespace

import numpy as np
import pytest

from tsmlib.data.annotations import VideoEntry
from tsmlib.report.tables import class_table


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
