"""Configurations: the fields of an experiment, the 36 published rows, and changes of them.

Also the registries of backbones, data sets and shift options. Nothing here needs torch or pandas.
"""

from .backbones import BACKBONES, Backbone
from .classes import class_names, output_names, reversed_labels, standin_config, standin_names
from .datasets import DATASETS, Dataset, published_names
from .errors import ConfigError
from .fields import FIELD_TYPES, MODEL_FIELDS, UNHASHED_FIELDS, Config, to_dict
from .loading import changed_fields, from_dict, get_config, load_config
from .protocols import validation_protocol, views
from .rows import is_row, is_video_folder, list_configs, list_own_configs
from .scaling import mini, replace, scaled_lr
from .validation import check_model
from .yaml_files import parse_yaml

__all__ = [
    "BACKBONES", "DATASETS", "FIELD_TYPES", "MODEL_FIELDS", "UNHASHED_FIELDS", "Backbone", "Config",
    "ConfigError", "Dataset", "changed_fields", "check_model", "class_names", "from_dict",
    "get_config", "is_row", "is_video_folder", "list_configs", "list_own_configs", "load_config",
    "mini", "output_names", "parse_yaml", "published_names", "replace", "reversed_labels",
    "scaled_lr", "standin_config", "standin_names", "to_dict", "validation_protocol", "views",
]  # fmt: skip
