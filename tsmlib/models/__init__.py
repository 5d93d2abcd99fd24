"""Models: the temporal shift, the recognizers that use it, their weights and their faster forms.

The names are loaded when they are first used.
"""

from importlib import import_module

_MODULES = {
    "CheckpointError": "safe_loading",
    "DownloadError": "downloads",
    "TemporalShift": "shift",
    "build_model": "recognizer",
    "load_checkpoint": "checkpoints",
    "optimize_for_inference": "inference_runtime",
    "temporal_shift": "shift",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
