"""Training: the published step, the same run twice, and a run that was interrupted."""

import copy
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import yaml
from helpers import read_only

from tsmlib import metrics
from tsmlib.configs import get_config, mini, standin_config
from tsmlib.data.annotations import DataError
from tsmlib.data.loader import ClipDataset, make_loader
from tsmlib.data.standin.generate import prepare_standin
from tsmlib.engine import checkpointing as saving
from tsmlib.engine import train as engine
from tsmlib.engine.evaluate import evaluate
from tsmlib.engine.interruption import Interrupted
from tsmlib.engine.optimizer import lr_factor
from tsmlib.engine.setup import prepare, resolve
from tsmlib.engine.train import train
from tsmlib.metrics import top_k_accuracy
from tsmlib.models.checkpoint_files import CheckpointError
from tsmlib.models.recognizer import build_model, normalize
from tsmlib.results import ResultsError, read_predictions, read_scores


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A YAML file for 24 training and 12 validation clips of the stand-in."""
    row = standin_config(get_config("sthv1"))
    root = prepare_standin(row, workers=2)
    folder = tmp_path_factory.mktemp("tiny")
    for split, count in (("train", 24), ("val", 12)):
        lines = (root / getattr(row, f"{split}_list")).read_text().splitlines()
        (folder / f"{split}.txt").write_text("\n".join(lines[:count]) + "\n")
    fields = {
        "base": "sthv1", "data_root": str(root / "sthv1"), "num_classes": 10, "epochs": 2,
        "train_list": str(folder / "train.txt"), "val_list": str(folder / "val.txt"),
    }  # fmt: skip
    (folder / "tiny.yaml").write_text(yaml.safe_dump(fields))
    return str(folder / "tiny.yaml")


def run(tiny, folder, workers=0, save_seconds=600.0, **changes):
    """Train at mini scale; `save_seconds=0` saves after every step."""
    cfg, where = get_config(tiny, **changes), {"work_dir": folder, "workers": workers}
    return train(cfg, scale="mini", save_seconds=save_seconds, **where)


def weights(folder):
    return torch.load(folder / "last.pth", weights_only=True)["model"]


def same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def compared(record):
    """What must not differ between two equal runs: everything but times and places."""
    ignored = ("date", "run_dir", "training_seconds", "evaluation_seconds")
    return {k: v for k, v in record.items() if k not in ignored}


def test_the_same_seed_gives_the_same_run_with_any_number_of_workers(tiny, tmp_path):
    first = run(tiny, tmp_path / "a", workers=0)
    second = run(tiny, tmp_path / "b", workers=2)
    assert compared(first) == compared(second)
    same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    histories = [pd.read_csv(tmp_path / n / "history.csv").drop(columns="seconds") for n in "ab"]
    pd.testing.assert_frame_equal(*histories)
    other = train(get_config(tiny), scale="mini", work_dir=tmp_path / "c", workers=0, seed=1)
    a, c = weights(tmp_path / "a"), weights(tmp_path / "c")
    assert any(not torch.equal(a[k], c[k]) for k in a)
    assert other["seed"] == 1


@pytest.mark.parametrize("after", [2, 4])
def test_an_interrupted_run_continues_exactly(tiny, tmp_path, monkeypatch, after):
    whole = run(tiny, tmp_path / "whole", batch_size=4, videos_per_device=4)
    original, calls = saving.Saver.save, []

    def interrupted(self, state):
        original(self, state)
        calls.append(state.step)
        if len(calls) == after:  # in the middle of the first epoch
            raise KeyboardInterrupt

    monkeypatch.setattr(saving.Saver, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, tmp_path / "broken", save_seconds=0, batch_size=4, videos_per_device=4)
    assert calls[-1] == after
    monkeypatch.setattr(saving.Saver, "save", original)
    continued = run(tiny, tmp_path / "broken", workers=2, batch_size=4, videos_per_device=4)
    assert compared(continued) == compared(whole)
    same(weights(tmp_path / "broken"), weights(tmp_path / "whole"))


def test_a_signal_waits_for_the_step_and_loses_no_more_than_a_validation(
    tiny, tmp_path, monkeypatch
):
    changes = {"batch_size": 4, "videos_per_device": 4, "epochs": 1}
    whole = run(tiny, tmp_path / "whole", **changes)
    due, predict = saving.Saver.is_due, engine.predict_scores

    def signalled(saver):
        os.kill(os.getpid(), signal.SIGUSR1)
        return due(saver)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="after 1 batches of e"):
        patch.setattr(saving.Saver, "is_due", signalled)
        run(tiny, tmp_path / "stopped", **changes)

    def stopped(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return predict(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="SIGTERM during an eval"):
        patch.setattr(engine, "predict_scores", stopped)
        run(tiny, tmp_path / "stopped", **changes)
    content = torch.load(tmp_path / "stopped" / "last.pth", weights_only=True)
    assert (content["state"]["epoch"], content["state"]["step"]) == (0, 6)
    assert compared(run(tiny, tmp_path / "stopped", **changes)) == compared(whole)
    same(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))


def test_gradient_checkpointing_changes_nothing(tiny, tmp_path):
    options = {"scale": "mini", "workers": 0}
    first = train(get_config(tiny), work_dir=tmp_path / "a", **options)
    second = train(get_config(tiny), work_dir=tmp_path / "b", recompute=True, **options)
    assert compared(first) == compared(second)
    same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_a_compiled_run_has_the_same_names_and_nearly_the_same_weights(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    cfg, options = get_config(tiny, epochs=1), {"scale": "mini", "workers": 0}
    first = train(cfg, work_dir=tmp_path / "a", **options)
    second = train(cfg, work_dir=tmp_path / "b", compiled=True, **options)
    assert (first["compiled"], second["compiled"]) == (False, True)
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-3)


def test_a_finished_run_is_shown_and_a_record_without_weights_is_not(tiny, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    first = run(tiny, folder, epochs=1)
    monkeypatch.setattr(engine, "train_epoch", lambda *a: pytest.fail("it trained again"))
    assert run(tiny, folder, epochs=1) == first
    monkeypatch.undo()
    (folder / "last.pth").unlink()
    again = run(tiny, folder, epochs=1)
    assert (folder / "last.pth").is_file() and again["top1"] == first["top1"]


def test_a_finished_run_that_cannot_be_written_is_shown(tiny, tmp_path, monkeypatch):
    first = run(tiny, tmp_path / "run", epochs=1)
    read_only(monkeypatch)
    assert run(tiny, tmp_path / "run", epochs=1) == first
    (tmp_path / "run/metrics.json").unlink()  # not finished
    with pytest.raises(ResultsError, match="run cannot be written: Read-only file system"):
        run(tiny, tmp_path / "run", epochs=1)


def test_two_that_want_the_same_run_take_turns(tiny, tmp_path, caplog):
    with caplog.at_level("INFO"), ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: run(tiny, tmp_path), range(2))
    assert first["training_seconds"] == second["training_seconds"] > 0
    assert "another process is at work in" in caplog.text and "is finished" in caplog.text


def test_a_checkpoint_of_another_run_is_refused(tiny, tmp_path):
    run(tiny, tmp_path, epochs=1)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        run(tiny, tmp_path, epochs=1, lr=0.5)
    with pytest.raises(CheckpointError, match="is a checkpoint of tiny, not of sthv1"):
        evaluate(get_config("sthv1"), tmp_path / "last.pth", data="standin")


def test_two_steps_equal_a_plain_loop(tiny, tmp_path):
    """Accumulation over batches of the row's videos per device, then one clip, then one step."""
    changes = {"epochs": 1, "batch_size": 12, "videos_per_device": 4, "dropout": 0.0,
               "clip_grad": 0.5, "fc_lr5": True, "schedule": "step"}  # fmt: skip
    setup = prepare(resolve(get_config(tiny, **changes), scale="mini"))
    cfg = setup.cfg
    torch.manual_seed(0)
    model = build_model(cfg)
    start = copy.deepcopy(model.state_dict())
    videos = ClipDataset(setup.train_list, cfg, seed=0)
    loader = make_loader(videos, 12, 0, shuffle=True)  # the videos of each step at once

    momentum = {}
    model.train()
    for batch in loader:
        total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        for part in range(0, 12, 4):
            clips = normalize(batch.clips[part : part + 4, 0].movedim(-1, -3))
            loss = F.cross_entropy(model(clips), batch.labels[part : part + 4], reduction="sum")
            grads = torch.autograd.grad(loss / 12, list(model.parameters()))
            for name, grad in zip(total, grads, strict=True):
                total[name] += grad
        norm = torch.sqrt(sum((g**2).sum() for g in total.values()))
        with torch.no_grad():
            for name, p in model.named_parameters():
                lr, decay = cfg.lr, cfg.weight_decay
                if name == "fc.weight":
                    lr = 5 * lr
                elif name == "fc.bias":
                    lr, decay = 10 * lr, 0
                elif p.ndim == 1:
                    decay = 0
                g = total[name] * min(1, cfg.clip_grad / float(norm)) + decay * p
                momentum[name] = cfg.momentum * momentum.get(name, 0) + g
                p -= lr * momentum[name]
    assert len(loader) == 2 and float(norm) > cfg.clip_grad

    trained = build_model(cfg)
    trained.load_state_dict(start)
    (tmp_path / "start.pth").write_bytes(b"")
    torch.save(start, tmp_path / "start.pth")
    run(tiny, tmp_path / "run", **changes, pretrain=str(tmp_path / "start.pth"))
    for name, value in weights(tmp_path / "run").items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_schedules():
    step = get_config("sthv1")
    rates = [lr_factor(step, epoch + 0.99) for epoch in (0, 19, 20, 39, 40, 49)]
    np.testing.assert_allclose(rates, [1, 1, 0.1, 0.1, 0.01, 0.01])
    cosine = get_config("sthv1", schedule="cosine")
    np.testing.assert_allclose([lr_factor(cosine, e) for e in (0, 25, 50)], [1, 0.5, 0], atol=1e-12)


