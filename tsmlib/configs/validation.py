"""Checks of a configuration: names, types and ranges, and values that exclude each other."""

import math
import re
import string
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any, Literal

from ..text import name_closest
from .backbones import BACKBONES
from .datasets import DATASETS
from .errors import ConfigError
from .shift_options import DIRECTIONS, PADDINGS

# fields whose values are the entries of a registry
REGISTRIES: dict[str, Collection[str]] = {
    "backbone": BACKBONES,
    "dataset": DATASETS,
    "shift_direction": DIRECTIONS,
    "shift_padding": PADDINGS,
}
AT_LEAST_ONE = (
    "num_classes", "num_segments", "shift_div", "short_side", "crop_size", "val_crop_size",
    "test_crop_size", "batch_size", "videos_per_device", "epochs", "eval_interval",
)  # fmt: skip
LARGEST_RATE = 1e36  # fp32 ends at 3.4e38, and rates are multiplied by the batch
LARGEST = 2**31 - 1  # of whole numbers; of those that size a clip LARGEST_CLIP
LARGEST_CLIP = dict.fromkeys(
    ("num_segments", "short_side", "crop_size", "val_crop_size", "test_crop_size"), 2**14
) | {"num_classes": 2**20}
LARGEST_WIDTH, LARGEST_DEPTH = 8, 1000  # times a network's channels, and blocks of a stage
OTHER_PICTURES = (".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")


def check_field_names(fields: Iterable[Any], known: Collection[str]) -> None:
    """Check that all fields exist and are the user's to set (`explicit` is internal).

    Raises:
        ConfigError: an unknown name; the closest ones are listed.
    """
    for name in fields:
        if name not in known or name == "explicit":
            near = name_closest(str(name), {*known} - {"explicit"}, "see tsmlib.Config")
            raise ConfigError(f"there is no configuration field {name!r}; {near}")


# --- types ----------------------------------------------------------------------------------------

TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text",
              dict: "a mapping of whole numbers to whole numbers"}  # fmt: skip
PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}


def convert_value(name: str, value: Any, declared: Any) -> Any:
    """Convert a value to the declared type of a field: YAML and JSON know no tuples or int keys.

    Raises:
        ConfigError: a value of another type, or one that is none of the field's choices.
    """
    kind, origin, inner, optional = _take_apart(declared)
    if value is None or (value == "none" and optional):
        if optional:
            return None
        raise ConfigError(f"{name} must have a value")
    choices = inner if origin is Literal else REGISTRIES.get(name)
    if choices is not None:
        return _choose(name, value, [*choices], optional)
    if name == "class_names":
        _check_class_names(value)
    try:
        return _convert(value, kind, origin, inner)
    except (TypeError, ValueError, AttributeError, OverflowError):
        plain = TYPE_NAMES.get(origin or kind, "of another type")
        if origin is tuple:
            plain = f"a list of {PLURALS[inner[0]]}"
        raise ConfigError(f"{name}={value!r} must be {plain}") from None


@cache  # a configuration has 60 fields, and a study makes thousands of configurations
def _take_apart(declared: Any) -> tuple[Any, Any, tuple[Any, ...], bool]:
    """Split `dict[int, int] | None`: the type, `dict`, `(int, int)`, and that None is possible."""
    union = typing.get_origin(declared) in (types.UnionType, typing.Union)
    kind, *rest = typing.get_args(declared) if union else (declared,)
    return kind, typing.get_origin(kind), typing.get_args(kind), bool(rest)


def _choose(name: str, value: Any, choices: list, optional: bool) -> Any:
    if value not in choices or isinstance(value, bool):
        names = ", ".join(str(choice) for choice in [*choices, *["none"] * optional])
        raise ConfigError(f"{name}={value!r} is not possible; choose one of {names}")
    return value


