"""Full scale without a data set: one row of each kind, on a few stand-in clips of full size."""

import math

import pytest
from helpers import resize_standins

from tsmlib import get_config
from tsmlib.data.standin import scenes
from tsmlib.engine.evaluate import evaluate
from tsmlib.engine.train import train

# the others differ in fields that the mini scale leaves as they are, or in depth
KINDS = {"k400_nl_embedded_gaussian": 224, "k400_mobilenetv2_dense": 224}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache with 2 training clips and 2 or 1 of validation, at the sizes of real ones."""
    patch = pytest.MonkeyPatch()
    resize_standins(patch, {"k400": (1, 1)})
    patch.setattr(scenes, "SIZES", ((256, 340),))
    yield tmp_path_factory.mktemp("full")
    patch.undo()


@pytest.mark.parametrize("name", KINDS)
def test_a_step_and_an_evaluation(name, cache, tmp_path):
    small = {"epochs": 1, "batch_size": 2, "videos_per_device": 2, "num_segments": 2}
    cfg = get_config(name, pretrain="none", **small)
    options = {"data": "standin", "scale": "full", "cache": cache, "workers": 0}
    record = train(cfg, work_dir=tmp_path / "run", validate=False, **options)
    assert record["scale"] == "full" and record["num_training_videos"] == 2
    assert record["views"]["size"] == KINDS[name]
    assert math.isfinite(record["top1"])
    if name == "k400_mobilenetv2_dense":
        tested = evaluate(cfg, tmp_path / "run" / "last.pth", work_dir=tmp_path, **options)
        assert tested["views"] == {"clips": 10, "crops": 3, "size": 256}