def test_everything_can_be_recomputed_from_the_scores(tiny, tmp_path):
    record = run(tiny, tmp_path / "run", epochs=1)
    cfg = get_config(tiny)
    for protocol, count in (("published", 6), ("validation", 1)):
        tested = evaluate(cfg, tmp_path / "run" / "last.pth", protocol, scale="mini", workers=0,
                          work_dir=tmp_path / protocol, out=tmp_path / "scores.json")  # fmt: skip
        assert tested["views"]["clips"] * tested["views"]["crops"] == count
        paths, labels, scores = read_scores(tmp_path / "scores.json")
        assert len(set(paths)) == 12 and scores.shape == (12, 10)
        np.testing.assert_allclose(scores.sum(1), 1, atol=1e-4)
        assert top_k_accuracy(scores, labels) == pytest.approx(tested["top1"], abs=1e-3)
    assert tested["top1"] == record["top1"]  # what training measured last


def test_views_are_averaged_as_probabilities(tiny, tmp_path):
    """The accurate protocol against a loop over single views."""
    run(tiny, tmp_path / "run", epochs=1)
    with pytest.raises(ResultsError, match="is the folder of a training, whose metrics.json a"):
        evaluate(get_config(tiny), tmp_path / "run" / "last.pth", scale="mini", workers=0,
                 work_dir=tmp_path / "run")  # fmt: skip
    tested = evaluate(get_config(tiny), tmp_path / "run" / "last.pth", scale="mini", workers=0,
                      work_dir=tmp_path / "eval")  # fmt: skip
    setup = prepare(resolve(get_config(tiny), scale="mini"))
    model = build_model(setup.cfg).eval()
    model.load_state_dict(weights(tmp_path / "run"))
    videos = ClipDataset(setup.val_list, setup.cfg, "published")
    _, _, scores = read_scores(tmp_path / "eval" / "scores.json")
    with torch.inference_mode():
        for i in (0, 5):
            views = normalize(videos[0, i][2].movedim(-1, -3))
            mean = torch.stack([model(view[None])[0].softmax(0) for view in views]).mean(0)
            np.testing.assert_allclose(scores[i], mean, atol=1e-4)
    assert tested["views"] == {"clips": 2, "crops": 3, "size": 64}


