"""A pass over rows: order, failures, what is not done twice; rows that start from other rows."""

import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import resize_standins

from tsmlib import (
    CheckpointError,
    ConfigError,
    DataError,
    ResultsError,
    evaluate,
    get_config,
    list_configs,
    train,
)
from tsmlib.__main__ import main
from tsmlib.configs import mini, scaling, validation_protocol
from tsmlib.engine import evaluate as evaluation
from tsmlib.engine import test_loop as scoring
from tsmlib.engine import train as engine
from tsmlib.engine.options import RunOptions
from tsmlib.engine.setup import prepare, resolve, run_name
from tsmlib.engine.trained_weights import parent_weights, require_checkpoint
from tsmlib.models.checkpoints import load_checkpoint
from tsmlib.models.recognizer import build_model
from tsmlib.paths import file_sha256
from tsmlib.results import read_record, read_scores
from tsmlib.study import run_rows as run_rows_module
from tsmlib.study.parents import train_parent
from tsmlib.study.run_rows import ENGINE, Engine, describe_row, run_row, run_rows

CHILDREN = {
    "hmdb51": "k400", "hmdb51_t16": "k400_t16", "ucf101": "k400", "ucf101_t16": "k400_t16",
    "k400_mobilenetv2_port": "k400_mobilenetv2_dense",
}  # fmt: skip
# rows whose published test is what is measured during training
ONE_PROTOCOL = {
    "k400_340x256", "k400", "k400_ss320", "k400_100e", "k400_gpu_normalize", "k400_video",
    "k400_nl_embedded_gaussian", "k400_nl_gaussian", "k400_nl_dot_product", "diving48",
    "diving48_t16", "hmdb51", "hmdb51_t16", "ucf101", "ucf101_t16",
}  # fmt: skip


# --- a pass, with trainings that take no time -----------------------------------------------------


class Fakes:
    """`train` and `evaluate` that note their options, and fail where `errors` says so."""

    def __init__(self):
        self.calls, self.errors, self.weights = [], {}, []
        self.engine = Engine(self.train, self.evaluate, self.find, self.find)
        self.run_rows = partial(run_rows, processes=1, engine=self.engine)

    def train(self, cfg, options):
        return self._run("train", cfg, options, validation_protocol(cfg), 40.0)

    def evaluate(self, cfg, checkpoint="auto", options=None):
        self.weights.append(str(checkpoint))
        return self._run("evaluate", cfg, options, "published", 50.0)

    def find(self, cfg, options):
        return "weights"

    def _run(self, what, cfg, options, protocol, top1):
        self.calls.append((what, cfg.name, options))
        if cfg.name in self.errors:
            raise self.errors[cfg.name]
        return {"top1": top1, "protocol": protocol, "num_videos": 7, "run_dir": f"at/{cfg.name}"}

    def names(self, what: str) -> list[str]:
        return [name for kind, name, _ in self.calls if kind == what]


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


def test_all_rows_are_trained_once_and_parents_first(fakes):
    table = fakes.run_rows()
    assert list(table.index) == list_configs() and (table["state"] == "done").all()
    trained = fakes.names("train")
    assert sorted([*trained, "k400_mobilenetv2_port"]) == sorted(list_configs())
    order = [name for _, name, _ in fakes.calls]
    for child, parent in CHILDREN.items():
        assert order.index(parent) < order.index(child)
    first = [name for name in list_configs() if name not in CHILDREN]
    assert trained[: len(first)] == first  # else in the order of the tables
    fakes.calls.clear()
    fakes.run_rows(list_configs()[::-1])
    assert set(fakes.names("train")[: len(first)]) == set(first)


def test_rows_are_evaluated_where_training_measures_something_else(fakes):
    table = fakes.run_rows(seed=3, data="standin", workers=0)
    assert set(fakes.names("evaluate")) == set(list_configs()) - ONE_PROTOCOL
    trained = RunOptions(seed=3, data="standin", workers=0)
    for what, _, options in fakes.calls:
        assert options == (trained if what == "train" else trained.with_changes(seed=None))
    ported = "k400_mobilenetv2_port"
    evaluated = {name: f"at/{name}/last.pth" for name in fakes.names("evaluate")}
    assert fakes.weights == list((evaluated | {ported: "weights"}).values())
    assert (table["protocol"] == "published").all()
    assert {n for n, top1 in table["top1"].items() if top1 == 40.0} == ONE_PROTOCOL


