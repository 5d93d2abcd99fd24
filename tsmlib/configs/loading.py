"""Configurations from a row's name, a user's YAML file, or the record of a run."""

import json
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .fields import FIELD_TYPES, UNHASHED_FIELDS, Config, to_dict
from .rows import is_row, resolve_name, row_fields
from .scaling import replace
from .validation import check_field_names
from .yaml_files import read_yaml


def get_config(name: str | Config, **changes) -> Config:
    """Make the configuration of a row, with changes.

    Args:
        name: a short name (`sthv1`), a published name (`tsm_r50_1x1x8_50e_sthv1_rgb`, with or
            without `.py`), a `row_id` of results/reference.csv, or the path of a YAML file with
            `base:` and any fields (see docs/own-videos.md), or a `Config` as it is.
        changes: any fields of `Config`.

    Raises:
        ConfigError: unknown name or field (the closest ones are listed), or an impossible value.
    """
    if isinstance(name, Config):
        return replace(name, **changes) if changes else name
    if str(name).endswith((".yaml", ".yml")):
        return _load_yaml(Path(name), changes)
    return replace(Config(**row_fields(resolve_name(str(name)))), **changes)


def _load_yaml(path: Path, changes: dict[str, Any]) -> Config:
    """Make the configuration of a user's YAML file; errors name the file."""
    try:
        fields, own = read_yaml(path)
        return replace(Config(**fields), **{**own, **changes})
    except ConfigError as error:
        if str(path) in str(error):
            raise
        raise ConfigError(f"{path}: {error}") from None


def from_dict(fields: dict[str, Any]) -> Config:
    """Make a configuration of its fields: the inverse of `to_dict`."""
    check_field_names((name for name in fields if name != "explicit"), FIELD_TYPES)
    return Config(**fields)


def load_config(path: str | Path) -> Config:
    """Read the configuration in a run's `config.json`."""
    return from_dict(json.loads(Path(path).read_text()))


def changed_fields(cfg: Config) -> dict[str, Any]:
    """Return the fields that differ from the row of this name; without one, all that are set."""
    row = to_dict(get_config(cfg.name)) if is_row(cfg.name) else {}
    return {k: v for k, v in to_dict(cfg).items() if k not in UNHASHED_FIELDS and v != row.get(k)}
