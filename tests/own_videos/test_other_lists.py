"""Weights that were trained with one list are evaluated on another one, by class name."""

from pathlib import Path

import pytest
from helpers import save_run, sliding

from tsmlib import DataError, build_model, evaluate, get_config, train
from tsmlib.configs import load_config
from tsmlib.data.prepare.check import check_data
from tsmlib.data.video import write_video
from tsmlib.models.checkpoint_files import CheckpointError
from tsmlib.own_videos.predict import predict
from tsmlib.reference import published_beside
from tsmlib.report import notebook_answers, tables
from tsmlib.report.sample_clips import right_and_wrong
from tsmlib.results import read_scores
from tsmlib.study.publish import describe_run

TINY = """base: sthv1
num_classes: 3
backbone: resnet18
width: 0.125
depth: [1, 1, 1, 1]
num_segments: 4
short_side: 32
crop_size: 32
val_crop_size: 32
test_crop_size: 32
pretrain: none
"""


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Data to train on, and a test set with a list of its own; neither is ready to be trained."""
    for name, names in (("push", "[down, still, up]"), ("held", "[up, down, still]")):
        folder = tmp_path / name
        folder.mkdir()
        for i in range(4):
            write_video(folder / f"{name}{i}.mp4", sliding(8 + i, i))
        (folder / "val.txt").write_text("".join(f"{name}{i}.mp4 {i % 3}\n" for i in range(4)))
        text = f"{TINY}val_list: val.txt\nclass_names: {names}\n"
        (folder / f"{name}.yaml").write_text(text)
    return tmp_path / "push/push.yaml", tmp_path / "held/held.yaml"


@pytest.fixture
def weights(folders, tmp_path) -> Path:
    cfg = get_config(str(folders[0]))
    return save_run(tmp_path / "last.pth", cfg, build_model(cfg).eval())


def test_another_list_of_the_same_classes(folders, weights, tmp_path):
    options = {"workers": 0, "work_dir": tmp_path / "run"}
    record = evaluate(get_config(str(folders[1])), weights, **options)
    assert (record["cfg"], record["num_videos"]) == ("held", 4)
    assert record["class_names"] == ["up", "down", "still"]
    cfg = load_config(tmp_path / "run/config.json")
    assert (cfg.name, cfg.published, cfg.dataset) == ("held", "", "custom")
    # answers are read by class name
    _, labels, scores = read_scores(tmp_path / "run/scores.json")
    paths = [folders[1].parent / f"held{i}.mp4" for i in range(4)]
    table = predict(paths, weights, top=3, workers=0)
    for i, path in enumerate(paths):
        found = table[table["path"] == str(path)].set_index("name")["probability"]
        assert found[list(cfg.class_names)].to_numpy() == pytest.approx(scores[i], abs=1e-5)
    # what the notebook shows beside it needs no training list, and nothing is published of it
    clips, titles = right_and_wrong(get_config(str(folders[1])), record, labels, scores)
    assert len(clips) == len(titles) > 0
    published = published_beside(record, cfg)
    answer = " ".join(notebook_answers.accuracy(record, scores, labels, published))
    shown = tables.accuracy_table({"held": record}, published)
    said = " ".join([answer, *shown, *describe_run(tmp_path / "run")])
    assert "publish" not in said.lower().replace("protocol published", "")


def test_classes_that_are_others(folders, weights):
    text = folders[1].read_text()

    def fails(names: str, message: str):
        folders[1].write_text(text.replace("class_names: [up, down, still]", names))
        for call in (lambda cfg: evaluate(cfg, weights, workers=0),
                     lambda cfg: predict(folders[1].parent, weights, cfg, workers=0)):  # fmt: skip
            with pytest.raises(CheckpointError, match=message):
                call(get_config(str(folders[1])))

    fails(
        "class_names: [up, down, left]", "is a checkpoint of push, whose .*: only held has 'left'"
    )
    fails("", "is a checkpoint of push, and held names no classes .*; set class_names")
    fails("class_names: [up, down, still]\nis_shift: false", "trained with is_shift=True, not")


def test_a_row_has_weights_of_its_own(weights):
    with pytest.raises(CheckpointError, match="is a checkpoint of push, not of sthv1"):
        evaluate("sthv1", weights, workers=0)


def test_a_test_list_alone_is_checked_and_not_trained_on(folders):
    cfg = get_config(str(folders[1]))
    report = check_data(cfg, folders[1].parent, workers=0)
    assert report.ready and not report.problems["problem"].str.startswith("list").any()
    with pytest.raises(DataError, match="held names no train_list; add this line to its YAML file"):
        train(cfg, workers=0)