def test_lines_of_the_table(fakes):
    table = fakes.run_rows(["hmdb51", "sthv1"])
    assert table.index.name == "cfg" and list(table.index) == ["hmdb51", "sthv1"]
    assert list(table.columns) == ["state", "top1", "protocol", "num_videos", "seconds", "run_dir"]
    expected = {"state": "done", "top1": 50.0, "protocol": "published", "num_videos": 7,
                "run_dir": "at/sthv1"}  # fmt: skip
    line = table.loc["sthv1"].to_dict()
    assert {k: line[k] for k in expected} == expected and line["seconds"] >= 0


def test_published_names_of_rows_are_understood(fakes):
    table = fakes.run_rows(["tsm_r50_1x1x8_50e_sthv1_rgb", "tsm_r101_1x1x8_50e_sthv2_rgb"])
    assert list(table.index) == ["sthv1", "sthv2_r101"] == fakes.names("train")


@pytest.mark.parametrize("error", [ConfigError, DataError, CheckpointError, ResultsError])
def test_a_row_that_fails_does_not_stop_the_others(fakes, error):
    fakes.errors["sthv1"] = error("a sentence on what to do")
    table = fakes.run_rows(["jester", "sthv1", "sthv2", "hmdb51"])
    assert table["state"].to_dict() == {
        "jester": "done", "sthv1": "failed: a sentence on what to do", "sthv2": "done",
        "hmdb51": "done",
    }  # fmt: skip
    assert fakes.names("train") == ["jester", "sthv1", "sthv2", "hmdb51"]
    assert fakes.names("evaluate") == ["jester", "sthv2"]
    assert table.loc["sthv1", "top1"] == table.loc["sthv1", "run_dir"] == ""


def test_a_slip_in_the_code_is_no_failure_of_a_row(fakes):
    fakes.errors["sthv1"] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        fakes.run_rows(["sthv1", "sthv2"])


def test_progress_is_shown_whenever_a_row_ends(fakes):
    shown = []
    fakes.errors["sthv2"] = DataError("no data")
    names = ["hmdb51", "sthv1", "sthv2", "jester"]
    table = fakes.run_rows(names, show=lambda table: shown.append(table.copy()))
    assert all(list(t.index) == names for t in shown)
    assert (shown[0]["state"] == "waiting").all()
    ended = [{n for n, s in t["state"].items() if s == "done" or s.startswith("failed")}
             for t in shown]  # fmt: skip
    grown = [next(iter(b - a)) for a, b in zip(ended, ended[1:], strict=False) if b != a]
    assert grown == ["sthv1", "sthv2", "jester", "hmdb51"]  # one at a time
    assert all(a <= b and len(b - a) <= 1 for a, b in zip(ended, ended[1:], strict=False))
    begun = next(t for t in shown if (t["state"] == "running").any())
    assert begun.loc["hmdb51", "state"] == "waiting"  # it is not its turn yet
    for before, after in zip(shown, shown[1:], strict=False):
        newly = set(after.index[after["state"] == "done"]) - set(before.index[before.top1 != ""])
        assert all(after.loc[name, "num_videos"] == 7 for name in newly)
    pd.testing.assert_frame_equal(shown[-1], table)


def test_an_unknown_row_fails_before_any_work(fakes):
    with pytest.raises(ConfigError, match="no configuration 'sthv9'; closest: .*sthv1"):
        fakes.run_rows(["sthv1", "sthv9"])
    assert not fakes.calls


def test_one_row_alone(fakes):
    options = RunOptions(seed=2, data="standin")
    line = run_row("k400", options, fakes.engine)
    assert line["state"] == "done" and line["top1"] == 40.0
    assert fakes.calls == [("train", "k400", options)]
    assert describe_row(pd.Series(line)) == " 40.00 % of 7 videos, published"