def _convert(value: Any, kind: Any, origin: Any, inner: tuple[Any, ...]) -> Any:
    if origin is tuple and not isinstance(value, (str, Mapping)):
        return tuple(_exactly(v, inner[0]) for v in value)
    if origin is dict:  # JSON has strings for keys
        numbers = {int(k) if isinstance(k, str) else k: v for k, v in value.items()}
        return {_exactly(k, int): _exactly(v, int) for k, v in numbers.items()}
    if kind is float and isinstance(value, str):
        return float(value)  # YAML reads 1e-3 as text
    return _exactly(value, kind)


def _exactly(value: Any, kind: type) -> Any:
    """Convert to int, float, bool or str where that hides no slip (2.5 to 2, 1 to True)."""
    if isinstance(value, bool) != (kind is bool) or (kind is not str and isinstance(value, str)):
        raise TypeError
    if kind(value) != value:
        raise ValueError
    return kind(value)


def _check_class_names(value: Any) -> None:
    """Check that every class name is text: YAML reads an unquoted `yes` as True."""
    if not isinstance(value, (list, tuple)):
        raise ConfigError(
            f"class_names={value!r} must be a list of names, or a file with one name per line"
        )
    other = [name for name in value if not isinstance(name, str)]
    if other:
        unquoted = {True: "yes", False: "no", None: "null"}
        words = [unquoted.get(n, n) if isinstance(n, bool | None) else n for n in value]
        quoted = ", ".join(f'"{word}"' for word in words[:3]) + ", ..." * (len(words) > 3)
        raise ConfigError(
            f"class names must be text, but class_names holds {other[0]!r} (an unquoted yes, no, "
            f"null or number in YAML); put the names in quotes: [{quoted}]"
        )


# --- values ---------------------------------------------------------------------------------------


def check_values(cfg: Any) -> None:
    """Check the range of every field, and fields that must agree with each other.

    Raises:
        ConfigError: an impossible value; the message names the field and the value.
    """
    _check_ranges(cfg)
    _check_frame_name(cfg.filename_tmpl)
    for name in ("val_crop_size", "test_crop_size"):
        if getattr(cfg, name) > cfg.short_side:
            size = f"{name}={getattr(cfg, name)}"
            raise ConfigError(f"{size} does not fit into frames of short_side={cfg.short_side}")
    if cfg.standin_clips is not None and (
        len(cfg.standin_clips) != 2 or any(n < 1 or n % 2 for n in cfg.standin_clips)
    ):
        raise ConfigError(
            f"standin_clips={list(cfg.standin_clips)} must be two even numbers of clips, "
            "training and validation: each rendering is there in both directions"
        )
    if cfg.class_names is not None and len(cfg.class_names) != cfg.num_classes:
        raise ConfigError(
            f"class_names lists {len(cfg.class_names)} names, num_classes is {cfg.num_classes}"
        )
    _check_group(cfg.group)
    names = cfg.class_names or ()
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ConfigError(f"class_names lists {twice!r} twice")
    flips = cfg.flip_label_map or {}
    for a, b in flips.items():
        if flips.get(b) != a:
            raise ConfigError(f"flip_label_map sends {a} to {b} but not {b} back to {a}")
        if not 0 <= a < cfg.num_classes:
            raise ConfigError(f"flip_label_map names label {a} of {cfg.num_classes} classes")


