"""Records against their scores, and what a re-evaluation may claim."""

import json
import shutil

import numpy as np
import pytest
import torch

from tsmlib import DataError, ResultsError, build_model, evaluate, get_config, reference
from tsmlib.configs import class_names, mini, output_names, replace, standin_config, to_dict
from tsmlib.data.prepare.write_lists import write_lists
from tsmlib.data.video import encode_frames, write_frames
from tsmlib.metrics import (
    mean_class_accuracy,
    standard_error,
    top_k_accuracy,
    within_pair_accuracy,
)
from tsmlib.models.state_dict_layouts import to_layout
from tsmlib.paths import file_sha256
from tsmlib.results import read_scores, write_record, write_scores
from tsmlib.study.publish import publish
from tsmlib.study.reproduce import judge_record, reproduce, verify, verify_all

NUMBERS = np.random.default_rng(0)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run on a stand-in whose record follows from its scores."""
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    cfg = mini(standin_config(get_config("sthv1")))
    labels = np.arange(40) % 10
    scores = NUMBERS.random((40, 10)) + 0.4 * np.eye(10)[labels]
    pairs = np.array([[i for i, n in enumerate(cfg.class_names) if n == other][0]
                      for other in partners(cfg.class_names)])  # fmt: skip
    outcome = {"paths": [str(i) for i in range(40)], "labels": labels, "scores": scores}
    top1 = top_k_accuracy(scores, labels, 1)
    record = {
        "cfg": "sthv1", "kind": "evaluation", "data": "standin", "scale": "mini", "seed": 0,
        "protocol": "efficient", "num_videos": 40, "num_listed": 40, "config_hash": cfg.hash,
        "top1": top1, "top1_se": standard_error(top1, 40),
        "top5": top_k_accuracy(scores, labels, 5),
        "mean_class_accuracy": mean_class_accuracy(scores, labels),
        "within_pair": within_pair_accuracy(scores, labels, pairs), "device": "CPU",
        "commit": "0" * 12,
    }  # fmt: skip
    folder = tmp_path / "local" / "sthv1" / "run"
    write_scores(folder / "scores.json", outcome)
    write_record(folder, cfg, record, [])
    return folder


def partners(names):
    """The class of the same clips played backwards, spelled out."""
    opposite = {"left to right": "right to left", "right to left": "left to right",
                "Pushing": "Pulling", "Pulling": "Pushing", " up": " down", " down": " up",
                "towards": "away from", "away from": "towards", "camera left": "camera right",
                "camera right": "camera left"}  # fmt: skip
    found = []
    for name in names:
        other, used = name, []
        for a, b in opposite.items():
            if a in other and b not in used:
                other, used = other.replace(a, b), [*used, a]
        found.append(other)
    return found


def change(folder, **fields):
    record = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**record, **fields}))


def test_a_record_that_follows_from_its_scores(run):
    assert verify(run) == []
    assert verify_all() == (["1 record recomputed from scores, 0 wrong"], 0)
    published = publish(run)  # scores go along, packed
    assert verify(published) == []


def test_a_large_run_is_verified_by_its_predictions(run):
    published = publish(run, max_scores=0)
    assert not list(published.glob("scores*")) and verify(published) == []
    publish(run)
    assert [file.name for file in published.glob("*.gz")] == ["scores.json.gz"]  # one of them alone
    publish(run, max_scores=0)
    assert [file.name for file in published.glob("*.gz")] == ["predictions.csv.gz"]
    change(published, top1=json.loads((run / "metrics.json").read_text())["top1"] + 0.5)
    assert [line.split(" is ")[0] for line in verify(published)] == ["top1"]
    (published / "predictions.csv.gz").unlink()
    with pytest.raises(ResultsError, match="no scores"):
        verify(published)


@pytest.mark.parametrize("name", ["top1", "top1_se", "top5", "mean_class_accuracy", "within_pair"])
def test_an_embellished_number_is_found(run, name):
    change(run, **{name: json.loads((run / "metrics.json").read_text())[name] + 0.1})
    assert len(verify(run)) == 1 and verify(run)[0].startswith(f"{name} is ")
    lines, failed = verify_all()
    assert failed == 1 and f"{name} is" in lines[0]


def test_a_score_that_changes_no_number_is_found(run):
    rows = json.loads((run / "scores.json").read_text())
    change(run, scores_sha256=file_sha256(run / "scores.json"))
    assert verify(run) == []
    rows[0]["scores"][0] += 1e-4
    (run / "scores.json").write_text(json.dumps(rows))
    assert [line.partition(":")[0] for line in verify(run)] == [
        "scores.json is not what the evaluation wrote"
    ]


def test_a_verdict_that_does_not_follow_is_found(run):
    change(run, verdict="re-evaluated", published_videos=40, checkpoint_sha256="0" * 64)
    assert [line.partition(",")[0] for line in verify(run)] == ["verdict is 're-evaluated'"]


DAMAGE = {
    "cut off": ("scores.json", lambda text: text[: len(text) // 2], "is damaged"),
    "no list": ("scores.json", lambda text: "{}", "is damaged"),
    "of other classes": (
        "scores.json", lambda text: text.replace('"scores": [', '"scores": [0.5, '), "top1 is ",
    ),
    "no numbers": ("metrics.json", lambda text: text.replace('"top1": ', '"top1": "", "x": '),
                   "top1 is , its scores say"),
    "no data": ("metrics.json", lambda text: text.replace('"data"', '"d"'), "is damaged"),
    "not JSON": ("metrics.json", lambda text: text[:-9], "is damaged"),
    "no configuration": ("config.json", lambda text: "", "is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_records_are_wrong_and_do_not_hide_others(run, what):
    other = run.with_name("run2")
    shutil.copytree(run, other)
    name, damaged, sentence = DAMAGE[what]
    (run / name).write_text(damaged((run / name).read_text()))
    lines, failed = verify_all()
    assert failed == 1 and any(sentence in line for line in lines)
    assert lines[-1] == "2 records recomputed from scores, 1 wrong"


def test_a_video_counted_twice_is_found(run):
    rows = json.loads((run / "scores.json").read_text())
    rows[1]["path"] = rows[0]["path"]
    (run / "scores.json").write_text(json.dumps(rows))
    assert any(line.startswith("num_videos is 40") for line in verify(run))


def test_another_configuration_or_other_weights_are_found(run):
    (run / "weights.pth").write_bytes(b"other weights")
    change(run, config_hash="00000000", checkpoint="weights.pth", checkpoint_sha256="0" * 64)
    found = verify(run)
    assert "config.json has hash" in found[0] and "weights.pth is not the file" in found[1]


def test_a_record_without_scores_says_so(run):
    (run / "scores.json").unlink()
    with pytest.raises(ResultsError, match="has no scores"):
        verify(run)
    lines, failed = verify_all([run])
    assert failed == 1 and "has no scores" in lines[0]
    lines, failed = verify_all()  # large lists are published without
    assert failed == 0 and "has no scores" in lines[0]
    assert lines[1].endswith("0 wrong; 1 have no scores")


def record(**changes):
    return {
        "cfg": "sthv1", "protocol": "efficient", "data": "real", "scale": "full", "top1": 45.6,
        "num_videos": 11500, "num_listed": 11500, "precision": "32-true", **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "listed", "published", "wanted"),
    [
        ({}, 11522, True, "re-evaluated"),
        ({}, 11522, False, "agrees, with other weights"),
        ({"top1": 45.0}, 11522, True, "differs: -0.58 points from the published 45.58"),
        ({"protocol": "accurate", "top1": 47.7}, 11522, True, "re-evaluated"),
        ({}, 12000, True, "not comparable: 11500 of the 12000 published videos"),
        ({}, None, True, "not comparable: without the official annotations"),
        ({"data": "standin"}, 11522, True, "not comparable: it needs the row as it is"),
        ({"precision": "bf16-mixed"}, 11522, True, "not comparable: it needs the row as it is"),
        ({"num_listed": 11522}, 11522, True, "re-evaluated"),  # 22 cannot be read
        ({"num_listed": 11700}, 11522, True, "not comparable: 11500 of the 11522 published"),
        ({"top1": 45.28}, 11522, True, "re-evaluated"),
        ({"top1": 45.27}, 11522, True, "differs: -0.31"),
    ],
)
def test_verdicts(changes, listed, published, wanted):
    assert judge_record(record(**changes), get_config("sthv1"), listed, published).startswith(
        wanted
    )


def test_mit_numbers_sorted_names():
    for name in ("sthv1", "jester"):
        cfg = get_config(name)
        assert output_names(cfg, "mit") == tuple(sorted(class_names(cfg))) != class_names(cfg)
        assert output_names(cfg, "mmaction2") == output_names(cfg, None) == class_names(cfg)
    cfg = get_config("k400")
    assert output_names(cfg, "mit") == class_names(cfg)


@pytest.fixture
def real(tmp_path, monkeypatch):
    """Something-Something V1 in its official form, with two videos a split; and weights for it."""
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path / "results"))
    cfg = get_config("sthv1", backbone="resnet18", width=0.25, pretrain="none")
    folder, names = tmp_path / "data" / "sthv1", class_names(cfg)
    (folder / "annotations").mkdir(parents=True)
    stem = folder / "annotations" / "something-something-v1"
    stem.with_name(f"{stem.name}-labels.csv").write_text("\n".join(names))
    for first, split in ((1, "train"), (3, "validation")):
        lines = [f"{i};{names[i]}" for i in (first, first + 1)]
        stem.with_name(f"{stem.name}-{split}.csv").write_text("\n".join(lines))
    for video in range(1, 5):
        frames = torch.randint(0, 256, (12, 100, 132, 3)).byte()
        (folder / "rawframes" / str(video)).mkdir(parents=True)
        write_frames(folder / "rawframes" / str(video), encode_frames(frames), "{:05}.jpg", 1)
    write_lists(cfg, tmp_path / "data")
    model = build_model(cfg)
    torch.save({"meta": {}, "state_dict": to_layout(model, "mmaction2")}, tmp_path / "weights.pth")
    return cfg, tmp_path


def test_a_packet_checks_evaluates_and_verifies_itself(real):
    cfg, folder = real
    weights = str(folder / "weights.pth")
    records = reproduce(cfg, weights, folder / "data", workers=0)
    assert [r["protocol"] for r in records] == ["efficient", "published"]
    for found in records:
        assert found["verdict"].startswith("not comparable: it needs the row as it is")
        assert found["checkpoint_layout"] == "mmaction2" and found["num_videos"] == 2
        assert len(found["val_list_sha256"]) == len(found["checkpoint_sha256"]) == 64
        assert verify(found["run_dir"]) == []


def test_data_that_are_not_ready_stop_before_any_work(real):
    cfg, folder = real
    (folder / "data/sthv1/rawframes/3/00007.jpg").unlink()
    wanted = "are not ready: 1 of 2 listed videos can be read; .*make check cfg=sthv1"
    with pytest.raises(DataError, match=wanted):
        reproduce(cfg, str(folder / "weights.pth"), folder / "data", workers=0)
    assert not (folder / "results").exists()


def test_training_videos_are_not_needed(real):
    cfg, folder = real
    (folder / "data/sthv1/sthv1_train_list_rawframes.txt").unlink()
    shutil.rmtree(folder / "data/sthv1/rawframes/1")
    records = reproduce(cfg, str(folder / "weights.pth"), folder / "data", workers=0)
    assert [r["num_videos"] for r in records] == [2, 2]


@pytest.mark.parametrize("source", ["published", "by hand"])
def test_published_weights_are_known_by_their_hash(real, monkeypatch, source):
    """Downloaded or fetched by hand: that they are published is what their name's hash says."""
    cfg, folder = real
    weights = folder / "weights.pth"
    named = folder / "cache/weights" / f"tsm-{file_sha256(weights)[:8]}.pth"
    named.parent.mkdir(parents=True)
    weights.rename(named)
    table = reference.read_reference()
    table["ckpt_url"] = f"http://127.0.0.1:9/{named.name}"
    monkeypatch.setattr(reference, "read_reference", lambda: table)
    monkeypatch.setenv("TSM_CACHE", str(folder / "cache"))
    checkpoint = "published" if source == "published" else str(named)
    # as if the row had not been changed, and came as close as anything
    monkeypatch.setattr("tsmlib.study.reproduce.changed_fields", lambda cfg: {})
    monkeypatch.setattr("tsmlib.study.reproduce.TOLERANCE", 100)
    for found in reproduce(cfg, checkpoint, folder / "data", workers=0):
        assert found["published_weights"] and found["verdict"] == "re-evaluated"
        assert verify(found["run_dir"]) == []


