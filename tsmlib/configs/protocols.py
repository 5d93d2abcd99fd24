"""Test protocols of a configuration: how many clips and crops of a video are scored."""

from .datasets import DATASETS
from .errors import ConfigError
from .fields import Config

PROTOCOLS = ("published", "efficient", "accurate", "validation")


def views(cfg: Config, protocol: str = "published") -> dict[str, int]:
    """Return the views of a test protocol: {"clips", "crops", "size"}.

    `published`: the row's test pipeline. `efficient` (1 clip, centre crop) and `accurate` (2 clips,
    3 crops) are notions of Something-Something and Jester (TSM, section 5.1; the published page's
    note 4). `validation`: what is measured during training.
    """
    _check_protocol(cfg, protocol)
    dense = 10 if cfg.eval_sampling == "dense" else 1
    if protocol in ("validation", "efficient"):
        return {"clips": dense, "crops": 1, "size": cfg.val_crop_size}
    if protocol == "accurate":
        return {"clips": 2, "crops": 3, "size": cfg.short_side}
    clips = 2 if cfg.twice_sample else dense
    return {"clips": clips, "crops": cfg.test_crops, "size": cfg.test_crop_size}


def validation_protocol(cfg: Config) -> str:
    """Name the protocol that is measured during training as the published tables do."""
    if views(cfg, "validation") == views(cfg, "published"):
        return "published"
    return "efficient" if DATASETS[cfg.dataset].two_protocols else "validation"


def _check_protocol(cfg: Config, protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol {protocol!r} is unknown; choose one of {', '.join(PROTOCOLS)}")
    if protocol in ("efficient", "accurate") and not DATASETS[cfg.dataset].two_protocols:
        known = ", ".join(name for name, dataset in DATASETS.items() if dataset.two_protocols)
        raise ConfigError(
            f"protocol {protocol!r} is defined for {known} only, "
            f"not for {cfg.dataset}; use 'published'"
        )
