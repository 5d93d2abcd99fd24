"""Annotations of ImageNet VID and DET: one XML file per picture, read as boxes for a detector."""

from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
import torch
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse
from torch import Tensor

from ..data.annotations import DataError
from ..data.list_lines import MAX_FRAMES
from ..data.video import explain_error

Target = dict[str, Tensor]  # boxes [K, 4], labels [K], track_ids [K]

# WordNet id and name of the 30 classes, in the order of their official numbers
VID_CLASSES = {
    "n02691156": "airplane", "n02419796": "antelope", "n02131653": "bear",
    "n02834778": "bicycle", "n01503061": "bird", "n02924116": "bus",
    "n02958343": "car", "n02402425": "cattle", "n02084071": "dog",
    "n02121808": "domestic_cat", "n02503517": "elephant", "n02118333": "fox",
    "n02510455": "giant_panda", "n02342885": "hamster", "n02374451": "horse",
    "n02129165": "lion", "n01674464": "lizard", "n02484322": "monkey",
    "n03790512": "motorcycle", "n02324045": "rabbit", "n02509815": "red_panda",
    "n02411705": "sheep", "n01726692": "snake", "n02355227": "squirrel",
    "n02129604": "tiger", "n04468005": "train", "n01662784": "turtle",
    "n04530566": "watercraft", "n02062744": "whale", "n02391049": "zebra",
}  # fmt: skip


def read_annotation(
    file: Path, classes: Mapping[str, str], skip_others: bool = False
) -> tuple[tuple[int, int], Target]:
    """Read the objects of one picture.

    The files name the first and the last pixel of a box, counted from 0. Here a box ends where
    that pixel ends, one further, so that a plain IoU is the one of the official evaluation. Boxes
    that jut out of the picture are cut at its edge, as FGFA does (lib/dataset/imagenet_vid.py).

    Args:
        file: the XML file.
        classes: names by WordNet id; an object's label is the number of its class, from 1.
        skip_others: leave out objects of other classes, which DET has.

    Returns:
        (height, width) of the picture, and its objects: `boxes` float `[K, 4]` (xyxy in pixels),
        `labels` and `track_ids` int64 `[K]`. Where there are no tracks, as in DET, they are -1.

    Raises:
        DataError: no such file, cut or hostile XML, an unknown class, a box without area, two
            objects of one track.
    """
    root = _parse(file)
    width, height = (_whole_number(root, f"size/{side}", file) for side in ("width", "height"))
    numbers = {wordnet_id: i for i, wordnet_id in enumerate(classes, 1)}
    boxes, labels, track_ids = [], [], []
    for position, item in enumerate(root.iterfind("object"), 1):
        wordnet_id, where = item.findtext("name", "").strip(), f"{file}: object {position}"
        if wordnet_id not in numbers:
            if skip_others:
                continue
            raise DataError(f"{where} is of class {wordnet_id!r}, none of the {len(classes)} known")
        boxes.append(_box(item, where, height, width))
        labels.append(numbers[wordnet_id])
        has_track = item.find("trackid") is not None
        track_ids.append(_whole_number(item, "trackid", where) if has_track else -1)
    if not skip_others and len({*track_ids}) < len(track_ids):
        twice = next(track for i, track in enumerate(track_ids) if track in track_ids[:i])
        problem = "without a <trackid>" if twice == -1 else f"of track {twice}"
        raise DataError(f"{file} has two objects {problem}: in a video each has one of its own")
    target = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "track_ids": torch.tensor(track_ids, dtype=torch.int64),
    }
    return (height, width), target


def _parse(file: Path) -> Element:
    """Parse a file that may be hostile: no document types, no entities, nothing from outside."""
    try:
        return parse(file, forbid_dtd=True).getroot()
    except FileNotFoundError:
        raise DataError(f"{file} is missing: every frame needs an annotation") from None
    except ParseError as error:
        raise DataError(f"{file} is not whole XML ({error}): unpack it again") from None
    except DefusedXmlException:
        raise DataError(
            f"{file} is refused: it has a document type, as annotations never do"
        ) from None
    except (OSError, LookupError, ValueError) as error:  # the latter two of its encoding
        raise DataError(f"{file} cannot be read: {explain_error(error)}") from None


def _box(item: Element, where: str, height: int, width: int) -> list[float]:
    edges = [_number(item, f"bndbox/{edge}", where) for edge in ("xmin", "ymin", "xmax", "ymax")]
    x1, y1, x2, y2 = edges
    x1, x2 = np.clip((x1, x2 + 1), 0, width).tolist()
    y1, y2 = np.clip((y1, y2 + 1), 0, height).tolist()
    if x1 < x2 and y1 < y2:
        return [x1, y1, x2, y2]
    given = ", ".join(f"{edge:g}" for edge in edges)
    raise DataError(f"{where} has no area inside its picture of {width} x {height}: box ({given})")


def _whole_number(item: Element, path: str, where: str | Path) -> int:
    number = _number(item, path, where)
    if number.is_integer() and abs(number) <= MAX_FRAMES:
        return int(number)
    raise DataError(
        f"{where}: <{path}> is {item.findtext(path)!r}, not a whole number to {MAX_FRAMES}"
    )


def _number(item: Element, path: str, where: str | Path) -> float:
    text = item.findtext(path)
    try:
        number = float(text)
        if np.isfinite(number):
            return number
    except (TypeError, ValueError):
        pass
    raise DataError(f"{where}: <{path}> is {text!r}, not a number")
