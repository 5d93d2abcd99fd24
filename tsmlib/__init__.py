"""TSM, the Temporal Shift Module, as a study: models, data, training and results.

The public names are loaded when they are first used, so that tables and charts need no torch.
"""

import os
from importlib import import_module

# Threads that wait for each other must not spin long: beside loaders or any other work on the
# same cores a training step would take ten times as long. Read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_WHERE = {
    "configs": ("Config", "ConfigError", "get_config", "list_configs"),
    "data.annotations": ("DataError",),
    "data.augmentation": ("preprocess",),
    "data.blending": ("blend",),
    "data.sampling": ("sample_indices",),
    "data.video": ("VideoError",),
    "own_videos.activation": ("find_activations",),
    "own_videos.clips": ("load_clip",),
    "engine.divergence": ("DivergedError",),
    "engine.evaluate": ("evaluate",),
    "own_videos.features": ("extract_features",),
    "engine.optimizer": ("param_groups",),
    "engine.options": ("RunOptions",),
    "own_videos.training_set": ("configure_videos",),
    "study.parents": ("ensure_trained", "train_parent"),
    "own_videos.predict": ("predict",),
    "engine.setup": ("prepare", "resolve"),
    "engine.train": ("train",),
    "models.checkpoints": ("CheckpointError", "load_checkpoint"),
    "models.downloads": ("DownloadError",),
    "models.inference_runtime": ("optimize_for_inference",),
    "models.recognizer": ("build_model",),
    "models.shift": ("temporal_shift",),
    "online.streams": ("OnlineTSM",),
    "records": ("ResultsError",),
}
_MODULE = {name: module for module, names in _WHERE.items() for name in names}
__all__ = sorted(_MODULE)


def __getattr__(name: str):
    if name not in _MODULE:
        raise AttributeError(f"module 'tsmlib' has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