def test_command_line(fakes, monkeypatch, capsys):
    monkeypatch.setattr(run_rows_module, "ENGINE", fakes.engine)
    fakes.errors["sthv2"] = DataError("there is no list file")
    command = ["study", "rows", "--processes", "1", "--only"]
    options = ["--seed", "4", "--data", "real"]
    assert main([*command, "hmdb51", "sthv1", "sthv2", *options]) == 1
    printed = capsys.readouterr()
    said = [line for line in printed.err.splitlines() if not line.startswith("[")]  # the status
    assert [line.split()[0] for line in said] == ["sthv1", "sthv2", "hmdb51"]
    assert " 50.00 % of 7 videos, published, " in said[0]
    assert said[1].endswith("failed: there is no list file")
    table = {line.split()[0]: line for line in printed.out.splitlines()}
    assert " 50.0 " in table["sthv1"] and "failed: there is no list file" in table["sthv2"]
    assert printed.out.splitlines()[-1] == "2 of 3 rows done"
    assert fakes.calls[0][2] == RunOptions(seed=4, data="real")
    assert main([*command, "sthv1"]) == 0
    assert main([*command, "sthv9"]) == 1
    assert "closest:" in capsys.readouterr().err


def test_rows_in_processes_of_their_own(tmp_path):
    """Rows that fail at once: what they say comes back, each into its own line."""
    states, data = [], {"data": "real", "data_root": str(tmp_path)}

    def show(table):
        states.append(list(table["state"]))

    table = run_rows(["hmdb51", "sthv1", "jester"], processes=2, show=show, **data)
    assert states[:2] == [["waiting"] * 3, ["waiting", "queued", "queued"]]
    for name in ("sthv1", "jester"):
        missing = tmp_path / get_config(name).train_list
        assert table.loc[name, "state"].startswith(f"failed: there is no list file {missing}")
    assert table.loc["hmdb51", "state"].startswith("failed: ")


# --- real trainings on a handful of clips ---------------------------------------------------------

ROWS = ["hmdb51", "k400_mobilenetv2_port", "k400", "k400_mobilenetv2_dense", "sthv1"]
SMALL = {"k400": (8, 3), "hmdb51": (8, 3), "sthv1": (5, 5)}  # all classes in training


