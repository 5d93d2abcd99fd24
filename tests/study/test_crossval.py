"""Runs over the folds of real videos: each clip once, one record, intervals over recordings."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tsmlib import ConfigError, DataError, get_config
from tsmlib.configs import load_config
from tsmlib.engine.options import RunOptions
from tsmlib.engine.train import train
from tsmlib.results import read_record, read_run_scores
from tsmlib.study.arrow_of_time import ROUNDING
from tsmlib.study.cross_validation import cross_validate, fold_configs
from tsmlib.study.findings import findings, intervals
from tsmlib.study.frame_windows import videos_id
from tsmlib.study.plan import Arm, Folds, Question, Study, Videos, read_plan
from tsmlib.study.publish import publish
from tsmlib.study.records import find_recorded_runs, identify_run, pooled_config, recordings
from tsmlib.study.reproduce import verify
from tsmlib.study.run_study import on_videos, run_study
from tsmlib.study.uncertainty import clustered_interval, least_deviation, over_recordings

BASE = {
    "backbone": "resnet18", "width": 0.125, "depth": (1, 1, 1, 1), "pretrain": "none",
    "num_segments": 4, "short_side": 32, "crop_size": 32, "val_crop_size": 32,
    "test_crop_size": 32, "batch_size": 8, "videos_per_device": 8, "epochs": 1, "lr": 0.01,
    "num_classes": 2, "class_names": ("forward", "reversed"), "eval_interval": 1,
}  # fmt: skip
FOLDS = Folds("arrow", "32x32", folds=2, window=12)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Results and cache of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSM_RESULTS", str(tmp_path_factory.mktemp("results")))
        patch.setenv("TSM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def planned() -> Study:
    arms = {n: Arm(n, get_config("k400", is_shift=n == "TSM", **BASE), folds=FOLDS)
            for n in ("TSN", "TSM")}  # fmt: skip
    asked = (Question("TSM over TSN", "more", of="TSM", over="TSN"),
             Question("TSN against chance", "same", of="TSN", over=50))  # fmt: skip
    return Study("small", "", arms, asked, (0, 1), True, 2.0, videos=Videos("some", "0", "here"))


@pytest.fixture(scope="module")
def table(own, planned, videos) -> pd.DataFrame:
    return run_study(planned, data_root=str(videos), processes=1, workers=0)


def test_every_clip_is_validated_once_by_a_network_that_has_not_seen_its_recording(table, videos):
    assert (table["state"] == "done").all(), table["state"].tolist()
    for folder in table["run_dir"]:
        paths, labels, scores = read_run_scores(folder)
        assert len(set(paths)) == len(paths) == 28  # 7 videos, 2 windows, 2 directions
        assert labels.tolist() == [path.endswith("reversed") for path in paths]
        record = read_record(folder)
        assert record["top1"] == pytest.approx(100 * np.mean(scores.argmax(1) == labels), abs=1e-4)
        assert (record["folds"], record["recordings"], record["num_videos"]) == (2, 4, 28)
        assert (record["kind"], record["data"]) == ("cross-validation", "real")
        assert record["data_id"] == videos_id(videos)


def test_a_network_blind_to_order_is_right_on_exactly_one_of_two(table):
    for seed in (0, 1):
        record = read_record(table.loc[("TSN", seed), "run_dir"])
        assert record["top1"] == 50 and record["asymmetry"] < ROUNDING
        assert "asymmetry" not in read_record(table.loc[("TSM", seed), "run_dir"])


def test_records_can_be_verified_published_and_found_again(table, planned, videos, tmp_path):
    folder = table.loc[("TSM", 1), "run_dir"]
    assert verify(folder) == []
    copy = publish(folder)
    assert verify(copy) == []
    assert str(videos.parent) not in "".join(f.read_text() for f in copy.glob("*.json"))
    found = on_videos(planned, str(videos))
    run = identify_run(found, found.arms["TSM"], 1)
    assert find_recorded_runs("runs")[run]["top1"] == table.loc[("TSM", 1), "top1"]
    assert load_config(copy / "config.json") == pooled_config(found.arms["TSM"].cfg, FOLDS)
    again = run_study(planned, data_root=str(videos), processes=1)
    assert (again["state"] == "recorded").all()
    assert identify_run(planned, planned.arms["TSM"], 1) not in find_recorded_runs()  # other videos


def test_an_interrupted_run_keeps_its_folds(own, planned, videos):
    calls, cfg = [], planned.arms["TSM"].cfg

    def dies_in_the_second(fold, options):
        calls.append(fold.val_list)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(fold, options)

    options = RunOptions(seed=5, workers=0, data_root=videos)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(cfg, FOLDS, options, dies_in_the_second)
    record = cross_validate(cfg, FOLDS, options)
    folds = [train(fold, data="real", scale="mini", seed=5, workers=0)
             for fold in fold_configs(cfg, FOLDS, videos, None)]  # fmt: skip
    right = sum(fold["top1"] * fold["num_videos"] for fold in folds)
    assert record["top1"] == pytest.approx(right / record["num_videos"], abs=1e-3)


def test_intervals_are_over_recordings(table, planned, videos):
    found = on_videos(planned, str(videos))
    lines = findings(found).set_index("question")
    known = find_recorded_runs()
    groups = recordings(found, "TSM", known)
    right = [read_run_scores(folder) for folder in table.loc["TSM", "run_dir"]]
    mean = np.mean([scores.argmax(1) == labels for _, labels, scores in right], axis=0)
    line = lines.loc["TSM over TSN"]
    assert (line["n_seeds"], line["n_recordings"]) == (2, 4)
    assert line["difference"] == pytest.approx(100 * mean.mean() - 50)
    by_hand = []  # of a ratio of sums over recordings (Cochran 1977, 6.3)
    for name in np.unique(groups):
        inside = groups == name
        by_hand.append(np.sum(mean[inside] - 0.5) - inside.sum() * (mean.mean() - 0.5))
    error = 100 * np.sqrt(4 / 3 * np.sum(np.square(by_hand))) / len(mean)
    half = stats.t.ppf(0.975, 3) * error
    assert (line["low"], line["high"]) == pytest.approx(
        (line["difference"] - half, line["difference"] + half)
    )
    assert lines.loc["TSN against chance", ["low", "high"]].tolist() == [0, 0]
    assert lines.loc["TSN against chance", "verdict"] == "equivalent"
    assert intervals(found)["TSM"] == clustered_interval(mean, groups)


def test_all_right_leaves_some_doubt():
    groups = np.repeat(np.arange(23), 2)
    assert least_deviation(np.r_[np.ones(45), 0], groups) == 0
    error = least_deviation(np.ones(46), groups) / np.sqrt(23)
    share = 48 / 50
    assert error == pytest.approx(100 * np.sqrt(share * (1 - share) / 50))
    values = over_recordings(np.arange(46) % 2, groups)
    assert len(values) == 23 and values.mean() == pytest.approx(50)


def test_annotated_actions_with_one_recording_left_out(own, annotated):
    names = ("up", "down", "round")
    folds = Folds("order3", "height 24")
    cfg = get_config("k400", **{**BASE, "num_classes": 3, "class_names": names})
    record = cross_validate(cfg, folds, RunOptions(data_root=annotated, workers=0))
    assert (record["cfg"], record["folds"], record["num_videos"]) == ("loro_order3", 3, 4)
    assert record["class_names"] == list(names)
    other = dataclasses.replace(cfg, class_names=("up", "down", "left"))
    with pytest.raises(ConfigError, match="are up, down, round; the arm names others"):
        cross_validate(other, folds, RunOptions(data_root=annotated))


def test_bad_input_is_said_in_a_sentence(own, planned, tmp_path, videos):
    line = run_study(planned, seeds=[3], arms=["TSN"], processes=1).iloc[0]
    assert line["state"].startswith("failed: it is asked of real videos: name their folder")
    with pytest.raises(DataError, match="there are no video files in"):
        run_study(planned, data_root=str(tmp_path))
    cfg = dataclasses.replace(planned.arms["TSN"].cfg, pretrain="gone.pth")
    with pytest.raises(Exception, match=r"gone\.pth"):
        cross_validate(cfg, FOLDS, RunOptions(data_root=videos, workers=0))


def test_the_plan_names_the_videos_that_are_beside_the_repository(shared):
    for name, one in read_plan().items():
        if one.videos:
            assert videos_id(shared / "data" / one.videos.name) == one.videos.id, name
