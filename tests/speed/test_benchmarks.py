"""Benchmarks: how turns are taken, what a ratio is, and that both sides compute the same."""

import gc
import json

import numpy as np
import pandas as pd
import pytest
import torch

from tsmlib.__main__ import main
from tsmlib.configs import ConfigError
from tsmlib.data.augmentation import fixed_crops, resize_short_side
from tsmlib.data.sampling import sample_indices
from tsmlib.models.recognizer import build_model, normalize
from tsmlib.models.shift import temporal_shift
from tsmlib.report import costs, speed_plots
from tsmlib.results import ResultsError
from tsmlib.speed import benchmark_paths, benchmarks, inference, published_style, workbench
from tsmlib.speed.benchmarks import BENCHMARKS, RATIOS
from tsmlib.speed.hardware import cpu_flags, fabric_on, record_file, slug, why_no_bf16
from tsmlib.speed.timing import MIN_ROUNDS, WARM_CALLS, Laps, interleave, quartiles, ratios
from tsmlib.speed.workbench import (
    QUICK,
    BenchmarkError,
    Workbench,
    enliven,
    grey_level_difference,
    relative_difference,
)

# --- taking turns ---------------------------------------------------------------------------------


class Paths:
    """Paths that take a known time, by a clock that only they move."""

    def __init__(self, seconds: dict[str, list[float]]):
        self.now, self.calls, self.left = 0.0, [], {k: list(v) for k, v in seconds.items()}

    def clock(self) -> float:
        return self.now

    def all(self) -> dict:
        return {name: lambda name=name: self.call(name) for name in self.left}

    def call(self, name: str) -> None:
        assert not gc.isenabled() or len(self.calls) < WARM_CALLS * len(self.left)
        self.calls.append(name)
        self.now += self.left[name].pop(0)


def times(*measured: float) -> list[float]:
    return [7.0] * WARM_CALLS + list(measured)


def test_paths_take_turns_there_and_back():
    paths = Paths({"a": times(1, 2, 3), "b": times(4, 5, 6), "c": times(1, 1, 1)})
    table = interleave(paths.all(), 3, clock=paths.clock)
    assert paths.calls[WARM_CALLS * 3 :] == [*"abc", *"cba", *"abc"]
    assert table.to_dict("list") == {"a": [1e3, 2e3, 3e3], "b": [4e3, 5e3, 6e3], "c": [1e3] * 3}
    assert table.attrs["first"] == {"a": 7, "b": 7, "c": 7}
    assert gc.isenabled()


def test_time_that_is_up_ends_the_rounds_but_not_too_early():
    paths = Paths({"a": times(*[2] * 30), "b": times(*[3] * 30)})
    assert len(interleave(paths.all(), 30, 40, clock=paths.clock)) == 9  # the ninth begins at 40
    paths = Paths({"a": times(*[2] * 30)})
    assert len(interleave(paths.all(), 30, 0, clock=paths.clock)) == MIN_ROUNDS
    paths = Paths({"a": times(*[2] * 30)})
    assert len(interleave(paths.all(), 2, 0, clock=paths.clock)) == 2


def test_the_device_is_waited_for_before_and_after():
    paths, waits = Paths({"a": times(1, 1)}), []

    def wait() -> None:
        waits.append(len(paths.calls))
        paths.now += 10 if len(paths.calls) % 2 else 0  # what is still under way counts

    table = interleave(paths.all(), 2, wait=wait, clock=paths.clock)
    assert table["a"].tolist() == [11e3, 1e3]
    assert waits[-4:] == [2, 3, 3, 4]


def test_an_error_ends_the_measurement_and_collection_goes_on():
    def fails() -> None:
        if not gc.isenabled():
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        interleave({"a": fails}, 3)
    assert gc.isenabled()


