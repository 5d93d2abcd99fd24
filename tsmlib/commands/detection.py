"""Commands for object detection in video.

Packages are imported inside the functions: help and misspelt options need no torch.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..configs import ConfigError
from ..detection.recipes import OPTIONS_OF_TESTS, OPTIONS_OF_TRAININGS, get_recipe
from ..paths import display_path
from ..text import to_terminal
from .files import check_different_files
from .rows import Changes, check_options, options_of, parse_changes, print_record

ROOT = "root of ImageNet VID (default: ILSVRC2015 in TSM_DATA)."
TrainingOptions = options_of(
    OPTIONS_OF_TRAININGS, data_root=ROOT, seed="of weights, order and mirroring (default: 0)."
)
TestOptions = options_of(
    OPTIONS_OF_TESTS, data_root=ROOT, work_dir="folder to write a record to (default: none)."
)
Source = Annotated[str, Parameter(allow_leading_hyphen=True)]  # `-` is stdin
Weights = Annotated[str, Parameter(help="checkpoint of a detector, or coco: torchvision's weights")]


def detect(
    source: Source,
    /,
    *,
    weights: Weights,
    threshold: float = 0.5,
    csv: Path | None = None,
    coco: Path | None = None,
    video: Path | None = None,
    device: str = "auto",
) -> None:
    """Detect objects in a video, frame by frame as they come.

    Args:
        source: a video file, or any other source of `tsm online`.
        threshold: smallest score of a detection.
        csv: table to write, one row per object.
        coco: JSON file to write, in COCO's form.
        video: file.mp4 to write, with the boxes drawn into the frames.
        device: auto, cpu, cuda or mps.
    """
    outputs = {"--csv": csv, "--coco": coco, "--video": video}
    if not any(outputs.values()):
        raise ConfigError("nothing would be written: name a file by --csv, --coco or --video")
    if not 0 <= threshold <= 1:
        raise ConfigError(f"--threshold {threshold} must lie between 0 and 1")
    check_different_files({"the source": source, "--weights": weights, **outputs})
    from ..detection.detector_weights import load_detector
    from ..detection.play import detect_frames
    from ..engine.devices import make_fabric
    from ..online.sources import find_input, open_source
    from ..progress import Progress

    logging.getLogger("tsmlib").setLevel(logging.INFO)
    find_input(source)  # a source that is not there ends it here
    detector, cfg = load_detector(weights)
    detector = make_fabric(device).to_device(detector)
    objects, names = Counter(), cfg.class_names
    with ExitStack() as stack, Progress("detecting", None, "frames") as progress:
        writers = _detection_writers(csv, coco, video, names)
        for writer in writers:
            stack.enter_context(closing(writer))
        opened = stack.enter_context(open_source(source))
        for answer in detect_frames(detector, opened, threshold):
            objects.update(answer.detections["labels"].tolist())
            for writer in writers:
                writer.write(answer)
            progress.advance()
    dropped = f", {opened.dropped} dropped" if opened.dropped else ""
    counts = [f"{names[label - 1]} {count}" for label, count in objects.most_common()]
    counted = " ".join(", ".join(counts).split()) or "none"  # on one line
    print(to_terminal(f"{progress.done:.0f} frames{dropped}; objects in them: {counted}"))
    for file in filter(None, outputs.values()):
        print(f"written to {display_path(file)}")


def _detection_writers(
    csv: Path | None, coco: Path | None, video: Path | None, names: Sequence[str]
) -> list:
    from ..detection.drawing import draw_detections
    from ..detection.writers import CocoJson, DetectionCsv
    from ..online.writers import VideoWriter

    def draw(picture, answer):
        return draw_detections(picture, answer.detections, names)

    return [
        *([DetectionCsv(csv, names)] if csv else []),
        *([CocoJson(coco, names)] if coco else []),
        *([VideoWriter(video, draw)] if video else []),
    ]


def train_detector(
    recipe: str, /, *, changes: Changes = None, options: TrainingOptions = None
) -> None:
    """Train a detector with the one-way shift; the same command continues an interrupted run.

    `--set is_shift=false` trains the 2-D detector. `vid_r101` at full scale was never run.

    Args:
        recipe: vid_r101.
    """
    options = check_options(options, OPTIONS_OF_TRAININGS, "detectors are trained")
    cfg = get_recipe(recipe, **parse_changes(changes))
    from ..detection import train_detector as training

    logging.getLogger("tsmlib").setLevel(logging.INFO)
    record = training.train_detector(cfg, options)
    print_record(record, "cfg", "data", "scale", "map50", "num_videos", "run_dir")


def evaluate_detector(*, weights: Weights, options: TestOptions = None) -> None:
    """Measure the mean average precision of a detector, frame by frame."""
    options = check_options(options, OPTIONS_OF_TESTS, "a detector is tested")
    from ..detection import evaluate_detector as evaluation

    logging.getLogger("tsmlib").setLevel(logging.INFO)
    record = evaluation.evaluate_detector(weights, options)
    print_record(record, "cfg", "data", "map50", "num_videos", "num_frames")
