"""Run exported ONNX files with onnxruntime: clips as a model does, streams as `OnlineTSM` does.

model = OnnxClip("model.onnx")
logits = model(tsmlib.load_clip("a.mp4", config_of(model.metadata)))

stream = OnnxStream("stream.onnx")
logits = stream.step(frame)
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..models.clip_network import check_clips, check_normalized
from .exported_metadata import ExportError, read_metadata
from .sealed_onnx import is_sealed, is_whole
from .smoothing import check_streams

PROVIDERS = ("CPUExecutionProvider",)


class OnnxFile:
    """An exported file that is open; `OnnxClip` and `OnnxStream` run it.

    Args:
        source: the file, or its content.
        providers: onnxruntime's, in order of preference.

    Raises:
        ExportError: no such file, not ONNX, without metadata, or onnxruntime is not installed.
    """

    def __init__(self, source: str | Path | bytes, providers: Sequence[str] = PROVIDERS):
        self.name = "the content" if isinstance(source, bytes) else str(source)
        content = source if isinstance(source, bytes) else _read(Path(source).expanduser())
        if is_sealed(content) and not is_whole(content):
            raise ExportError(f"{self.name} is damaged, its SHA-256 differs: export it again")
        self._session = _open_session(content, self.name, providers)
        properties = self._session.get_modelmeta().custom_metadata_map
        self.metadata = read_metadata(properties, self.name)
        stored = not isinstance(source, bytes) and self.metadata.get("sealed")
        if stored and not is_sealed(content):
            raise ExportError(f"{self.name} is damaged, its digest is not there: export it again")
        self.inputs = [value.name for value in self._session.get_inputs()]

    @property
    def size(self) -> int:
        """Pixels a side of the frames."""
        return self.metadata["preprocessing"]["crop_size"]

    def run(self, *inputs: Tensor) -> list[Tensor]:
        """Compute all outputs of all inputs, in the order of the file."""
        arrays = [value.detach().cpu().float().numpy() for value in inputs]
        outputs = self._session.run(None, dict(zip(self.inputs, arrays, strict=True)))
        return [torch.from_numpy(np.asarray(value)) for value in outputs]

    def check_size(self, x: Tensor) -> None:
        """Check that frames `[..., C, H, W]` are normalised and of the size of the file.

        Raises:
            ValueError, TypeError: another size, or whole numbers.
        """
        check_normalized(x)
        if tuple(x.shape[-3:]) != (3, self.size, self.size):
            expected = f"[..., 3, {self.size}, {self.size}]"
            raise ValueError(f"{self.name} takes frames {expected}, not {list(x.shape)}")


class OnnxClip(nn.Module):
    """A clip file in place of a model: `[N, T, 3, H, W]` to logits `[N, num_classes]`.

    Args:
        source: the file, its content, or an `OnnxFile`.

    Raises:
        ExportError: it cannot be used, or holds a stream.
    """

    def __init__(self, source: str | Path | bytes | OnnxFile):
        super().__init__()
        self.file = _open_as("clip", source)
        self.metadata = self.file.metadata
        self.num_segments = self.metadata["sampling"]["num_segments"]

    def forward(self, clips: Tensor) -> Tensor:
        """Classify clips, RGB, normalised as the metadata say."""
        check_clips(clips, self.num_segments)
        self.file.check_size(clips)
        return self.file.run(clips)[0]


class OnnxStream:
    """A stream file with the interface of `OnlineTSM`.

    Args:
        source: the file, its content, or an `OnnxFile`.

    Raises:
        ExportError: it cannot be used, or holds a clip.
    """

    def __init__(self, source: str | Path | bytes | OnnxFile):
        self.file = _open_as("stream", source)
        self.metadata = self.file.metadata
        self._shapes = [cache["shape"] for cache in self.metadata["state"]]
        self.reset()

    def reset(self, streams: Sequence[int] | None = None) -> None:
        """Begin anew: all streams, of any number; or those rows of the batch, and no other.

        Raises:
            ValueError: a row that the batch does not have.
        """
        if streams is None:
            self.state = []
            return
        if self._batch is None:  # no stream has begun
            return
        rows = check_streams(streams, self._batch)
        self._caches = [cache.clone() for cache in self._caches]
        for cache in self._caches:
            cache[rows] = 0

    def step(self, frame: Tensor) -> Tensor:
        """Classify the next frame `[N, 3, H, W]`, normalised: logits `[N, num_classes]`.

        Raises:
            ValueError: another batch than before, or another frame size than the file's; the
                stream stays where it was.
            TypeError: frames of whole numbers, which are not normalised.
        """
        if frame.ndim != 4:
            raise ValueError(f"a step takes frames [N, C, H, W], not {list(frame.shape)}")
        self.file.check_size(frame)
        if self._batch not in (None, len(frame)):
            raise ValueError(
                f"the stream has batches of {self._batch}, this one is of {len(frame)}; reset() "
                "begins a new stream"
            )
        caches = self._caches or [torch.zeros(len(frame), *shape) for shape in self._shapes]
        logits, *self._caches = self.file.run(frame, *caches)
        self._batch = len(frame)
        return logits

    @property
    def state(self) -> list[Tensor]:
        """The caches `[N, C, H, W]`, in the order of the file; empty at the beginning.

        A step never writes into these tensors. Set the list, and the stream goes on from there;
        `OnlineTSM` of the same weights has the same one.
        """
        return list(self._caches)

    @state.setter
    def state(self, caches: Sequence[Tensor]) -> None:
        if len(caches) not in (0, len(self._shapes)):
            raise ValueError(f"the model has {len(self._shapes)} caches, not {len(caches)}")
        for cache, shape in zip(caches, self._shapes, strict=False):
            if list(cache.shape[1:]) != list(shape):
                raise ValueError(f"a cache is {list(cache.shape)}, the file has {['N', *shape]}")
        self._caches = list(caches)
        self._batch: int | None = len(caches[0]) if caches else None


def open_runner(source: str | Path | bytes) -> OnnxClip | OnnxStream:
    """Open a file as what it holds; `metadata["kind"]` says which it is."""
    file = OnnxFile(source)
    return OnnxClip(file) if file.metadata["kind"] == "clip" else OnnxStream(file)


def import_extra(name: str) -> ModuleType:
    """Import a package that exported models need.

    Raises:
        ExportError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise ExportError(f"{package} is not installed: pip install 'tsmlib[onnx]'") from None


def _open_as(kind: str, source: str | Path | bytes | OnnxFile) -> OnnxFile:
    file = source if isinstance(source, OnnxFile) else OnnxFile(source)
    if file.metadata["kind"] != kind:
        raise ExportError(
            f"{file.name} holds a {file.metadata['kind']}, not a {kind}: OnnxClip runs clips "
            "[N, T, 3, H, W], OnnxStream frames [N, 3, H, W]"
        )
    return file


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise ExportError(f"there is no file {file}") from None
    except OSError as error:
        raise ExportError(f"{file} cannot be read: {error.strerror or error}") from None


def _open_session(content: bytes, name: str, providers: Sequence[str]) -> Any:
    runtime = import_extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    try:
        return runtime.InferenceSession(content, options, providers=list(providers))
    except Exception as error:  # onnxruntime has a class for each cause
        reason = str(error).splitlines()[0]
        raise ExportError(f"{name} is no ONNX file, or damaged, or too new ({reason})") from None
