"""Configurations: the fields of an experiment, the 36 published rows, and changes of them."""

from .fields import Config, ConfigError, to_dict
from .registry import (
    candidate_protocols,
    changed_fields,
    from_dict,
    get_config,
    list_configs,
    load_config,
    mini,
    replace,
    scaled_lr,
    validation_protocol,
    views,
)

__all__ = [
    "Config", "ConfigError", "candidate_protocols", "changed_fields", "from_dict", "get_config",
    "list_configs", "load_config", "mini", "replace", "scaled_lr", "to_dict",
    "validation_protocol", "views",
]  # fmt: skip