def test_a_few_unreadable_videos_are_counted_and_many_end_the_run(tiny, tmp_path):
    fields = yaml.safe_load(Path(tiny).read_text())
    lines = Path(fields["train_list"]).read_text()
    (tmp_path / "train.txt").write_text(lines + "999999 20 3\n")
    fields["train_list"] = str(tmp_path / "train.txt")
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(fields))
    cfg = get_config(tmp_path / "bad.yaml", epochs=1)
    record = train(cfg, scale="mini", workers=0, max_bad=0.05, work_dir=tmp_path / "a")
    assert record["num_bad_training"] == 1 and record["num_training_videos"] == 25
    with pytest.raises(DataError, match=r"1 of 25 videos cannot be read.*999999"):
        train(cfg, scale="mini", workers=0, work_dir=tmp_path / "b")


def test_the_record_says_what_was_run(tiny, tmp_path):
    record = run(tiny, tmp_path, epochs=1)
    saved = json.loads((tmp_path / "metrics.json").read_text())
    assert saved == {k: v for k, v in record.items() if k != "run_dir"}
    wanted = ("cfg data scale seed protocol views top1 top5 mean_class_accuracy num_videos device "
              "commit precision versions config_hash val_list_sha256 top1_se")  # fmt: skip
    assert not set(wanted.split()) - saved.keys()
    assert (saved["cfg"], saved["data"], saved["scale"]) == ("tiny", "real", "mini")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["dataset"] == "custom" and config["num_segments"] == 8
    assert mini(get_config(tiny)).width == config["width"]


