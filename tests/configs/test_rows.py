"""Every row runs: built, stepped and evaluated at mini scale on a few clips of its stand-in."""

import math

import pytest
from helpers import resize_standins

from tsmlib import get_config, list_configs
from tsmlib.configs import DATASETS, reversed_labels, standin_names
from tsmlib.engine.evaluate import evaluate
from tsmlib.engine.setup import prepare, resolve
from tsmlib.engine.train import train
from tsmlib.study.parents import ensure_trained, train_parent

OWN = ("few_clips", "sthv1_online_r18", "jester_online_mobilenetv2")  # some of the rows of ours
STANDINS = [name for name, dataset in DATASETS.items() if dataset.standin]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A few clips of each data set, and results that no other test sees."""
    patch = pytest.MonkeyPatch()
    resize_standins(patch, dict.fromkeys(STANDINS, (8, 8)))
    patch.setenv("TSM_RESULTS", str(tmp_path_factory.mktemp("results")))
    yield tmp_path_factory.mktemp("cache")
    patch.undo()


@pytest.mark.parametrize("name", [*list_configs(), *OWN])
def test_row_is_stepped_and_evaluated(name, cache):
    cfg = get_config(name, epochs=1)
    options = {"data": "standin", "cache": cache, "workers": 0}
    if cfg.port_of:
        record = evaluate(cfg, ensure_trained(cfg, **options), **options)
        assert record["checkpoint_layout"] == "mit"
    else:
        train_parent(cfg, **options)
        record = train(cfg, **options)
        assert record["scale"] == "mini" and record["processes"] == 1
        assert (record["pretrained"] is not None) == (cfg.dataset in ("hmdb51", "ucf101"))
    assert math.isfinite(record["top1"]) and record["num_videos"] == record["num_listed"] >= 8
    assert record["cfg"] == name and record["num_bad"] == 0


@pytest.mark.parametrize("name", ["sthv1", "sthv2", "jester", "diving48", "hmdb51", "ucf101"])
def test_stand_ins_keep_to_the_layout_of_their_row(name, cache):
    setup = prepare(resolve(name, data="standin", cache=cache), workers=0)
    videos = setup.val_list
    assert videos.layout == get_config(name).layout
    assert videos.file == setup.data_root / get_config(name).val_list
    assert videos.prefix == setup.data_root / get_config(name).val_prefix
    assert set(setup.cfg.class_names) == set(standin_names(name))


@pytest.mark.parametrize("dataset", STANDINS)
def test_classes_are_named_after_real_ones(dataset):
    classes = DATASETS[dataset].standin
    names = [name for turn in range(classes.turns) for name in classes.get_turn(turn)[1]]
    assert sorted(names) == sorted(standin_names(dataset))  # all are in the published list
    assert len(set(names)) == len(names)
    for label in range(len(names)):
        back = reversed_labels(dataset)[label]
        assert back == -1 or reversed_labels(dataset)[back] == label != back
