"""Write weights as a folder for a model hub: safetensors, the configuration, and a model card.

`python -m tsmlib export last.pth FOLDER --to hub`; the folder is then named wherever weights are.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from ..configs import Config, class_names, to_dict, views
from ..engine.stored_checkpoints import FACTS, stated_config
from ..models.checkpoint_files import (
    SAFETENSORS,
    CheckpointError,
    local_file,
    read_checkpoint,
    safetensors_bytes,
    state_sha256,
)
from ..models.checkpoints import saved_epoch
from ..models.recognizer import load_model
from ..results import ResultsError, read_record, results_folder, write_atomic

MARK = "library_name: tsmlib"  # in the card of an export
RECIPE = (
    "backbone", "width", "depth", "num_segments", "is_shift", "shift_div", "shift_place",
    "shift_direction", "shift_padding", "temporal_pool", "non_local", "dropout", "pretrain",
    "epochs", "batch_size", "videos_per_device", "lr", "schedule", "optimizer", "weight_decay",
    "clip_grad", "partial_bn", "class_weights", "balanced_sampling", "blending", "augmentation",
    "flip",
)  # fmt: skip
OWN_DATA = """DATA.yaml names a test list and its classes, as docs/own-videos.md of tsmlib says.

"""
PREPROCESSING = (
    "sampling", "eval_sampling", "num_segments", "short_side", "crop_size", "test_crop_size",
)  # fmt: skip


def export_to_hub(weights: str | Path, folder: str | Path, licence: str = "other") -> Path:
    """Write `model.safetensors`, `config.json` and `README.md`, the model card.

    Args:
        weights: a checkpoint of a run.
        folder: where to; an earlier export there is replaced.
        licence: of the weights, as the hub names licences; `other`: its owner has named none.

    Raises:
        CheckpointError: the file is no checkpoint of a run of tsmlib.
        ResultsError: the folder holds other files of these names, or cannot be written.
    """
    folder = Path(folder)
    _check_free(folder)
    file = local_file(weights)
    content = read_checkpoint(file)
    cfg = stated_config(content, file)
    if cfg is None:
        raise CheckpointError(f"{file} is no checkpoint of a run of tsmlib: it names no row")
    load_model(cfg, content, file)  # weights that do not fit are not written
    cfg = _without_paths(cfg)
    facts = {name: content[name] for name in FACTS if name in content}
    facts |= {"config": to_dict(cfg), "epoch": saved_epoch(content)}
    records = find_records(file, content)
    write_atomic(folder / SAFETENSORS, safetensors_bytes(content["model"], facts))
    write_atomic(folder / "config.json", json.dumps(to_dict(cfg), indent=1) + "\n")
    write_atomic(folder / "README.md", model_card(cfg, facts, records, licence))
    return folder


def _check_free(folder: Path) -> None:
    """Check that no file of something else would be replaced."""
    if folder.exists() and not folder.is_dir():
        raise ResultsError(f"{folder} is a file: name a folder for the model and its card")
    card = folder / "README.md"
    names = (SAFETENSORS, "config.json", card.name)
    there = [name for name in names if (folder / name).exists()]
    own = card.is_file() and MARK.encode() in card.read_bytes()
    if there and not own:
        raise ResultsError(
            f"{folder} holds {', '.join(there)} of something else, which an export would replace: "
            "name another folder"
        )


def find_records(file: Path, content: dict[str, Any]) -> list[dict[str, Any]]:
    """Find the records of weights: of their run, if they are its last ones, and of evaluations."""
    digest = state_sha256(content["model"])[:8]
    folders = [file.parent] if file.name == "last.pth" else []
    name = content["config"].get("name", "")
    folders += sorted(path.parent for path in results_folder().glob(f"local/{name}/*/metrics.json"))
    found = []
    for folder in dict.fromkeys(folders):
        try:
            record = read_record(folder)
        except ResultsError:  # none, or damaged
            continue
        own = folder == file.parent and record.get("kind") == "training"
        if own or record.get("weights") == digest:
            found.append(record)
    return found


def model_card(
    cfg: Config, facts: dict[str, Any], records: list[dict[str, Any]], licence: str
) -> str:
    """Write the model card: use, accuracy, classes, recipe, data, preprocessing and licence."""
    num_views = views(cfg, "published")
    names = json.dumps(class_names(cfg), ensure_ascii=False, indent=1)
    own = cfg.dataset == "custom"
    dataset = f"own videos, `{cfg.name}`" if own else cfg.dataset
    data = f"The training list `{Path(cfg.train_list or '').name}` of {dataset}."
    if facts.get("data") == "standin":
        data = "**Generated clips**, which stand in for the data set: of no use on real videos."
    terms = "" if licence != "other" else "Whoever trained these weights has named no licence. "
    return f"""---
{MARK}
pipeline_tag: video-classification
license: {json.dumps(licence, ensure_ascii=False)}
tags: [video-classification, action-recognition, temporal-shift-module]
---
# {cfg.name}: a Temporal Shift Module for video classification

Run `{facts.get("run")}`: epoch {facts.get("epoch")}, {facts.get("scale")} scale.

```
python -m tsmlib predict clip.mp4 --weights FOLDER
python -m tsmlib evaluate {"DATA.yaml" if own else cfg.name} --checkpoint FOLDER
```

{OWN_DATA if own else ""}## Accuracy

{_accuracy_table(records)}

## Data

{data} The terms of that data set hold for what was learnt from it.

## Recipe

{_field_table(cfg, RECIPE)}

## Preprocessing

RGB frames, resized and cropped as below, scaled to 0-255 and normalised with ImageNet's mean
(123.675, 116.28, 103.53) and deviation (58.395, 57.12, 57.375). Scores are averaged over
{num_views["clips"]} clips and {num_views["crops"]} crops of {num_views["size"]} pixels.

{_field_table(cfg, PREPROCESSING)}

## Classes

In the order of the outputs:

```json
{names}
```

## Licence

{terms}The code, tsmlib, is under Apache-2.0. The method is that of Lin, Gan and Han,
"TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019.
"""


def _accuracy_table(records: list[dict[str, Any]]) -> str:
    if not records:
        return "Not measured: no record of these weights was found."
    columns = ("data", "test list", "protocol", "videos", "of these trained on", "top-1 %",
               "top-5 %", "mean class %", "code")  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for record in records:
        data = "generated clips" if record["data"] == "standin" else "real"
        values = (f"{record[key]:.2f}" for key in ("top1", "top5", "mean_class_accuracy"))
        listed = record.get("val_list_sha256", "")[:8]
        tested = [listed, record["protocol"], record["num_videos"]]
        seen = record.get("num_trained_on")
        tested.append("" if seen is None else seen)
        cells = [data, *tested, *values, record.get("commit", "")]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _field_table(cfg: Config, names: tuple[str, ...]) -> str:
    rows = [f"| `{name}` | {getattr(cfg, name)} |" for name in names]
    return "\n".join(["| field | value |", "|---|---|", *rows])


def _without_paths(cfg: Config) -> Config:
    """Leave out where data and weights lay on the machine of the run."""
    pretrain = Path(cfg.pretrain).name if Path(cfg.pretrain).is_absolute() else cfg.pretrain
    return dataclasses.replace(cfg, data_root=None, pretrain=pretrain)
