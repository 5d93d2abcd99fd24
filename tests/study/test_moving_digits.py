"""Digits in motion: clips show what their labels say, and runs start from a network on stills."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from tsmlib import get_config
from tsmlib.data.standin.scenes import make_rng
from tsmlib.engine.options import RunOptions
from tsmlib.engine.train import train
from tsmlib.results import PREDICTIONS, read_record, read_run_scores
from tsmlib.study import moving_digits
from tsmlib.study.cross_validation import train_on_digits
from tsmlib.study.findings import findings
from tsmlib.study.moving_digits import (
    CLASSES,
    DIRECTIONS,
    FRAMES,
    SIZE,
    draw_clip,
    load_images,
    measure_digit_and_direction,
    number_tested_images,
    prepare_digits,
    with_run_seed,
)
from tsmlib.study.plan import Arm, Digits, Question, Study
from tsmlib.study.records import find_recorded_runs, identify_run, tabulate_accuracies
from tsmlib.study.reproduce import verify

CLEAR = Digits((40, 40), (20, 10), contrast=0.6, noise=0.0)
SMALL = {
    "backbone": "resnet18", "width": 0.125, "depth": (1, 1, 1, 1), "pretrain": "stills",
    "num_segments": 4, "short_side": 36, "crop_size": 32, "val_crop_size": 32,
    "test_crop_size": 32, "batch_size": 8, "videos_per_device": 8, "epochs": 1, "lr": 0.01,
    "eval_interval": 1, "num_classes": 40, "class_names": CLASSES, "flip": 0.0,
}  # fmt: skip


def centre(frame: torch.Tensor) -> np.ndarray:
    """Find the digit on a plain background: its mean column and row."""
    light = frame.float().mean(-1)
    ink = (light - light.median()).abs()
    ink[ink < 0.3 * ink.max()] = 0
    grid = torch.arange(SIZE).float()
    return np.array([(ink.sum(0) @ grid) / ink.sum(), (ink.sum(1) @ grid) / ink.sum()])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_digit_moves_where_its_class_says(direction, seed, monkeypatch):
    plain = torch.full((3, 80, 80), 0.5)
    monkeypatch.setattr(moving_digits, "noise_texture", lambda *_, **__: plain)
    image = load_images()["train"][seed][0]
    clip = draw_clip(image, direction, CLEAR, make_rng(seed, 0, 0))
    assert clip.shape == (FRAMES, SIZE, SIZE, 3) and clip.dtype == torch.uint8
    axis, sign = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}[direction]
    moved = centre(clip[-1]) - centre(clip[0])
    assert sign * moved[axis] > 5 and abs(moved[1 - axis]) < 2


def test_digits_of_the_test_are_not_in_training():
    images = load_images()
    seen = {image.tobytes() for digit in images["train"] for image in digit}
    assert sum(map(len, images["train"])) + sum(map(len, images["test"])) == 1797
    assert not seen & {image.tobytes() for digit in images["test"] for image in digit}


def test_clips_are_drawn_once_and_again_the_same(tmp_path):
    first, second = (prepare_digits(CLEAR, tmp_path / name) for name in "ab")
    files = sorted(p.relative_to(first) for p in first.rglob("*.jpg"))
    assert len(files) == 80 * FRAMES + 30
    assert all((first / f).read_bytes() == (second / f).read_bytes() for f in files)
    other = prepare_digits(dataclasses.replace(CLEAR, seed=1), tmp_path / "a")
    assert other != first
    assert (other / files[0]).read_bytes() != (first / files[0]).read_bytes()
    lines = (first / "lists" / "test.txt").read_text().splitlines()
    assert sorted(int(line.split()[2]) for line in lines) == list(range(40))
    stamp = (first / files[0]).stat().st_mtime_ns
    assert prepare_digits(CLEAR, tmp_path / "a") == first
    assert (first / files[0]).stat().st_mtime_ns == stamp


def test_appearance_and_order_are_counted_apart():
    answers = [(3, 1), (3, 2), (4, 1), (7, 0)]  # digit and direction
    labels = np.array([3 * 4 + 1] * 4)
    scores = np.eye(40)[[digit * 4 + direction for digit, direction in answers]]
    assert measure_digit_and_direction(scores, labels) == {"appearance": 50.0, "order": 50.0}
    assert CLASSES[3 * 4 + 1] == "3 right"


def test_a_run_may_have_clips_of_its_own():
    own = dataclasses.replace(CLEAR, seed=None)
    assert with_run_seed(own, 7) == dataclasses.replace(CLEAR, seed=7)
    assert with_run_seed(CLEAR, 7) == CLEAR


def test_runs_start_from_stills_and_are_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    monkeypatch.setenv("TSM_CACHE", str(tmp_path / "cache"))
    started, digits = [], Digits((40, 40), (20, 10), seed=None, still_epochs=1)

    def noted(cfg, options):
        started.append((cfg.name, cfg.num_segments, cfg.is_shift, Path(cfg.pretrain).name))
        return train(cfg, options)

    cfg = get_config("k400", **SMALL)
    record = train_on_digits(cfg, digits, RunOptions(seed=3, workers=0), noted)
    assert started == [("stills", 1, False, "none"), ("digits", 4, True, "last.pth")]
    _, labels, scores = read_run_scores(record["run_dir"])
    assert {k: record[k] for k in ("appearance", "order")} == measure_digit_and_direction(
        scores, labels
    )
    assert (record["data"], record["num_videos"], record["cfg"]) == ("standin", 40, "digits")
    assert verify(record["run_dir"]) == []

    study = Study("a", "?", {"a": Arm("a", cfg, digits=digits)}, (), (3,), True, 2.0)
    known = find_recorded_runs()
    assert identify_run(study, study.arms["a"], 3) in known
    assert tabulate_accuracies(study, "order", known).loc[3, "a"] == record["order"]
    other = dataclasses.replace(
        study.arms["a"], digits=Digits((40, 40), (20, 10), seed=1, still_epochs=1)
    )
    assert identify_run(study, other, 3) not in known
    text = "".join(f.read_text() for f in Path(record["run_dir"]).glob("*.json"))
    assert str(tmp_path) not in text.replace(str(record["run_dir"]), "")
    assert read_record(record["run_dir"])["order"] == record["order"]


def test_the_images_of_a_test_are_numbered_as_they_are_drawn(monkeypatch, tmp_path):
    """What `draw_clip` is given for each test clip is the numbered image."""
    images, drawn = load_images()["test"], []
    assert tuple(map(len, images)) == moving_digits.TESTED
    numbered = [image.tobytes() for of_digit in images for image in of_digit]

    def note(image, *_):
        drawn.append(image.tobytes())
        return torch.zeros(1, 4, 4, 3, dtype=torch.uint8)

    monkeypatch.setattr(moving_digits, "draw_clip", note)
    digits = dataclasses.replace(CLEAR, clips=(40, 120), seed=7)
    prepare_digits(digits, tmp_path)
    assert [numbered[number] for number in number_tested_images(digits)] == drawn[40:160]


def test_differences_are_over_images_where_these_vary_more(tmp_path):
    """Both arms fail on some images whatever the seed, one on more of them."""
    digits = Digits((40, 2000), seed=None)
    arms = {name: Arm(name, get_config("jester", lr=lr), digits=digits)
            for name, lr in (("a", 0.1), ("b", 0.2))}  # fmt: skip
    asked = Question("a over b", "more", of="a", over="b", measure="appearance")
    study = Study("small", "?", arms, (asked,), (1, 2, 3), False, margin=2.0)
    known, labels = {}, np.arange(2000) % 40
    images = {seed: number_tested_images(with_run_seed(digits, seed)) for seed in study.seeds}
    for arm, failed in (("a", 5), ("b", 50)):
        for seed in study.seeds:
            answers = np.where(images[seed] < failed, (labels + 4) % 40, labels)
            folder = tmp_path / f"{arm}{seed}"
            folder.mkdir()
            pd.DataFrame({"label": labels, "predicted": answers}).to_csv(folder / PREDICTIONS)
            right = 100 * float((answers // 4 == labels // 4).mean())
            known[identify_run(study, study.arms[arm], seed)] = {
                "run_dir": str(folder), "appearance": right, "top1": right,
            }  # fmt: skip
    found = findings(study, known).iloc[0]
    tested = np.concatenate(list(images.values()))
    lost = (tested >= 5) & (tested < 50)
    assert found["difference"] == pytest.approx(100 * lost.mean())
    assert found["n_recordings"] == len(set(tested)) > 590
    per_image = pd.Series(lost).groupby(tested).agg(["sum", "size"])
    residuals = per_image["sum"] - lost.mean() * per_image["size"]
    se = 100 * len(per_image) ** 0.5 / len(lost) * residuals.std(ddof=1)
    half = stats.t.ppf(0.975, len(per_image) - 1) * se
    assert found["high"] - found["difference"] == pytest.approx(half)