class Pass:
    """A finished pass over ROWS: its table, and the weights each training began with."""

    def __init__(self, cache: Path):
        self.options = {"data": "standin", "cache": cache, "workers": 0}
        self.begun: dict[str, dict] = {}

    def run(self, names, engine=ENGINE) -> pd.DataFrame:
        return run_rows(names, processes=1, engine=engine, **self.options)

    def resolve(self, name: str, **changes):
        cfg = get_config(name, **changes)
        return prepare(resolve(cfg, data="standin", cache=self.options["cache"]))

    def folder(self, name: str) -> Path:
        """Of the row's training run."""
        return require_checkpoint(self.resolve(name)).parent

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return torch.load(self.folder(name) / "last.pth", weights_only=True)["model"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pass")
    done = Pass(folder / "cache")
    with pytest.MonkeyPatch.context() as patch:
        resize_standins(patch, SMALL)
        patch.setattr(scaling, "MINI_EPOCHS", 1)
        patch.setenv("TSM_RESULTS", str(folder / "results"))
        original = engine.train_epoch

        def noted(fabric, cfg, model, *rest):
            state = {k: v.clone() for k, v in model.state_dict().items()}
            done.begun.setdefault(cfg.name, state)
            original(fabric, cfg, model, *rest)

        patch.setattr(engine, "train_epoch", noted)
        done.table = done.run(ROWS)
        yield done


def same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def scores_of(folder) -> tuple[list[str], np.ndarray, np.ndarray]:
    paths, labels, scores = read_scores(Path(folder) / "scores.json")
    return list(paths), np.asarray(labels), np.asarray(scores)


def test_the_pass_leaves_a_record_of_each_row(finished):
    assert finished.table["state"].to_dict() == dict.fromkeys(ROWS, "done")
    videos = {"sthv1": 10, "hmdb51": 5}
    for name, line in finished.table.iterrows():
        record = read_record(line["run_dir"])
        assert record["cfg"] == name and record["top1"] == pytest.approx(line["top1"], abs=1e-3)
        assert record["num_videos"] == line["num_videos"] == videos.get(name, 5)
        seed = None if name == "k400_mobilenetv2_port" else 0  # MIT's files do not say it
        assert (record["data"], record["scale"], record["seed"]) == ("standin", "mini", seed)
        expected = "training" if name in ONE_PROTOCOL else "evaluation"
        assert (record["kind"], record["protocol"]) == (expected, "published")
    assert list(finished.begun) == ["k400", "k400_mobilenetv2_dense", "sthv1", "hmdb51"]


@pytest.mark.parametrize(
    "name",
    [
        "k400",
        "hmdb51",
        "sthv1",
    ],
)  # fmt: skip
def test_a_finished_row_is_only_read(finished, monkeypatch, name):
    def again(*args, **kwargs):
        raise AssertionError("it was computed again")

    for module in (engine, evaluation, scoring):
        monkeypatch.setattr(module, "predict_scores", again)
    monkeypatch.setattr(engine, "train_epoch", again)
    table = finished.run([name])
    columns = ["state", "top1", "protocol", "num_videos", "run_dir"]
    assert table.loc[name, columns].to_dict() == finished.table.loc[name, columns].to_dict()


def test_an_interrupted_pass_continues(finished, tmp_path, monkeypatch):
    """Stopped between a training and its evaluation: the training is not made again."""
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finished.run(["sthv1"], ENGINE._replace(evaluate=interrupted))
    trained = file_sha256(finished.folder("sthv1") / "last.pth")
    with monkeypatch.context() as patch:
        patch.setattr(engine, "train_epoch", lambda *a: pytest.fail("it trained again"))
        table = finished.run(["sthv1"])
    assert table.loc["sthv1", "state"] == "done"
    record = read_record(table.loc["sthv1", "run_dir"])
    assert record["checkpoint_sha256"] == trained
    assert record["top1"] == pytest.approx(finished.table.loc["sthv1", "top1"], abs=1e-3)


# --- a row that starts from another row's weights -------------------------------------------------


def test_fine_tuning_begins_with_the_other_rows_backbone(finished):
    parent, begun = finished.weights("k400"), finished.begun["hmdb51"]
    assert parent.keys() == begun.keys()
    backbone = [name for name in begun if not name.startswith("fc.")]
    assert len(backbone) == len(begun) - 2
    assert all(torch.equal(begun[name], parent[name]) for name in backbone)
    after = finished.weights("hmdb51")
    assert not torch.equal(after["layer3.0.conv2.weight"], begun["layer3.0.conv2.weight"])
    record = read_record(finished.folder("hmdb51"))
    assert record["pretrained"]["sha256"] == file_sha256(finished.folder("k400") / "last.pth")
    assert read_record(finished.folder("k400"))["pretrained"] is None


def test_fine_tuning_begins_with_a_new_classifier(finished):
    """Classes of another data set: the published runs keep none of the old classifier."""
    parent, begun = finished.weights("k400"), finished.begun["hmdb51"]
    assert not torch.equal(begun["fc.weight"], parent["fc.weight"])
    assert not begun["fc.bias"].any()


def test_a_classifier_of_another_size_starts_anew(finished):
    """As at full scale, where 51 classes follow 400."""
    weights = str(finished.folder("k400") / "last.pth")
    cfg = mini(get_config("hmdb51", pretrain=weights))
    model, parent = build_model(cfg, pretrained=True), finished.weights("k400")
    assert model.head.out_features == 51 and not model.head.bias.any()
    state = model.state_dict()
    assert all(torch.equal(v, parent[n]) for n, v in state.items() if not n.startswith("fc."))


def test_the_name_of_a_run_depends_on_the_weights_it_starts_from(finished, tmp_path):
    setup = finished.resolve("hmdb51")
    weights = finished.folder("k400") / "last.pth"
    zero, one = RunOptions(seed=0), RunOptions(seed=1)
    name = run_name(setup, zero, weights)
    assert name == finished.folder("hmdb51").name
    (tmp_path / "copy.pth").write_bytes(weights.read_bytes())
    assert run_name(setup, zero, tmp_path / "copy.pth") == name  # content, not place
    other = finished.folder("sthv1") / "last.pth"
    names = {name, run_name(setup, zero, other), run_name(setup, zero), run_name(setup, one)}
    assert len(names) == 4


def test_the_name_of_a_run_depends_on_the_file_it_starts_from(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    names = set()
    for row in ("k400", "sthv1"):
        shutil.copy(finished.folder(row) / "last.pth", tmp_path / "own.pth")
        setup = finished.resolve("hmdb51", pretrain="~/own.pth")
        names.add(run_name(setup, RunOptions()))
    assert len(names) == 2


def test_a_trial_of_the_parent_is_no_start(finished, tmp_path, monkeypatch, caplog):
    """The newest run of the parent has another rate: it is taken with a warning, or not at all."""
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    trial = train("k400", lr=0.1, epochs=1, **finished.options)
    child = finished.resolve("hmdb51")
    assert parent_weights(child, RunOptions()) == Path(trial["run_dir"]) / "last.pth"
    assert "hmdb51 STARTS FROM A CHANGED RECIPE" in caplog.text
    own = train_parent("hmdb51", **finished.options)
    os.utime(Path(trial["run_dir"]) / "metrics.json")  # newer again
    assert own.parent != Path(trial["run_dir"]) and parent_weights(child, RunOptions()) == own


def test_other_weights_of_the_parent_make_another_run(finished, tmp_path, monkeypatch):
    """And the parent is trained first where there is no run of it."""
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    with pytest.raises(CheckpointError, match="no finished run of k400 .* train it first"):
        train("hmdb51", **finished.options)
    train_parent("hmdb51", **finished.options)
    first = train("hmdb51", **finished.options)
    assert finished.folder("k400").is_relative_to(tmp_path)
    assert first["top1"] == pytest.approx(finished.table.loc["hmdb51", "top1"], abs=1e-3)
    file = finished.folder("k400") / "last.pth"
    content = torch.load(file, weights_only=True)
    content["model"]["conv1.weight"] *= 2
    torch.save(content, file)
    second = train(get_config("hmdb51"), **finished.options)
    assert second["run_dir"] != first["run_dir"]
    assert second["pretrained"]["sha256"] != first["pretrained"]["sha256"]
    third = train(get_config("hmdb51"), **finished.options)
    assert third["run_dir"] == second["run_dir"] and third["date"] == second["date"]


# --- the converted row ----------------------------------------------------------------------------


def test_the_converted_row_is_not_trained(finished, tmp_path):
    with pytest.raises(ConfigError, match="never trained; .*train k400_mobilenetv2_dense"):
        train(get_config("k400_mobilenetv2_port"), **finished.options)
    cfg = get_config("k400_mobilenetv2_port")
    (tmp_path / cfg.val_list).parent.mkdir()
    (tmp_path / cfg.val_list).write_text("archery/some_video 80 0\n")
    with pytest.raises(CheckpointError, match="MIT's published weights: name their file, checkp"):
        evaluate(cfg, data="real", data_root=tmp_path)


def test_the_converted_row_scores_as_the_row_it_was_converted_from(finished):
    ported, trained = "k400_mobilenetv2_port", "k400_mobilenetv2_dense"
    folders = {name: finished.table.loc[name, "run_dir"] for name in (ported, trained)}
    records = {name: read_record(folder) for name, folder in folders.items()}
    assert records[ported]["checkpoint_layout"] == "mit"
    assert records[trained]["checkpoint_layout"] == "tsmlib"
    for field in ("views", "protocol", "top1", "top5", "mean_class_accuracy", "data_id"):
        assert records[ported][field] == records[trained][field], field
    assert records[ported]["views"] == {"clips": 10, "crops": 3, "size": 64}
    (paths, labels, scores), (_, _, expected) = (scores_of(folders[n]) for n in (ported, trained))
    assert len(paths) == 5 and scores.shape == (5, 10) and scores.std() > 0
    np.testing.assert_array_equal(scores, expected)
    validated = evaluate(get_config(ported), protocol="validation", **finished.options)
    own = read_record(finished.folder(trained))  # what its training measured last
    assert validated["views"] == own["views"] == {"clips": 10, "crops": 1, "size": 56}
    assert validated["top1"] == own["top1"]


def test_the_converted_file_is_as_mit_writes_it(finished):
    record = read_record(finished.table.loc["k400_mobilenetv2_port", "run_dir"])
    folder = Path(finished.table.loc["k400_mobilenetv2_port", "run_dir"]).parent
    file = folder / record["checkpoint"]
    content = torch.load(file, weights_only=True)
    assert content["arch"] == "mobilenetv2" and "model" not in content
    names = set(content["state_dict"])
    assert all(n.startswith(("module.base_model.features.", "module.new_fc.")) for n in names)
    assert file_sha256(file) == record["checkpoint_sha256"]
    model = build_model(finished.resolve("k400_mobilenetv2_port").cfg)
    report = load_checkpoint(model, file)
    assert (report.layout, report.label_order) == ("mit", "mit")
    same(dict(model.state_dict()), finished.weights("k400_mobilenetv2_dense"))
    assert json.loads((folder.parent / "last.json").read_text())["run"]
