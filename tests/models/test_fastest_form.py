"""Forms are measured in turn, and the fastest is kept if it is clearly faster than the first."""

import pytest
import torch

from tsmlib.models import fastest_form
from tsmlib.models.fastest_form import choose_fastest


class Form:
    """A form whose call takes a known time, by a clock that only it moves."""

    now = 0.0

    def __init__(self, runtime: str, seconds: float):
        self.runtime, self.seconds = runtime, seconds

    def __call__(self) -> torch.Tensor:
        Form.now += self.seconds
        return torch.zeros(1)


def choose(monkeypatch, **seconds: float) -> Form:
    monkeypatch.setattr(fastest_form.time, "perf_counter", lambda: Form.now)

    def make(runtime: str) -> Form:
        if seconds[runtime] < 0:
            raise RuntimeError("no compiler\nand a long trace")
        return Form(runtime, seconds[runtime])

    return choose_fastest(make, list(seconds), lambda form: form())


def test_the_fastest_form_is_chosen_and_a_small_difference_changes_nothing(monkeypatch):
    chosen = choose(monkeypatch, onednn=0.010, folded=0.012, compiled=0.008)
    assert chosen.runtime == "compiled"
    assert chosen.milliseconds == pytest.approx({"onednn": 10, "folded": 12, "compiled": 8})
    assert choose(monkeypatch, onednn=0.010, folded=0.012, compiled=0.0099).runtime == "onednn"


def test_forms_that_fail_are_left_out(monkeypatch, caplog):
    chosen = choose(monkeypatch, onednn=0.010, folded=0.012, compiled=-1)
    assert list(chosen.milliseconds) == ["onednn", "folded"]
    assert caplog.messages == ["the form compiled is left out: no compiler"]
    with pytest.raises(RuntimeError, match="no compiler"):
        choose(monkeypatch, onednn=-1, folded=0.012)
