"""The split of a folder: by class and seed, whole groups on one side, and folds."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from tsmlib import ConfigError, DataError, get_config
from tsmlib.data.prepare.folder_checks import Clip
from tsmlib.data.prepare.folder_split import assign_groups, fold_clips, name_group, split_clips


def clips_of(people: int, *classes: str, each: int = 2, split: str | None = None) -> list[Clip]:
    """Return `each` clips of every person in every class."""
    return [
        Clip(f"{name}/person{person:02}_{i}.mp4", name, split, 9, 9)
        for name in classes
        for person in range(people)
        for i in range(each)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_groups_go_where_scikit_learn_puts_them(seed):
    random = np.random.default_rng(seed)
    groups = random.integers(0, 30, 300)
    labels = (groups + random.integers(0, 3, 300)) % 5  # groups differ in their classes
    folds = assign_groups(labels.tolist(), groups.tolist(), 4)
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups.tolist()))}
    peers = StratifiedGroupKFold(4).split(labels, labels, [numbers[g] for g in groups])
    for fold, (_, tested) in enumerate(peers):
        assert np.flatnonzero(folds == fold).tolist() == tested.tolist()


@pytest.mark.parametrize("group", [None, r"person\d+"])
def test_every_video_is_tested_once_and_every_class_in_every_fold(group):
    clips = clips_of(7, "run", "walk", each=3)
    folds = fold_clips(clips, 3, 1, group)
    assert sorted(c for fold in folds for c in fold["val"]) == sorted(clips)
    for fold in folds:
        assert sorted(fold["train"] + fold["val"]) == sorted(clips)
        assert {clip.label for clip in fold["val"]} == {"run", "walk"}
        if group:
            sides = [{name_group(c.path, group) for c in fold[side]} for side in ("train", "val")]
            assert not sides[0] & sides[1]
    assert folds == fold_clips(clips[::-1], 3, 1, group)
    assert folds != fold_clips(clips, 3, 2, group)


@pytest.mark.parametrize(("people", "tested"), [(8, 2), (2, 1)])
def test_a_group_is_on_one_side(people, tested):
    split = split_clips(clips_of(people, "run", "walk"), group=r"person\d+")
    sides = [{name_group(c.path, r"person\d+") for c in split[side]} for side in ("train", "val")]
    assert len(sides[1]) == tested and not sides[0] & sides[1]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [(r"person\d+", "person07"), (r"(\d+)_(\d)", "07/1"), ("^[^/]+/(.*)_", "person07")],
)
def test_a_group_is_named_by_the_brackets_of_its_pattern(pattern, name):
    assert name_group("run/person07_1.mp4", pattern) == name


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        (lambda c: split_clips(c, group="camera"), "group='camera' matches nothing in run/person"),
        (lambda c: split_clips(c, group="^[^/]+"), "the class run are of one of the groups"),
        (lambda c: fold_clips(c, 5, group=r"person\d+"), "folds=5 must be .* number of groups"),
        (lambda c: fold_clips(c, 99), "folds=99 must be at least 2 and at most .* videos, 16"),
        (lambda c: fold_clips(c, 1), "folds=1 must be at least 2"),
        (lambda c: fold_clips([*c, Clip("a.mp4", "swim", None)], 2), "swim has a single video"),
        (lambda c: fold_clips(clips_of(2, "run", split="val") + c, 2), "leave out folds=2"),
        (lambda c: split_clips([x._replace(split=("val", "train")["_0" in x.path]) for x in c],
                               group=r"person\d+"), "are of one group .* move one of them"),
    ],
)  # fmt: skip
def test_what_cannot_be_split(split, sentence):
    with pytest.raises(DataError, match=sentence):
        split(clips_of(4, "run", "walk"))


def test_a_group_is_a_regular_expression():
    with pytest.raises(ConfigError, match=r"group='\(' is not a regular expression"):
        get_config("few_clips", group="(")
