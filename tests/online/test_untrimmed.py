"""Untrimmed streams: what they show where, what must tell nothing, and the files they become."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import sliding

from tsmlib import ConfigError, DataError, VideoError, get_config
from tsmlib.configs import DATASETS, mini, standin_names
from tsmlib.data.annotations import VideoEntry, VideoList, read_list
from tsmlib.data.standin.plan import LENGTHS
from tsmlib.data.video import VideoFile, write_video
from tsmlib.online.truth import NO_CLASS
from tsmlib.online.untrimmed import (
    PAUSE_FRAMES,
    Stream,
    draw_standin_stream,
    join_clips,
    write_stream,
)

CFG = mini(get_config("sthv1"))


@pytest.fixture(scope="module")
def drawn() -> Stream:
    return draw_standin_stream(CFG, seed=0)


def parts(stream: Stream) -> list[tuple[int, torch.Tensor]]:
    """Cut a stream where its label changes: labels and frames."""
    labels = stream.truth.labels
    ends = [*(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    starts = [0, *ends[:-1]]
    return [(int(labels[a]), stream.frames[a:b]) for a, b in zip(starts, ends, strict=True)]


# --- drawn ----------------------------------------------------------------------------------------


def test_pauses_and_actions_take_turns_and_have_their_lengths(drawn):
    frames, truth = drawn
    assert frames.shape == (truth.num_frames, 64, 64, 3) and frames.dtype == torch.uint8
    labels = [label for label, _ in parts(drawn)]
    assert set(labels[::2]) == {NO_CLASS} and NO_CLASS not in labels[1::2]
    for label, part in parts(drawn):
        pause = label == NO_CLASS
        low, high = PAUSE_FRAMES if pause else (min(LENGTHS["temporal"]), max(LENGTHS["temporal"]))
        assert low <= len(part) <= high


def test_each_class_comes_once_before_any_comes_again():
    labels = [
        action.label for action in draw_standin_stream(CFG, 3, actions=25, size=8).truth.actions
    ]
    assert sorted(labels[:10]) == sorted(labels[10:20]) == list(range(10))
    assert len(labels) == 25 and len(set(labels[20:])) == 5
    assert labels[:10] != labels[10:20]


def test_the_same_seed_draws_the_same_stream_and_another_one_another(drawn):
    again, other = draw_standin_stream(CFG, 0), draw_standin_stream(CFG, 1)
    assert again.truth == drawn.truth and torch.equal(again.frames, drawn.frames)
    assert other.truth.actions != drawn.truth.actions


def test_the_classes_of_a_pair_move_opposite_ways():
    """An action's object is followed by its brightness against the background's median."""
    cfg = mini(get_config("jester"))
    names = standin_names("jester")
    moved: dict[str, list[float]] = {"Swiping Right": [], "Swiping Left": []}
    for seed in range(3):
        stream = draw_standin_stream(cfg, seed)
        for label, part in parts(stream)[1::2]:
            if names[label] in moved:
                moved[names[label]].append(_shift_to_the_right(part))
    assert np.median(moved["Swiping Right"]) > 3 and np.median(moved["Swiping Left"]) < -3


def _shift_to_the_right(part: torch.Tensor) -> float:
    """Pixels that what differs from the clip's median picture moved between its two halves."""
    x = part.float().mean(-1)
    away = (x - x.median(0).values).abs()
    away = (away - 25).clamp(min=0)
    columns = away.sum(1) + 1e-6  # [T, W]
    centre = (columns * torch.arange(64)).sum(1) / columns.sum(1)
    third = len(part) // 3
    return float(centre[-third:].mean() - centre[:third].mean())


def test_less_moves_in_a_pause_than_in_an_action(drawn):
    changed = {True: [], False: []}
    for label, part in parts(drawn):
        difference = (part[-1].float() - part[0].float()).abs().mean()
        changed[label == NO_CLASS].append(float(difference))
    assert np.median(changed[True]) < 0.6 * np.median(changed[False])


def test_all_pauses_are_drawn_alike_and_nothing_is_of_the_lists(monkeypatch):
    kinds, numbers = [], []

    def draw(kind, num_frames, seed, number, least_motion):
        kinds.append(kind)
        numbers.append(number)
        return torch.zeros(num_frames, 64, 86, 3, dtype=torch.uint8)

    monkeypatch.setattr("tsmlib.online.untrimmed.draw_clip", draw)
    for seed in range(3):
        kinds.clear()
        draw_standin_stream(CFG, seed, actions=50)
        assert set(kinds[::2]) == {"at rest"} and len(set(kinds[1::2])) == 5
    assert len(set(numbers)) == len(numbers) == 3 * 101 and min(numbers) > 100_000


def test_data_without_a_stand_in_have_no_drawn_stream():
    with pytest.raises(ConfigError, match="no stand-in of videos of your own"):
        draw_standin_stream(dataclasses.replace(CFG, dataset="custom"), 0)