def test_a_ratio_is_of_each_round_then_median_and_quartiles():
    table = pd.DataFrame({"ours": [1.0, 4.0, 3.0, 8.0], "theirs": [2.0, 4.0, 1.0, 2.0]})
    # 0.5, 1, 3, 4: a quarter of the way from the second number down, and so on
    assert ratios(table, "ours", "theirs") == {
        "median": 2.0, "q25": 0.875, "q75": 3.25, "rounds": 4
    }  # fmt: skip
    assert ratios(table, "theirs", "ours")["median"] == pytest.approx((1 + 1 / 3) / 2, abs=1e-5)
    random = np.random.default_rng(0).random(11)
    ordered = np.sort(random)
    found = quartiles(random)
    assert found["median"] == pytest.approx(ordered[5], abs=1e-5)
    assert found["q25"] == pytest.approx((ordered[2] + ordered[3]) / 2, abs=1e-5)
    assert found["q75"] == pytest.approx((ordered[7] + ordered[8]) / 2, abs=1e-5)


def test_laps_add_up_by_part():
    now = 0.0

    def after(seconds: float, part: str) -> None:
        nonlocal now
        now += seconds
        laps(part)

    laps = Laps(clock=lambda: now)
    after(5, "settling")
    laps.reset()
    for _ in range(3):
        after(1, "load")
        after(2, "step")
    assert laps.seconds == {"load": 3, "step": 6}


def test_growth_is_of_each_round_over_its_own_start():
    table = pd.DataFrame({"clips 1x": [1.0, 2.0, 3.0], "clips 2x": [2.0, 6.0, 6.0],
                          "views 1x": [1.0, 1.0, 1.0]})  # fmt: skip
    found = inference.growth_table(table)
    assert found["of"].tolist() == ["clips", "clips", "views"]
    assert found["times"].tolist() == [1, 2, 1] and found["over"].tolist() == [1, 2, 1]
    assert found["over_q75"].tolist() == [1, 2.5, 1] and found["ms"].tolist() == [2, 6, 1]


# --- the device -----------------------------------------------------------------------------------


def test_names_of_devices_become_names_of_files():
    assert slug("Intel(R) Xeon(R) CPU @ 2.20GHz, 2 cores") == "intel-xeon-cpu-2-20ghz-2-cores"
    assert slug("NVIDIA H200") == "nvidia-h200"


def test_bf16_is_a_matter_of_instructions(tmp_path):
    (tmp_path / "cpuinfo").write_text("model name : x\nflags\t\t: fpu avx2 avx512f\n" * 2)
    flags = cpu_flags(tmp_path / "cpuinfo")
    assert flags == ["avx2", "avx512f"] and cpu_flags(tmp_path / "none") == []
    cpu = torch.device("cpu")
    assert "avx512_bf16" in why_no_bf16(cpu, flags)
    assert why_no_bf16(cpu, ["avx512_bf16"]) == why_no_bf16(cpu, ["amx_bf16"]) == ""


def test_a_device_that_is_not_there_is_a_sentence():
    with pytest.raises(ConfigError, match="choose device=auto or cpu"):
        fabric_on("nonsense")


# --- the published rendering ----------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path) -> Workbench:
    return Workbench(QUICK, fabric_on("cpu"), tmp_path)


@pytest.mark.parametrize("shift_div", [3, 4, 8])
def test_the_plain_shift_is_the_shift(shift_div):
    x = torch.randn(2 * 5, 13, 3, 4)
    assert torch.equal(published_style.shift(x, 5, shift_div), temporal_shift(x, 5, shift_div))


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_the_plain_network_computes_the_same(backbone, bench):
    cfg = bench.cfg(backbone=backbone, num_classes=7)
    torch.manual_seed(0)
    model = build_model(cfg)
    clips = torch.randn(2, QUICK.segments, 3, 48, 48)
    enliven(model, clips)
    theirs = published_style.PublishedTSM(backbone, model.state_dict(), QUICK.segments).eval()
    flat = published_style.PublishedTSM(backbone, model.state_dict(), QUICK.segments, 0).eval()
    with torch.inference_mode():
        expected = model.eval()(clips)
        assert relative_difference(theirs(clips), expected) < 1e-5
        assert relative_difference(flat(clips), expected) > 0.05