def test_other_lists_or_another_precision_are_another_run(tiny, tmp_path):
    fields = yaml.safe_load(Path(tiny).read_text())
    lines = Path(fields["val_list"]).read_text().splitlines()
    fields["val_list"] = str(tmp_path / "val.txt")
    (tmp_path / "lists.yaml").write_text(yaml.safe_dump({**fields, "epochs": 1}))
    names = set()
    for count, precision in ((12, "32-true"), (6, "32-true"), (6, "bf16-mixed")):
        (tmp_path / "val.txt").write_text("\n".join(lines[:count]) + "\n")
        record = train(get_config(tmp_path / "lists.yaml"), scale="mini", workers=0,
                       precision=precision)  # fmt: skip
        assert (record["num_videos"], record["precision"]) == (count, precision)
        names.add(record["run_dir"])
    assert len(names) == 3


def test_evaluation_follows_the_checkpoint_in_the_model_and_the_caller_in_the_rest(tiny, tmp_path):
    run(tiny, tmp_path / "run", epochs=1, short_side=48, val_crop_size=48, test_crop_size=48)
    weights_file = tmp_path / "run" / "last.pth"
    changes = {"test_crops": 1, "twice_sample": False, "average_clips": "score"}
    tested = evaluate(get_config(tiny, **changes), weights_file, workers=0, work_dir=tmp_path / "e")
    assert tested["views"] == {"clips": 1, "crops": 1, "size": 48}
    assert tested["scale"] == "mini" and tested["checkpoint_of"].startswith("real-mini-seed0-")
    with pytest.raises(CheckpointError, match="trained with shift_div=8, not shift_div=4"):
        evaluate(get_config(tiny, shift_div=4), weights_file, workers=0)
    with pytest.raises(CheckpointError, match="trained at mini scale, not full"):
        evaluate(get_config(tiny), weights_file, scale="full", workers=0)
    cfg = get_config(tiny, short_side=48, val_crop_size=48, test_crop_size=48, **changes)
    plain = weights(tmp_path / "run")
    facts = {"run": 1, "seed": "x", "state": "best", "scale": 0.5, "trained_on": None}
    for content in (plain, facts | {"state_dict": plain, "config": "tsm_r50.py"},
                    facts | {"model": plain, "config": {"lr": 0.1}}):  # fmt: skip
        torch.save(content, tmp_path / "plain.pth")
        found = evaluate(cfg, tmp_path / "plain.pth", scale="mini", workers=0)
        assert found["seed"] is None and found["top1"] == tested["top1"]


def test_starting_over_leaves_no_old_record_beside_new_weights(tiny, tmp_path, monkeypatch):
    run(tiny, tmp_path, epochs=1)
    monkeypatch.setattr(engine, "train_epoch", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(get_config(tiny, epochs=1), scale="mini", work_dir=tmp_path, workers=0, fresh=True)
    assert not (tmp_path / "metrics.json").exists()


def test_batch_size_takes_the_learning_rate_with_it():
    row = get_config("sthv1")
    assert get_config("sthv1", batch_size=32).lr == pytest.approx(row.lr / 2)
    assert get_config("sthv1", batch_size=32, lr=0.3).lr == 0.3
    per_video = mini(row).lr / mini(row).batch_size
    small = mini(get_config("sthv1", batch_size=32))
    assert small.batch_size == 32 and small.lr / 32 == pytest.approx(per_video)


def test_accuracies_are_of_the_scores_that_are_kept(tmp_path, monkeypatch):
    """Two classes that differ by less than what is written: the record must not know better."""
    close = torch.full((10,), 0.05)
    close[3], close[7] = 0.2000001, 0.2000002
    monkeypatch.setattr(
        metrics, "average_views", lambda logits, kind: close.expand(len(logits), 10)
    )
    cfg = get_config("jester", standin_clips=(12, 40), epochs=1, eval_interval=1)
    record = train(cfg, cache=tmp_path / "cache", work_dir=tmp_path / "run", workers=0)
    labels, predicted = read_predictions(tmp_path / "run")
    assert set(predicted) == {3}
    assert record["top1"] == pytest.approx(100 * (labels == predicted).mean(), abs=1e-4) != 0