def _check_ranges(cfg: Any) -> None:
    for name in AT_LEAST_ONE:
        if getattr(cfg, name) < 1:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be at least 1")
        if getattr(cfg, name) > (largest := LARGEST_CLIP.get(name, LARGEST)):
            raise ConfigError(f"{name}={getattr(cfg, name)} must be at most {largest}")
    for name in ("flip", "dropout", "order_share"):
        if not 0 <= getattr(cfg, name) <= 1:
            raise ConfigError(f"{name}={getattr(cfg, name)} must lie between 0 and 1")
    if not 0 <= cfg.least_motion <= 0.9:
        raise ConfigError(f"least_motion={cfg.least_motion} must lie between 0 and 0.9")
    if not 0 < cfg.seen_share <= 1:
        raise ConfigError(f"seen_share={cfg.seen_share} must be above 0 and at most 1")
    for name in ("lr", "width", "clip_grad", "blending_alpha"):
        if not 0 < getattr(cfg, name) < math.inf:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be positive and finite")
    for name in ("weight_decay", "momentum", "gamma", "start_index", "standin_seed"):
        if not 0 <= getattr(cfg, name) < math.inf:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be 0 or more")
    for name in ("lr", "clip_grad", "blending_alpha", "weight_decay", "momentum", "gamma"):
        if getattr(cfg, name) > LARGEST_RATE:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be at most {LARGEST_RATE:g}")
    if not 1 <= round(64 * cfg.width) <= 64 * LARGEST_WIDTH:  # channels of the first layer
        raise ConfigError(f"width={cfg.width} must lie between {1 / 128:g} and {LARGEST_WIDTH}")
    if any(blocks > LARGEST_DEPTH for blocks in cfg.depth or ()):
        raise ConfigError(f"depth={list(cfg.depth)} must hold numbers up to {LARGEST_DEPTH}")
    for name in ("start_index", "standin_seed"):
        if getattr(cfg, name) > LARGEST:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be at most {LARGEST}")
    for name in ("depth", "milestones"):
        if any(value < 1 for value in getattr(cfg, name) or ()):
            raise ConfigError(f"{name}={getattr(cfg, name)} must hold numbers from 1 on")


def _check_frame_name(template: str) -> None:
    """Check that a template numbers JPEG files: one placeholder, unnamed, of decimal digits."""
    if template.lower().endswith(OTHER_PICTURES):
        suffix = template.rpartition(".")[2]
        raise ConfigError(
            f"filename_tmpl={template!r} names {suffix.upper()} files, but frames must be JPEG; "
            f"convert them and name them so, for example {template[: -len(suffix)]}jpg"
        )
    try:
        parts = list(string.Formatter().parse(template))
        [(field, spec, conversion)] = [part[1:] for part in parts if part[1] is not None]
        literal = "".join(part[0] for part in parts)
        digits = re.fullmatch(r"(0[1-9]?\d?)?d?", spec)
        possible = field in ("", "0") and digits and conversion is None
    except ValueError:  # broken braces, or not one placeholder
        possible, literal = False, ""
    if "/" in literal:
        raise ConfigError(
            f"filename_tmpl={template!r} must name files in the folder of a video, without /"
        )
    if not possible or set(literal) & {"{", "}", "\0"}:
        raise ConfigError(
            f"filename_tmpl={template!r} must hold one placeholder without a name for the number "
            "of a frame, for example frame{}.jpg or {:05}.jpg"
        )


def _check_group(pattern: str | None) -> None:
    """Check that the pattern of a group is a regular expression."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ConfigError(
            f"group={pattern!r} is not a regular expression ({error}); write for example "
            "group='person\\d+'"
        ) from None


def check_model(cfg: Any) -> None:
    """Check that a configuration's backbone has the options that it is to be built with.

    Raises:
        ConfigError: options that exclude each other, or that the backbone does not have.
    """
    backbone = BACKBONES[cfg.backbone]
    for name, value in backbone.fixed.items():
        if getattr(cfg, name) != value:
            raise ConfigError(
                f"{name}={getattr(cfg, name)} is defined for {backbone.fixed_for}; "
                f"choose {name}={value}"
            )
    if cfg.pretrain == "imagenet" and backbone.imagenet is None:
        raise ConfigError(
            f"{cfg.backbone} has no ImageNet weights; choose pretrain=none, or a file"
        )
    if cfg.temporal_pool and cfg.non_local:
        raise ConfigError(
            "temporal_pool and non_local do not combine: the published non-local blocks see all "
            f"frames (non_local={cfg.non_local})"
        )
    if cfg.temporal_pool and cfg.num_segments % 2:
        raise ConfigError(
            f"temporal_pool halves the frames: num_segments={cfg.num_segments} is odd"
        )
    stages = len(backbone.depth)
    if cfg.depth is not None and len(cfg.depth) != stages:
        raise ConfigError(f"depth={cfg.depth} needs {stages} numbers for {cfg.backbone}")