def scores_of(cfg, weights, folder, name: str) -> np.ndarray:
    evaluate(cfg, weights, "efficient", data="real", workers=0, data_root=folder / "data",
             work_dir=folder / name)  # fmt: skip
    return read_scores(folder / name / "scores.json")[2]


@pytest.mark.parametrize("layout", ["mmaction2", "mit"])
def test_data_that_number_the_classes_in_an_order_of_their_own(real, layout):
    """Weights of others stay in the published order, whatever the data's names are sorted by."""
    cfg, folder = real
    torch.nn.init.normal_((model := build_model(cfg)).fc.weight)
    torch.save({"state_dict": to_layout(model, layout)}, folder / "w.pth")
    names = class_names(cfg)
    own = names[::-1]
    found = [
        scores_of(replace(cfg, class_names=order), folder / "w.pth", folder, f"{i}")
        for i, order in enumerate((names, own))
    ]
    np.testing.assert_allclose(found[1], found[0][:, [names.index(n) for n in own]], atol=1e-5)


def test_classes_of_ours_are_read_by_name(real, caplog):
    """A file of ours says how the classes were numbered in training."""
    cfg, folder = real
    torch.nn.init.normal_((model := build_model(cfg)).fc.weight)
    names = class_names(cfg)
    trained = replace(cfg, class_names=names[::-1])
    torch.save({"model": model.state_dict(), "config": to_dict(trained), "scale": "full",
                "data": "real", "run": "r"}, folder / "w.pth")  # fmt: skip
    reverse = scores_of(trained, folder / "w.pth", folder, "trained")
    again = scores_of(replace(cfg, class_names=names), folder / "w.pth", folder, "published")
    np.testing.assert_allclose(again, reverse[:, ::-1], atol=1e-5)
    others = [f"{name}!" for name in names]
    by_number = scores_of(replace(cfg, class_names=others), folder / "w.pth", folder, "others")
    np.testing.assert_allclose(by_number, reverse, atol=1e-5)
    assert "other names than the data's: matched by number" in caplog.text


def test_mit_weights_are_read_by_class_name(real):
    """The same network in MIT's numbering gives the same answers for the same classes."""
    cfg, folder = real
    model = build_model(cfg)
    torch.nn.init.normal_(model.fc.weight)
    names = class_names(cfg)
    torch.save(to_layout(model, "torchvision"), folder / "ours.pth")
    order = [names.index(name) for name in sorted(names)]
    with torch.no_grad():
        model.fc.weight.copy_(model.fc.weight[order].clone())
        model.fc.bias.copy_(model.fc.bias[order].clone())
    torch.save({"state_dict": to_layout(model, "mit")}, folder / "mit.pth")
    scores = []
    for name in ("ours", "mit"):
        found = evaluate(cfg, folder / f"{name}.pth", "efficient", data="real", workers=0,
                         data_root=folder / "data", work_dir=folder / name)  # fmt: skip
        scores.append(read_scores(folder / name / "scores.json")[2])
    assert found["label_order"] == "mit"
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)