# --- joined ---------------------------------------------------------------------------------------


@pytest.fixture
def clips(tmp_path) -> tuple[VideoList, list[torch.Tensor]]:
    """Three video files of different lengths and one shape, and their frames as they decode."""
    entries, frames = [], []
    for i in range(3):
        write_video(tmp_path / f"{i}.mp4", sliding(10 + i, 7 * i))
        entries.append(VideoEntry(f"{i}.mp4", None, i))
        frames.append(VideoFile(tmp_path / f"{i}.mp4").frames(list(range(10 + i))))
    return VideoList(tmp_path / "list.txt", "", "video", tmp_path, entries), frames


def test_joined_clips_are_their_central_squares_and_pauses_hold_a_frame(clips):
    videos, decoded = clips
    stream = join_clips(videos, CFG, seed=1, size=48)
    previous = None
    for label, part in parts(stream):
        if label == NO_CLASS:
            assert (part == part[:1]).all()
            assert previous is None or torch.equal(part[0], previous)
        else:
            assert torch.equal(part, decoded[label][:, :, 8:56])
        previous = part[-1]
    assert torch.equal(stream.frames[0], stream.frames[stream.truth.starts[0]])
    assert sorted(action.label for action in stream.truth.actions) == [0, 1, 2]
    assert stream.truth.class_names[0].startswith("Holding something")


def test_grey_pauses_show_nothing(clips):
    stream = join_clips(clips[0], CFG, actions=2, size=48, grey=True, fps=30)
    pauses = [part for label, part in parts(stream) if label == NO_CLASS]
    assert len(pauses) == 3 and all(len(part.unique()) == 1 for part in pauses)
    assert len(stream.truth.actions) == 2 and stream.truth.fps == 30


@pytest.mark.parametrize("actions", [0, 4])
def test_no_more_clips_than_the_list_has(clips, actions):
    with pytest.raises(DataError, match=f"list.txt lists 3 clips, not actions={actions}"):
        join_clips(clips[0], CFG, actions=actions)


def test_a_clip_that_cannot_be_read_is_named(clips):
    (clips[0].prefix / "1.mp4").write_bytes(b"")
    with pytest.raises(VideoError, match=re.escape("1.mp4: the file is empty")):
        join_clips(clips[0], CFG)


def test_real_clips_of_a_list_are_joined(shared):
    root = shared / "data" / "overhead_actions"
    layout, entries = read_list(root / "val_order3.txt", "video", 3)
    videos = VideoList(root / "val_order3.txt", "", layout, root / "videos", entries)
    names = ("sitdown", "standup", "getdown")
    cfg = dataclasses.replace(CFG, num_classes=3, class_names=names, flip_label_map=None)
    frames, truth = join_clips(videos, cfg, seed=2, actions=2, size=48, fps=24)
    listed = {(entry.num_frames, entry.label) for entry in entries}
    assert {(end - start, label) for start, end, label in truth.actions} <= listed
    assert (
        frames.shape == (truth.num_frames, 48, 48, 3) and len(frames[truth.starts[1]].unique()) > 9
    )


# --- written --------------------------------------------------------------------------------------


def test_a_written_stream_is_read_with_its_truth(tmp_path):
    stream = draw_standin_stream(CFG, 5, actions=2)
    table = write_stream(tmp_path / "new" / "stream.mp4", stream)
    video = VideoFile(tmp_path / "new" / "stream.mp4")
    frames = video.frames(list(range(video.num_frames)))
    assert frames.shape == stream.frames.shape
    assert (frames.float() - stream.frames.float()).abs().mean() < 6
    names, rows = stream.truth.class_names, pd.read_csv(table)
    actions = rows[["start_frame", "end_frame", "label"]].itertuples(index=False, name=None)
    assert tuple(actions) == stream.truth.actions
    assert rows["class_name"].tolist() == [names[action.label] for action in stream.truth.actions]


def test_odd_sizes_are_refused_and_folders_that_cannot_be(tmp_path):
    stream = draw_standin_stream(CFG, 0, actions=1, size=33)
    with pytest.raises(DataError, match="even height and width, not 33x33"):
        write_stream(tmp_path / "stream.mp4", stream)
    (tmp_path / "file").write_text("")
    stream = draw_standin_stream(CFG, 0, actions=1, size=32)
    with pytest.raises(DataError, match="cannot be written"):
        write_stream(tmp_path / "file" / "stream.mp4", stream)


def test_every_stand_in_has_streams():
    for name, dataset in DATASETS.items():
        if dataset.standin:
            stream = draw_standin_stream(
                dataclasses.replace(CFG, dataset=name), 0, actions=2, size=16
            )
            assert stream.truth.class_names == standin_names(name)