def test_enlivened_networks_are_fit_for_their_inputs_and_not_trivial(bench):
    model = build_model(bench.cfg())
    model.load_state_dict(bench.weights)
    logits = model.eval()(torch.randn(4, QUICK.segments, 3, QUICK.size, QUICK.size))
    assert 0.01 < logits.std() < 100 and logits.isfinite().all()
    norm = model.layer3[0].bn1
    for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert value.std() > 0.01


def test_plain_sampling_is_the_sampling():
    for n in (3, 8, 17, 40, 300):
        middles, starts = sample_indices(n, 8, clips=2, twice_sample=True)
        assert published_style.segment_middles(n, 8) == middles.tolist()
        assert published_style.segment_starts(n, 8) == starts.tolist()


@pytest.mark.parametrize("size", [(60, 80), (80, 60), (72, 97), (120, 90)])
def test_plain_resize_is_the_resize(size):
    frame = published_style.draw_scene(1, *size)[0]
    ours = resize_short_side(torch.from_numpy(frame).permute(2, 0, 1)[None], 72)
    theirs = torch.from_numpy(published_style.resize(frame, 72)).permute(2, 0, 1)[None]
    assert theirs.shape == ours.shape
    assert (theirs.int() - ours.int()).abs().max() <= 1


def test_plain_normalisation_is_the_normalisation():
    frames = published_style.draw_scene(3, 40, 56)
    ours = normalize(torch.from_numpy(frames).permute(0, 3, 1, 2))
    assert torch.allclose(published_style.make_batch(list(frames)), ours, atol=1e-6)


def test_plain_views_are_the_views(bench):
    file = bench.folder / "x.mp4"
    published_style.write_h264(file, published_style.draw_scene(20, 64, 80), 6)
    size = bench.sizes.short_side
    found = published_style.accurate_views(file, 4, size)
    indices = sample_indices(20, 4, clips=2, twice_sample=True).flatten().tolist()
    frames = np.stack(published_style.decode_video(file, lambda n: indices))
    expected = normalize(fixed_crops(frames, bench.cfg(), 3, size)).flatten(0, 1)
    assert found.shape == (6 * 4, 3, size, size)
    assert grey_level_difference(found, expected) < 1.01


def test_videos_have_groups_of_pictures_with_b_frames(tmp_path):
    import av
    from av.video.frame import PictureType

    scene = published_style.draw_scene(30, 64, 80)
    for gop in (12, 250):
        published_style.write_h264(tmp_path / "x.mp4", scene, gop)
        with av.open(str(tmp_path / "x.mp4")) as container:
            kinds = [PictureType(frame.pict_type).name for frame in container.decode(video=0)]
        assert len(kinds) == 30 and "B" in kinds
        assert [i for i, kind in enumerate(kinds) if kind == "I"] == list(range(0, 30, gop))


def test_training_steps_agree_and_are_measured_from_the_same_weights(bench):
    paths = benchmark_paths.training(bench)
    assert list(paths) == ["2-D", "ours", "published"]
    assert bench.differences["training: loss of step 2"] < 1e-3


# --- what must not pass ---------------------------------------------------------------------------


