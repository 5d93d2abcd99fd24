"""What models cost: against the published counts, slow counts, and what must not cost anything.

Profiles of rows are made on a stand-in; no time that was measured is judged.
"""

import json
from functools import partial
from pathlib import Path

import helpers
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

from tsmlib import build_model, get_config, list_configs
from tsmlib.__main__ import main
from tsmlib.configs import ConfigError, scaled_lr
from tsmlib.engine.optimizer import make_optimizer
from tsmlib.engine.setup import prepare, resolve
from tsmlib.engine.trained_weights import MODEL_FIELDS
from tsmlib.models.shifted_conv import ShiftedConv2d
from tsmlib.report import speed_plots
from tsmlib.results import ResultsError
from tsmlib.speed import inference, options, training
from tsmlib.speed import profile as profiling
from tsmlib.speed.hardware import fabric_on
from tsmlib.speed.memory import AliveTensors, training_memory
from tsmlib.speed.operations import Cost, count_cost, count_macs, count_published_flops

ROWS = yaml.safe_load((Path(__file__).parents[1] / "golden/configs.yaml").read_text())["rows"]
AT_256 = ("sthv1_mixup", "sthv1_cutmix")  # their published count is of a 256x256 input
FOR_8_FRAMES = ("sthv2_t16",)  # whose published count repeats the 8-frame one
UNLISTED = ("sthv1_ptv_randaugment", "sthv1_ptv_augmix")


KNOWN: dict[tuple, Cost] = {}


def of_row(name: str, size: int | None = None, **changes) -> Cost:
    """Cost of a row, counted once for rows that differ in nothing that could matter."""
    cfg = get_config(name, **changes)
    key = cfg.dataset, cfg.blending, *(getattr(cfg, field) for field in MODEL_FIELDS), size
    if key not in KNOWN:
        KNOWN[key] = count_cost(cfg, size)
    return KNOWN[key]


tiny = partial(helpers.tiny, "k400", num_segments=4)


# --- published counts -----------------------------------------------------------------------------


def test_every_row_is_compared_or_named():
    found = {name for name in list_configs() if ROWS[get_config(name).row_id]["metafile"] is None}
    assert found == set(UNLISTED)
    assert len(list_configs()) == len(ROWS) == 36


@pytest.mark.parametrize("name", [n for n in list_configs() if n not in UNLISTED])
def test_cost_is_as_published(name):
    published = ROWS[get_config(name).row_id]["metafile"]
    found = of_row(name, 256 if name in AT_256 else None)
    assert found.parameters == published["params"]
    flops = found.flops_published / (2 if name in FOR_8_FRAMES else 1)
    assert flops == pytest.approx(published["flops"], rel=1e-3)


def test_published_slips_are_slips():
    """At the size and length of their own configs these rows do not cost what is published."""
    for name in AT_256:
        found, published = of_row(name), ROWS[get_config(name).row_id]["metafile"]["flops"]
        assert found.size == 224 and found.flops_published < 0.8 * published
        assert found.flops_published == of_row("sthv1").flops_published
    found = of_row("sthv2_t16").flops_published
    assert found == 2 * of_row("sthv2").flops_published
    eight, sixteen = (ROWS[get_config(n).row_id]["metafile"] for n in ("sthv2", "sthv2_t16"))
    assert sixteen == eight


def test_sizes_are_those_of_the_published_counts():
    sizes = {name: of_row(name).size for name in list_configs()}
    at_256 = {"jester", "k400_mobilenetv2_dense", "k400_mobilenetv2_port"}
    assert sizes == {name: 256 if name in at_256 else 224 for name in list_configs()}
    assert of_row("jester", 224).size == 224
    assert of_row("jester", 224).flops_published < 0.8 * of_row("jester").flops_published


def test_the_papers_numbers():
    """24.3 M parameters, and 33 G and 65 G multiply-adds for 8 and 16 frames."""
    assert round(of_row("k400").parameters / 1e6, 1) == 24.3
    assert round(of_row("k400").macs / 1e9) == 33
    assert round(of_row("k400_t16").macs / 1e9) == 65
    assert of_row("k400_t16").macs == 2 * of_row("k400").macs


# --- attention ------------------------------------------------------------------------------------

# channels, side, blocks of the stages with non-local blocks at 224 pixels
STAGES = ((512, 28, 2), (1024, 14, 3))


