"""Runs over the folds of real videos: each clip once, one record, intervals over recordings."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import annotate
from scipy import stats

from tsmlib import ConfigError, DataError, get_config
from tsmlib.configs import load_config
from tsmlib.engine.options import RunOptions
from tsmlib.engine.train import train
from tsmlib.intervals import clustered_interval
from tsmlib.results import read_record, read_run_scores
from tsmlib.study.cross_validation import cross_validate, fold_configs
from tsmlib.study.findings import findings, intervals
from tsmlib.study.plan import Arm, Folds, Question, Study, Videos, read_plan
from tsmlib.study.publish import publish
from tsmlib.study.records import (
    find_recorded_runs,
    identify_run,
    pooled_config,
    read_clip_recordings,
)
from tsmlib.study.reproduce import verify
from tsmlib.study.run_study import run_study, use_videos
from tsmlib.study.stored_frames import videos_id
from tsmlib.study.uncertainty import least_deviation, over_recordings

BASE = {
    "backbone": "resnet18", "width": 0.125, "depth": (1, 1, 1, 1), "pretrain": "none",
    "num_segments": 4, "short_side": 32, "crop_size": 32, "val_crop_size": 32,
    "test_crop_size": 32, "batch_size": 8, "videos_per_device": 8, "epochs": 1, "lr": 0.01,
    "num_classes": 3, "class_names": ("up", "down", "round"), "eval_interval": 1,
}  # fmt: skip
FOLDS = Folds("order3", "32x32")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Results and cache of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSM_RESULTS", str(tmp_path_factory.mktemp("results")))
        patch.setenv("TSM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def clips(videos, tmp_path_factory) -> Path:
    return annotate(videos, tmp_path_factory.mktemp("annotated"))


@pytest.fixture(scope="module")
def planned() -> Study:
    arms = {n: Arm(n, get_config("k400", is_shift=n == "TSM", **BASE), folds=FOLDS)
            for n in ("TSN", "TSM")}  # fmt: skip
    asked = (Question("TSM over TSN", "more", of="TSM", over="TSN"),
             Question("TSN against chance", "more", of="TSN", over=100 / 3))  # fmt: skip
    return Study("small", "", arms, asked, (0, 1), True, 2.0, videos=Videos("some", "0", "here"))


@pytest.fixture(scope="module")
def table(own, planned, clips) -> pd.DataFrame:
    return run_study(planned, data_root=str(clips), processes=1, workers=0)


def test_every_clip_is_tested_once_by_a_network_that_has_not_seen_its_recording(table, clips):
    assert (table["state"] == "done").all(), table["state"].tolist()
    for folder in table["run_dir"]:
        paths, labels, scores = read_run_scores(folder)
        assert sorted(path.split("/")[0] for path in paths) == ["a", "a", "b", "c"]
        assert sorted(labels) == [0, 1, 1, 2]
        record = read_record(folder)
        assert record["top1"] == pytest.approx(100 * np.mean(scores.argmax(1) == labels), abs=1e-4)
        assert (record["cfg"], record["folds"], record["num_videos"]) == ("order3", 3, 4)
        assert (record["kind"], record["data"]) == ("cross-validation", "real")
        assert record["recordings"] == 3 and record["data_id"] == videos_id(clips)


def test_records_can_be_verified_published_and_found_again(table, planned, clips):
    folder = table.loc[("TSM", 1), "run_dir"]
    assert verify(folder) == []
    copy = publish(folder)
    assert verify(copy) == []
    assert str(clips.parent) not in "".join(f.read_text() for f in copy.glob("*.json"))
    found = use_videos(planned, str(clips))
    run = identify_run(found, found.arms["TSM"], 1)
    assert find_recorded_runs("runs")[run]["top1"] == table.loc[("TSM", 1), "top1"]
    assert load_config(copy / "config.json") == pooled_config(found.arms["TSM"].cfg, FOLDS)
    again = run_study(planned, data_root=str(clips), processes=1)
    assert (again["state"] == "recorded").all()
    assert identify_run(planned, planned.arms["TSM"], 1) not in find_recorded_runs()  # other videos


def test_an_interrupted_run_keeps_its_folds(own, planned, clips):
    calls, cfg = [], planned.arms["TSM"].cfg

    def dies_in_the_second(fold, options):
        calls.append(fold.val_list)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(fold, options)

    options = RunOptions(seed=5, workers=0, data_root=clips)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(cfg, FOLDS, options, dies_in_the_second)
    record = cross_validate(cfg, FOLDS, options)
    folds = [train(fold, data="real", scale="mini", seed=5, workers=0)
             for fold in fold_configs(cfg, FOLDS, clips, None)]  # fmt: skip
    right = sum(fold["top1"] * fold["num_videos"] for fold in folds)
    assert record["top1"] == pytest.approx(right / record["num_videos"], abs=1e-3)


def test_intervals_are_over_recordings(table, planned, clips):
    found = use_videos(planned, str(clips))
    known, lines = find_recorded_runs(), findings(found).set_index("question")
    groups, mean, of_seeds = read_clip_recordings(found, "TSM", known), {}, {}
    for arm in ("TSM", "TSN"):
        right = [read_run_scores(folder) for folder in table.loc[arm, "run_dir"]]
        right = np.stack([scores.argmax(1) == labels for _, labels, scores in right])
        mean[arm], of_seeds[arm] = right.mean(axis=0), 100 * right.mean(axis=1)
    for question, gain in (
        ("TSM over TSN", mean["TSM"] - mean["TSN"]), ("TSN against chance", mean["TSN"] - 1 / 3),
    ):  # fmt: skip
        line = lines.loc[question]
        assert line["n_seeds"] == 2
        assert line["difference"] == pytest.approx(100 * gain.mean())
        by_hand = []  # of a ratio of sums over recordings (Cochran 1977, 6.3)
        for name in np.unique(groups):
            inside = groups == name
            by_hand.append(np.sum(gain[inside]) - inside.sum() * gain.mean())
        error = 100 * np.sqrt(3 / 2 * np.sum(np.square(by_hand))) / len(gain)
        seeds = of_seeds["TSM"] - of_seeds["TSN"] if "over" in question else of_seeds["TSN"]
        halves = (stats.t.ppf(0.975, 2) * error,  # over recordings, and over seeds: the wider one
                  stats.t.ppf(0.975, 1) * np.std(seeds, ddof=1) / np.sqrt(2))  # fmt: skip
        assert (line["low"], line["high"]) == pytest.approx(
            (line["difference"] - max(halves), line["difference"] + max(halves))
        )
        assert (line["n_recordings"] == 3) == (halves[0] >= halves[1])  # over seeds it has none
    assert intervals(found)["TSM"] == clustered_interval(mean["TSM"], groups)


def test_two_arms_that_never_differ_leave_some_doubt(own, planned, clips, table):
    found = use_videos(planned, str(clips))
    asked = Question("TSN over itself", "same", of="TSN", over="TSN")
    line = findings(dataclasses.replace(found, questions=(asked,))).iloc[0]
    assert line["difference"] == 0 and line["low"] < -10 and line["equivalence_p"] > 0.05


def test_all_right_leaves_some_doubt():
    groups = np.repeat(np.arange(23), 2)
    assert least_deviation(np.r_[np.ones(45), 0], groups) == 0
    error = least_deviation(np.ones(46), groups) / np.sqrt(23)
    share = 48 / 50
    assert error == pytest.approx(100 * np.sqrt(share * (1 - share) / 50))
    values = over_recordings(np.arange(46) % 2, groups)
    assert len(values) == 23 and values.mean() == pytest.approx(50)


def test_class_names_are_those_of_the_videos(own, planned, clips):
    cfg = dataclasses.replace(planned.arms["TSM"].cfg, class_names=("up", "down", "left"))
    with pytest.raises(ConfigError, match="are up, down, round; the arm names others"):
        cross_validate(cfg, FOLDS, RunOptions(data_root=clips))


def test_bad_input_is_said_in_a_sentence(own, planned, tmp_path, clips):
    line = run_study(planned, seeds=[3], arms=["TSN"], processes=1).iloc[0]
    assert line["state"].startswith("failed: this arm is trained on real videos: name their folder")
    with pytest.raises(DataError, match="there are no video files in"):
        run_study(planned, data_root=str(tmp_path))
    cfg = dataclasses.replace(planned.arms["TSN"].cfg, pretrain="gone.pth")
    with pytest.raises(Exception, match=r"gone\.pth"):
        cross_validate(cfg, FOLDS, RunOptions(data_root=clips, workers=0))


def test_the_plan_names_the_videos_that_are_beside_the_repository(shared):
    for name, one in read_plan().items():
        if one.videos:
            assert videos_id(shared / "data" / one.videos.name) == one.videos.id, name