class OtherShift(Workbench):
    """Renders the published network with twice as many shifted channels."""

    def published(self, shift_div: int = 8) -> published_style.PublishedTSM:
        return super().published(shift_div // 2)


def test_another_function_is_not_compared(bench):
    bench = OtherShift(bench.sizes, bench.fabric, bench.folder)
    with pytest.raises(BenchmarkError, match="cannot be compared"):
        benchmark_paths.shift(bench)


def test_other_pixels_are_not_compared(bench):
    def brighter(*args) -> torch.Tensor:
        return published_style.video_clip(*args) + 2 / 58  # two grey levels

    with pytest.raises(BenchmarkError, match="video_gop12: grey levels"):
        benchmark_paths.video(bench, 12, brighter)


def test_other_views_are_not_compared(bench):
    found = benchmark_paths.evaluate(bench)["published"]()
    assert found[0] == 50  # of two videos one is right

    def other_views(*args) -> torch.Tensor:
        return published_style.accurate_views(*args).flip(1) * 3

    with pytest.raises(BenchmarkError, match="evaluate: ours.*, scores"):
        benchmark_paths.evaluate(bench, other_views)


def test_not_a_number_is_not_compared(bench):
    with pytest.raises(BenchmarkError):
        bench.check_agreement("x", float("nan"), 1)


# --- records --------------------------------------------------------------------------------------


# streams of ResNet-50 take the same paths as those of MobileNetV2
QUICKLY = [name for name in RATIOS if not name.startswith("online_") or "resnet50" not in name]


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("benchmarks") / "quick.json"
    chosen = ["--only", *QUICKLY]
    assert main(["bench", "--quick", "--device", "cpu", "--out", str(out), *chosen]) == 0
    return json.loads(out.read_text())


def test_a_quick_run_gives_a_whole_record(record):
    left_out = ["inference_bf16", "evaluate_bf16"] if why_no_bf16(torch.device("cpu")) else []
    assert list(record["left_out"]) == left_out
    assert record["ratios"].keys() == set(QUICKLY) - set(left_out)
    for name, one in record["ratios"].items():
        assert one.keys() == {"median", "q25", "q75", "rounds"}
        assert 0 < one["q25"] <= one["median"] <= one["q75"] and one["rounds"] >= 2
        benchmark, of, over, _ = RATIOS[name]
        raw = record["milliseconds"][benchmark]
        again = np.median(np.divide(raw[of], raw[over]))
        assert again == pytest.approx(one["median"], rel=0.02)
    for key in ("device", "cores", "threads", "cpu_flags", "commit", "date", "versions",
                "differences", "published_style", "runtimes", "seconds_to_optimize",
                "seconds_of_first_calls", "loader_processes"):  # fmt: skip
        assert key in record
    assert record["plan"]["backbone"] == "resnet18" and record["versions"]["torch"]


def test_what_is_compared_is_measured_side_by_side(record):
    for name in QUICKLY:
        benchmark, of, over, _ = RATIOS[name]
        order = list(record["milliseconds"][benchmark])
        if benchmark not in ("growth", "rows", "arms") and of in order:
            assert abs(order.index(of) - order.index(over)) == 1, name


def test_the_summary_says_what_was_asked_for_and_met(record, tmp_path):
    record = {**record, "ratios": {
        "evaluate": {"median": 0.62, "q25": 0.6, "q75": 0.7, "rounds": 3},
        "train_step": {"median": 0.86, "q25": 0.8, "q75": 0.9, "rounds": 3},
        "published_shift_eager": {"median": 1.2, "q25": 1.1, "q75": 1.3, "rounds": 3},
    }}  # fmt: skip
    table = benchmarks.ratio_table(record)
    assert table["met"].tolist() == ["yes", "no", ""]
    assert table.loc["evaluate", "of / over"] == "ours / published"
    assert len(benchmarks.ratio_table({**record, "ratios": {}})) == 0
    axes = speed_plots.ratios(table, benchmarks.describe_record(record))
    assert "resnet18, 4 frames of 48 pixels" in axes.figure.get_supxlabel()
    assert axes.figure.get_suptitle() == "1 of 2 ratios keep their limit"


def test_the_newest_record_is_found(record, tmp_path, monkeypatch):
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    (tmp_path / "benchmarks").mkdir()
    for name, date in (("a", "2026-01-02"), ("b", "2026-01-03"), ("c", "2026-01-01")):
        content = json.dumps({**record, "date": date})
        (tmp_path / f"benchmarks/{name}.json").write_text(content)
    (tmp_path / "benchmarks/a-rows.json").write_text("{}")  # of profiles
    assert benchmarks.newest_record()["date"] == "2026-01-03"
    ratios = {"online_over_2d_mobilenetv2": record["ratios"]["online_over_2d_mobilenetv2"]}
    content = json.dumps({**record, "date": "2026-01-04", "ratios": ratios})
    (tmp_path / "benchmarks/a-online.json").write_text(content)  # a part
    assert benchmarks.newest_record()["date"] == "2026-01-03"
    assert benchmarks.newest_record("online_over_2d_mobilenetv2")["date"] == "2026-01-04"


@pytest.mark.parametrize("measured", [True, False])
def test_accuracy_beside_cost(record, measured):
    """Every network of the tables and of the study has a time; without a benchmark, none has."""
    bench = record if measured else None
    rows, arms = costs.costs_of_rows(bench), costs.costs_of_arms(bench)
    assert rows["ms"].notna().all() == arms["ms"].notna().all() == measured
    assert rows["macs"].nunique() >= 7 and len(arms) == 9
    axes = speed_plots.accuracy_and_cost(rows, arms, ["rows", "arms", "here"])
    assert [ax.get_xlabel() for ax in axes[:, 1]] == ["ms of a clip, measured: here"] * 2
    texts = [text.get_text() for text in axes[0, 1].texts]
    assert texts == ([] if measured else ["not measured yet"])


def test_latencies_of_steps(record):
    table = benchmarks.step_latencies(record)
    assert len(table) == 5 + 3
    values = record["milliseconds"]["online_mobilenetv2"]["stream"]
    p50, p95, p99, frames = table.loc["online_mobilenetv2: stream"]
    assert (p50, frames) == (np.median(values), len(values)) and p50 <= p95 <= p99 <= max(values)
    assert len(benchmarks.step_latencies({"milliseconds": {"growth": {"clips 1x": [1]}}})) == 0


def test_growth_of_a_record_is_drawn(record):
    table = benchmarks.recorded_growth(record)
    assert table["times"].tolist() == [1, 2, 4] * 3
    axes = speed_plots.growth({"this row": table, "full size": table}, "here")
    assert [ax.get_xlabel() for ax in axes] == ["clips", "views", "segments"]


def test_without_bf16_it_is_left_out_with_the_reason(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(workbench, "why_no_bf16", lambda device: "no bf16 in this test")
    out = tmp_path / "record.json"
    assert main(["bench", "--quick", "--only", "inference_bf16", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["left_out"] == {"inference_bf16": "no bf16 in this test"}
    assert found["ratios"] == {} and list(found["milliseconds"]) == ["inference"]
    assert "no bf16 in this test" in capsys.readouterr().out


def test_bad_input_is_a_sentence(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    assert main(["bench", "--only", "speed_of_light"]) == 1
    assert "there is no ratio 'speed_of_light'; " in capsys.readouterr().err
    assert main(["bench", "--device", "nonsense", "--only", "jpeg_folder"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    fabric = fabric_on("cpu")
    file = record_file(fabric)
    assert benchmarks.read_record(file) is None and benchmarks.newest_record() is None
    file.parent.mkdir()
    file.write_text("{")
    with pytest.raises(ResultsError, match="damaged"):
        benchmarks.read_record(file)


def test_every_target_of_the_issue_is_there():
    targets = {
        "shift_eager": 1.05, "shift_optimized": 1.06, "shift_train": 1.05,
        "online_over_2d_mobilenetv2": 1.05, "online_over_2d_resnet50": 1.05,
        "online_onnx_over_eager_mobilenetv2": 0.40, "online_over_window_mobilenetv2": 0.166,
        "inference_fp32": 0.60, "inference_bf16": 0.32, "train_step": 0.85, "video_gop12": 0.55,
        "video_gop250": 0.70, "jpeg_folder": 0.60, "evaluate": 0.62, "evaluate_bf16": 0.45,
        "detector_over_2d": 1.05,
    }  # fmt: skip
    assert {k: RATIOS[k].target for k in targets} == targets
    assert {ratio.benchmark for ratio in RATIOS.values()} == set(BENCHMARKS)