def positions(side: int) -> tuple[int, int]:
    """Queries and, after pooling, keys of 8 frames."""
    return 8 * side**2, 8 * (side // 2) ** 2


def attention(kind: str) -> int:
    """Multiply-adds of the products between positions of the five blocks."""
    total = 0
    for channels, side, blocks in STAGES:
        (queries, keys), inner = positions(side), channels // 2
        total += (
            blocks
            * {
                "embedded_gaussian": 2 * queries * keys * inner,
                "gaussian": queries * keys * (channels + inner),
                "dot_product": inner * inner * (queries + keys),
                "concatenation": queries * keys * inner,  # beside which its two sums are nothing
            }[kind]
        )
    return total


def convolutions(kind: str) -> int:
    """Multiply-adds of theta, phi, g and the output of the five blocks."""
    layers = 2 if kind == "gaussian" else 4
    return sum(layers * blocks * positions(side)[0] * c * c // 2 for c, side, blocks in STAGES)


def test_attention_products_of_embedded_gaussian():
    assert attention("embedded_gaussian") == pytest.approx(11.96e9, rel=1e-3)


@pytest.mark.parametrize("kind", ["embedded_gaussian", "gaussian", "dot_product", "concatenation"])
def test_macs_include_the_products_between_positions(kind):
    found = of_row("k400", non_local=kind)
    extra = found.macs - of_row("k400").macs
    expected = convolutions(kind) + attention(kind)
    assert extra == (pytest.approx(expected, rel=1e-3) if kind == "concatenation" else expected)
    # the published count does not
    published = found.flops_published - of_row("k400").flops_published
    assert published == pytest.approx(convolutions(kind), rel=0.02)


# --- what costs nothing ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["k400", "k400_mobilenetv2_dense", "sthv1_r101"])
def test_the_shift_costs_nothing(name):
    assert of_row(name) == of_row(name, is_shift=False)
    if "mobilenet" not in name:
        assert of_row(name) == of_row(name, shift_place="block", shift_div=4)


def test_temporal_pooling_halves_what_follows():
    whole, pooled = of_row("k400"), of_row("k400", temporal_pool=True)
    assert pooled.parameters == whole.parameters
    assert 0.5 * whole.macs < pooled.macs < 0.7 * whole.macs


# --- counts by hand -------------------------------------------------------------------------------


@torch.no_grad()
def slow_macs(model, clips) -> int:
    """A multiply-add for every weight that an output value is made of."""
    counts = []

    def count(layer, args, out):
        kernel = layer.kernel_size if isinstance(layer, nn.Conv2d) else (1, 1)
        inputs = layer.weight.shape[1]
        counts.append(out.numel() * inputs * kernel[0] * kernel[1])

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    model(clips)
    for handle in handles:
        handle.remove()
    assert len(counts) == len(layers)
    return sum(counts)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenetv2"])
@pytest.mark.parametrize("size", [64, 57])
def test_macs_are_those_of_a_slow_count(backbone, size):
    depth = None if backbone == "mobilenetv2" else (1, 1, 1, 1)
    model = build_model(tiny(backbone=backbone, depth=depth, width=0.25)).eval()
    clips = torch.zeros(2, 4, 3, size, size)
    assert count_macs(model, clips) == slow_macs(model, clips)
    assert count_macs(model, clips) == 2 * count_macs(model, clips[:1])


def test_published_count_of_single_layers():
    x = torch.zeros(2, 3, 5, 4)
    values = 2 * 8 * 5 * 4
    conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    assert count_published_flops(conv, x) == values * 27
    assert count_published_flops(nn.Conv2d(3, 8, 3, padding=1), x) == values * (27 + 1)
    assert count_published_flops(nn.Conv2d(3, 9, 3, padding=1, groups=3, bias=False), x) == 360 * 9
    for layers, extra in (([nn.BatchNorm2d(8)], 2), ([nn.ReLU()], 1), ([nn.ReLU6()], 1),
                          ([nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout()], 3)):  # fmt: skip
        model = nn.Sequential(conv, *layers).eval()
        assert count_published_flops(model, x) == values * (27 + extra)
    assert count_published_flops(nn.Linear(6, 5, bias=False), torch.zeros(7, 6)) == 7 * 6 * 5


def test_counting_leaves_the_model_alone():
    model = build_model(tiny(non_local="gaussian")).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    hooks = {n: len(m._forward_hooks) for n, m in model.named_modules()}
    clips = torch.zeros(1, 4, 3, 32, 32)
    model.eval()
    first = count_published_flops(model, clips), count_macs(model, clips)
    assert (count_published_flops(model, clips), count_macs(model, clips)) == first
    assert {n: len(m._forward_hooks) for n, m in model.named_modules()} == hooks
    with pytest.raises(ValueError, match="takes clips"):
        count_published_flops(model, clips[:, :3])
    assert {n: len(m._forward_hooks) for n, m in model.named_modules()} == hooks
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_cost_is_counted_without_computing(monkeypatch):
    def no_numbers(x, *args, **kwargs):
        assert x.is_meta
        return original(x, *args, **kwargs)

    original = F.conv2d
    monkeypatch.setattr(F, "conv2d", no_numbers)
    state = torch.get_rng_state()
    found = count_cost(tiny(), 64)
    assert torch.equal(torch.get_rng_state(), state)
    model = build_model(tiny()).eval()
    monkeypatch.undo()
    clips = torch.zeros(1, 4, 3, 64, 64)
    assert found == Cost(
        sum(p.numel() for p in model.parameters()), slow_macs(model, clips),
        count_published_flops(model, clips), 64,
    )  # fmt: skip


# --- memory ---------------------------------------------------------------------------------------


def test_memory_is_that_of_tensors_that_are_alive():
    kilobyte = torch.empty(256, device="meta")
    with AliveTensors([kilobyte, kilobyte.view(16, 16)]) as alive:
        assert alive.now == 1024
        double = torch.cat((kilobyte, kilobyte))
        half = double[:128]  # no memory of its own
        assert alive.now == 3072
        triple = double.repeat(2)[:256] + 1
        assert (alive.now, alive.most) == (4096, 4096 + 4096)
        del double, triple
        assert alive.now == 3072  # half holds what it is a part of
        del half
        assert (alive.now, alive.most) == (1024, 8192)


def test_training_memory_of_layers_by_hand():
    """Weights, gradients and momentum; inputs; what every layer keeps for its gradient."""
    cfg = tiny(videos_per_device=3, crop_size=32)
    model = build_model(cfg)
    weights = sum(p.numel() for p in model.parameters())
    kept = []
    for module in model.modules():  # a convolution's input, a batch norm's; ReLUs work in place
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(lambda m, args, out: kept.append(args[0].numel()))
    model(torch.zeros(3, 4, 3, 32, 32))
    found = training_memory(cfg) * 2**20 / 4
    assert 3 * weights + sum(kept) * 0.7 < found < 4 * weights + sum(kept) * 1.3
    assert training_memory(cfg, 6) > training_memory(cfg) > training_memory(cfg, 1)


def test_the_shift_costs_nothing_but_a_little_memory():
    found = profiling.count_costs(tiny())
    same = ["parameters", "macs", "flops_published", "size"]
    assert found.loc["TSN", same].equals(found.loc["TSM", same])
    mib = found["training_mib"]
    assert mib["TSN"] <= mib["TSM"] < 1.02 * mib["TSN"]


# rows whose published memory is not that of their configuration as far as shapes tell it
OTHER_MEMORY = {
    "sthv2": "7,069 MiB are those of 8 videos, and its configuration has 6",
    "k400_nl_gaussian": "mmcv's block keeps more",
    "k400_mobilenetv2_dense": "less than shapes ask for",
    "k400_mobilenetv2_port": "less than shapes ask for",
}


COUNTED_ROWS = ("sthv1", "k400_nl_gaussian", "sthv1_r101", "k400_mobilenetv2_dense")


@pytest.fixture(scope="module")
def costs() -> pd.DataFrame:
    """The published columns beside some that are made up."""
    training = [{"network": "TSN", "allocated": 1.0}, {"network": "TSM", "allocated": 7000.0}]
    ours = {"training": training, "published_speed": {"TSN": 90.0, "TSM": 80.0}}
    rows = {
        "k400_video": {"full": ours}, "sthv1": {"mini": ours},
        "sthv2": {"full": ours | {"changes": {"num_segments": 16}}},
    }  # fmt: skip

    def count_some(cfg):  # one row of each kind; profile.ipynb counts all
        return training_memory(cfg) if cfg.name in COUNTED_ROWS else float("nan")

    return profiling.published_costs(rows, count_some).set_index("cfg")


@pytest.fixture(scope="module")
def copying():
    """Count with the published form: each shifted input is a copy, kept for the gradient."""

    def build_copying(cfg):
        model = build_model(cfg)
        for layer in model.modules():
            if isinstance(layer, ShiftedConv2d):
                layer.shift.register_forward_hook(lambda *_: None)  # which has to see a copy
        return model

    count = partial(training_memory, build=build_copying)
    return profiling.published_costs({}, count).set_index("cfg")


def test_the_published_memory_is_undercut(costs, copying):
    saved = (1 - costs["gpu_mem counted"] / copying["gpu_mem counted"]).dropna()
    assert set(saved.index) >= set(COUNTED_ROWS)
    assert saved.min() >= 0 and saved["sthv1"] > 0.19  # MobileNetV2 keeps its inputs for this alone


def test_counted_memory_is_a_little_below_what_was_published(copying):
    """Workspaces and rounding come on top, a few percent."""
    table = copying.dropna(subset=["gpu_mem published"])
    assert len(table) == 33
    more = table["gpu_mem published"] / table["gpu_mem counted"]
    usual = more.drop(index=list(OTHER_MEMORY))
    assert usual.min() > 1 and usual.max() < 1.05
    assert not more[list(OTHER_MEMORY)].between(1, 1.05).any()
    eight = table.loc["sthv1", "gpu_mem counted"]  # of 8 videos
    assert table.loc["sthv2", "gpu_mem published"] == pytest.approx(1.03 * eight, rel=0.01)


def test_published_columns_stand_beside_ours_of_unchanged_rows_at_full_scale(costs):
    times = costs["inference_time published"].dropna()
    assert times.to_dict() == {"k400_340x256": 74, "k400_video": 74, "k400_t16_340x256": 47}
    assert costs["inference_time ours"].dropna().to_dict() == {"k400_video": 80}
    assert costs["gpu_mem ours"].dropna().to_dict() == {"k400_video": 7000}


# --- measured, on a stand-in ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    fields = {"num_segments": 4, "videos_per_device": 2}  # small batches: little to compute
    cfg = get_config("sthv1", standin_clips=(60, 20), **fields)
    return prepare(resolve(cfg, data="standin", cache=tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def fabric():
    return fabric_on("cpu")


@pytest.fixture(scope="module")
def tables(setup, fabric) -> dict:
    return profiling.profile(setup, fabric, ["eager", "folded"], seconds=0.0, videos=20)


def test_a_profile_has_both_networks_everywhere(tables):
    assert list(tables) == [
        "counts", "inference", "growth", "training", "loading", "epoch", "published_speed"
    ]  # fmt: skip
    for name in ("inference", "training", "epoch"):
        assert set(tables[name]["network"]) == {"TSN", "TSM"}
    assert list(tables["counts"].index) == list(tables["published_speed"].index) == ["TSN", "TSM"]
    assert (tables["published_speed"] > 0).all()


def test_inference_by_runtime_precision_and_clips(tables):
    table = tables["inference"]
    forms = table.groupby(["precision", "runtime", "clips"]).size()
    assert (forms == 2).all() and {"eager", "folded"} == set(table["runtime"])
    assert set(table["clips"]) == {1, 2} and "32-true" in set(table["precision"])
    assert (table["q25"] <= table["median"]).all() and (table["median"] <= table["q75"]).all()
    rate = 1000 * table["clips"] / table["median"]
    assert (rate - table["per_second"]).abs().max() < 1e-6 * rate.max()
    assert table[table["network"] == "TSM"]["over_tsn"].notna().all()
    assert table[table["network"] == "TSN"]["over_tsn"].isna().all()
    plain = table[(table["runtime"] == "eager") & (table["precision"] == "32-true")]
    assert plain["difference"].max() < 1e-5


def test_a_runtime_that_is_not_possible_is_left_out(fabric, caplog):
    caplog.set_level("WARNING", logger="tsmlib")
    found = inference.measure_forward(
        tiny(), fabric, ["eager", "steam"], ["32-true"], seconds=0, rounds=1
    )
    assert set(found["runtime"]) == {"eager"} and "steam" in caplog.text


def test_an_epoch_is_the_sum_of_its_parts(tables):
    table = tables["epoch"]
    assert set(table["part"]) == {
        "waiting for clips", "to the device, normalised", "forward", "backward", "clipped step",
        "validation",
    }  # fmt: skip
    for _, parts in table.groupby("network"):
        assert parts["share"].sum() == pytest.approx(100)
        share = 100 * parts["seconds"] / parts["seconds"].sum()
        assert (share - parts["share"]).abs().max() < 1e-6


def test_loading_stands_beside_the_decoders_limit(tables):
    table = tables["loading"]
    assert table["what"].tolist()[:2] == ["decoder alone, 1 thread", "whole clips, 1 thread"]
    assert table["share"][0] == pytest.approx(100) and (table["per_second"] > 0).all()


def test_the_measured_step_is_the_step(fabric):
    """As written out."""
    cfg = tiny(dropout=0.0, crop_size=32)
    torch.manual_seed(0)
    trainer, parts = training.Trainer(cfg, fabric, 2), []
    plain = build_model(cfg).train()
    plain.load_state_dict(trainer.model.state_dict())
    optimizer = make_optimizer(cfg, plain, scaled_lr(cfg, 2))
    clips, labels = torch.randn(2, 4, 3, 32, 32), torch.tensor([1, 3])
    for _ in range(3):
        found = trainer(clips, labels, parts.append)
        loss = F.cross_entropy(plain(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), cfg.clip_grad)
        optimizer.step()
        assert float(found) == pytest.approx(loss.item(), rel=1e-4)
    assert parts == ["forward", "backward", "clipped step"] * 3


def test_profiles_are_kept_by_row_and_scale(setup, fabric, tables, tmp_path):
    file = tmp_path / "rows.json"
    assert profiling.save_profile(setup, fabric, tables, file) == file
    profiling.save_profile(
        setup, fabric, {"counts": tables["counts"]}, file
    )  # a later one takes its place
    rows = profiling.load_profiles(file)
    assert list(rows) == ["sthv1"] and list(rows["sthv1"]) == ["mini"]
    entry = rows["sthv1"]["mini"]
    assert "training" not in entry and entry["data"] == "standin"
    assert entry["changes"] == {
        "num_segments": 4,
        "standin_clips": [60, 20],
        "videos_per_device": 2,
    }
    assert [line["network"] for line in entry["counts"]] == ["TSN", "TSM"]
    assert {"device", "cores", "threads", "commit", "date", "versions"} <= entry.keys()
    file.write_text(file.read_text().replace('"sthv1"', '"jester"'))
    profiling.save_profile(setup, fabric, tables, file)
    assert set(profiling.load_profiles(file)) == {"jester", "sthv1"}
    assert "NaN" not in file.read_text()
    json.loads(file.read_text())
    assert profiling.load_profiles(tmp_path / "none.json") == {}
    file.write_text("[]")
    with pytest.raises(ResultsError, match="no record of profiles"):
        profiling.save_profile(setup, fabric, tables, file)


def test_charts_of_a_profile(tables):
    figure = speed_plots.latencies(tables["inference"], "here").figure
    assert figure.get_supxlabel() == "here"
    assert figure.get_suptitle().startswith("With the shift a clip takes ")
    assert len(speed_plots.growth({"this row": tables["growth"]}, "here")) == 3
    seconds = tables["epoch"].groupby("network")["seconds"].sum()
    axes = speed_plots.epoch(tables["epoch"], "here")
    assert max(p.get_x() + p.get_width() for p in axes.patches) == pytest.approx(seconds.max())
    assert isinstance(tables["loading"], pd.DataFrame)
    assert len(speed_plots.loading(tables["loading"], "here").patches) == len(tables["loading"])


def test_the_command_line_says_what_is_wrong(capsys, tmp_path):
    for arguments, message in (
        (["sthv11"], "sthv11"), (["sthv1", "--scale", "huge"], "scale='huge'"),
        (["sthv1", "--data", "standin", "--device", "nonsense"], "device='nonsense'"),
    ):  # fmt: skip
        assert main(["profile", *arguments]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert message in line
    with pytest.raises(ConfigError):
        fabric_on("nonsense")


def test_the_command_line_prints_tables_and_writes_the_record(
    setup, tables, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr("tsmlib.engine.setup.resolve", lambda *a, **k: setup)
    monkeypatch.setattr(profiling, "profile", lambda *a: tables)
    out = tmp_path / "rows.json"
    arguments = ["sthv1", "--runtimes", "eager", "--seconds", "0.1", "--out", str(out)]
    assert main(["profile", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "standin data" in shown and "published speed" in shown and "backward" in shown
    assert list(profiling.load_profiles(out)) == ["sthv1"]


# --- accuracy -------------------------------------------------------------------------------------


def test_accuracy_with_options_is_beside_that_without(tmp_path, capsys, monkeypatch):
    """What computes the same numbers flips no prediction; the record says what was compared."""
    monkeypatch.setenv("TSM_CACHE", str(tmp_path / "cache"))
    row, out = tmp_path / "row.yaml", tmp_path / "options.json"
    row.write_text("base: jester\nstandin_clips: [24, 40]\nepochs: 1\neval_interval: 1\n")
    same = ["recompute", "frames kept (TSM_FRAME_CACHE)", "tested: auto"]
    arguments = [str(row), "--seeds", "0", "1", "--device", "cpu", "--out", str(out), "--only"]
    assert main(["options", *arguments, *same]) == 0
    record = json.loads(out.read_text())
    assert [line["option"] for line in record["options"]] == [options.PLAIN, *same]
    for line in record["options"]:
        assert line["difference"] == line["flips"] == 0 and line["seeds"] == 2
        assert line["low"] <= line["top1"] <= line["high"]
    assert main(["options", *arguments, "faster"]) == 1
    assert "there is no option faster; choose among bf16-mixed" in capsys.readouterr().err
