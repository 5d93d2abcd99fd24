"""Real video through the real notebook: `make real-check` (needs the shared folder of real clips).

1. train.ipynb trains MobileNetV2 from ImageNet weights on 8 real actions, and on the 3 of them
   that only the order of frames tells apart, with and without shift.
2. Every benchmark clip (Kinetics, UCF101, HMDB51 originals) is sampled, decoded and classified
   by an untrained model.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import yaml

from tsmlib.configs import get_config
from tsmlib.data.augmentation import preprocess
from tsmlib.data.list_lines import VIDEO_SUFFIXES
from tsmlib.data.sampling import sample_indices
from tsmlib.data.video import VideoFile
from tsmlib.intervals import wilson_interval
from tsmlib.models.recognizer import build_model, normalize

HOME = Path(__file__).resolve().parent.parent
RECIPE = {  # for a hundred clips: adaptive steps, a smooth schedule, half the resolution
    "base": "k400", "backbone": "mobilenetv2", "optimizer": "adamw", "lr": 5e-4,
    "schedule": "cosine", "fc_lr5": False, "batch_size": 8, "videos_per_device": 8, "flip": 0.5,
    "short_side": 128, "crop_size": 112, "val_crop_size": 112, "test_crop_size": 112,
}  # fmt: skip
TASKS = {"actions8": ("train.txt", "val.txt", "classes.txt", 8),
         "order3": ("train_order3.txt", "val_order3.txt", "classes_order3.txt", 3)}  # fmt: skip


def write_yaml(folder: Path, shared: Path, task: str, epochs: int) -> Path:
    train_list, val_list, names, classes = TASKS[task]
    fields = {
        **RECIPE, "data_root": str(shared / "data" / "overhead_actions"),
        "train_list": train_list, "val_list": val_list, "class_names": names,
        "num_classes": classes, "epochs": epochs, "eval_interval": epochs,
        "pretrain": str(shared / "weights" / "mobilenet_v2_features.pth"),
    }  # fmt: skip
    path = folder / f"{task}.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def train(folder: Path, config: Path, seed: int, is_shift: bool) -> dict:
    """The record of a run of train.ipynb."""
    run = folder / f"{config.stem}-{seed}-{is_shift}"
    command = [
        sys.executable, "-m", "papermill", str(HOME / "notebooks" / "train.ipynb"),
        str(run.with_suffix(".ipynb")), "-k", "python3", "--no-progress-bar",
        "-p", "cfg", str(config), "-p", "seed", str(seed), "-p", "is_shift", str(is_shift),
        "-p", "work_dir", str(run),
    ]  # fmt: skip
    subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
    return json.loads((run / "metrics.json").read_text())


def check_training(shared: Path, seeds: list[int], epochs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        for task in TASKS:
            config = write_yaml(Path(name), shared, task, epochs)
            for is_shift in (True, False):
                for seed in seeds:
                    record = train(Path(name), config, seed, is_shift)
                    low, high = wilson_interval(record["top1"], record["num_videos"])
                    right = round(record["top1"] * record["num_videos"] / 100)
                    print(
                        f"{task:9} {'with' if is_shift else 'without':7} shift, seed {seed}: "
                        f"{right}/{record['num_videos']} right = {record['top1']:.1f} % "
                        f"(95 % interval {low:.0f} to {high:.0f}), "
                        f"{record['training_seconds']:.0f} s",
                        flush=True,
                    )


@torch.inference_mode()
def check_clips(shared: Path) -> int:
    """Decode and classify every benchmark clip; the number of clips."""
    cfg = get_config("k400", pretrain="none")
    model = build_model(cfg).eval()
    files = sorted((shared / "data" / "benchmark_clips").rglob("*"))
    files = [f for f in files if f.suffix in VIDEO_SUFFIXES]
    for file in files:
        video = VideoFile(file)
        index = sample_indices(video.num_frames, cfg.num_segments)[0]
        frames = video.frames(index.tolist())
        logits = model(normalize(preprocess(frames, cfg, "test")))
        assert logits.shape == (1, 400) and logits.isfinite().all(), file
        size = f"{frames.shape[2]}x{frames.shape[1]}"
        print(f"{file.parent.name}/{file.name}: {video.num_frames} frames, {size}, decoded")
    return len(files)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    shared = options.shared.resolve()
    if not (shared / "data" / "overhead_actions").is_dir():
        print(f"there are no real clips in {shared}: make real-check shared=FOLDER")
        return 1
    print(f"{check_clips(shared)} benchmark clips sampled, decoded and classified")
    check_training(shared, options.seeds, options.epochs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
