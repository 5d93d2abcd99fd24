"""Files of weights: read from untrusted sources, and written so that damage is noticed.

Nothing in a file is executed. `torch.save` writes a zip archive, and `torch.load` looks at none of
its checksums: with a bit flipped, a file loads without a word. A file of ours ends in the SHA-256
of all bytes before it, as the comment of the archive, which other readers skip. Of other archives
the checksums are checked.
"""

import hashlib
import io
import json
import math
import pickle
import re
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..paths import cache_folder
from .downloads import DownloadError, download, hash_in_name, is_web_page


class CheckpointError(RuntimeError):
    """Weights cannot be read or do not fit; the message names the file and says why."""


class _Dtype:
    """Stand-in for numpy's dtype, which would accept any state from a file."""

    def __init__(self, code: str, *_):
        self.code = code

    def __setstate__(self, state: tuple):
        self.code = state[1].replace("|", "") + self.code  # byte order


def _scalar(dtype: _Dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.code)[0]


# objects that training scripts save beside weights (MIT main.py: best_prec1), by their names in
# numpy 1 and 2
ALLOWED = [
    (Namespace, "argparse.Namespace"),
    (_Dtype, "numpy.dtype"),
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
]
SAFETENSORS = "model.safetensors"  # in a folder of weights, as the hub names it
OURS, DIGEST = "tsmlib", "tsmlib_sha256"  # in the metadata of a safetensors file of ours
MARK = b"sha256 "  # in front of the digest
SEAL = len(MARK) + 64  # bytes of both
MAX_UNPACKED = 2**30  # bytes that an archive may unpack to, if they are more than the archive has
CHUNK = 2**20
CONVERT = "load it where it was made and torch.save(model.state_dict(), FILE)"


def local_file(source: str | Path) -> Path:
    """Return the path of a checkpoint; download it first if `source` is an http address.

    A folder stands for the `model.safetensors` in it.

    Raises:
        CheckpointError: the file cannot be downloaded.
    """
    url = str(source)
    if not re.match(r"[a-zA-Z]+://", url):
        path = Path(source).expanduser()
        return path / SAFETENSORS if (path / SAFETENSORS).is_file() else path
    folder = cache_folder() / "weights"
    if not hash_in_name(url):  # another server's file may have the same name
        folder /= hashlib.sha256(url.encode()).hexdigest()[:8]
    try:
        return download(url, folder)
    except DownloadError as error:
        raise CheckpointError(str(error)) from None


def read_checkpoint(path: str | Path) -> dict:
    """Read the dict in a checkpoint, a file or an http address. Nothing in it is executed.

    Raises:
        CheckpointError: there is no file, or it is no checkpoint, damaged, or would run code.
    """
    path = local_file(path)
    _check_start(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        _check_whole(path)
        with torch.serialization.safe_globals(ALLOWED), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about other pickle protocols and TorchScript
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on other files the unpickler may fail in any way
        raise CheckpointError(f"{path} {_explain(error)}") from None
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, not a dict of weights: its owner can "
            f"convert it: {CONVERT}"
        )
    if not content:
        raise CheckpointError(f"{path} holds an empty dict, no weights: name another file")
    return content


def state_sha256(state: dict[str, Tensor]) -> str:
    """Hash weights, by their names and values in order."""
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(name.encode())
        raw = value.detach().reshape(-1).contiguous().view(torch.uint8)  # numpy lacks some types
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()


def weights_hash(file: str | Path) -> str:
    """Hash the weights in a checkpoint of ours; files of equal runs differ in timings alone.

    Raises:
        CheckpointError: it is no checkpoint of a run, or holds impossible values.
    """
    weights = read_checkpoint(file).get("model")
    if not isinstance(weights, dict):
        raise CheckpointError(f"{file} is no checkpoint of a run of tsmlib")
    check_values(weights, Path(file))
    return state_sha256(weights)


def check_values(state: Mapping[str, Tensor], path: Path) -> None:
    """Check that a file holds plain tensors, of finite numbers, and variances not negative.

    Raises:
        CheckpointError: one is not; its weights would give no scores.
    """
    tensors = state.items() if isinstance(state, Mapping) else [("model", state)]
    for name, value in tensors:
        plain = isinstance(value, Tensor) and value.layout is torch.strided
        if not plain or value.is_meta or value.is_quantized:
            raise CheckpointError(
                f"{path} holds {type(value).__name__} as {name}, not a plain tensor"
            )
        if not isinstance(name, str):
            raise CheckpointError(f"{path} names a weight by {name!r}, not by text")
    if found := find_impossible(state):
        raise CheckpointError(
            f"{path} holds {found}: it is damaged or of a training that diverged; name another file"
        )


def find_impossible(state: Mapping[str, Tensor]) -> str:
    """Say which tensor holds NaN, infinity or a negative variance; '' if none does."""
    for name, value in state.items():
        if value.is_floating_point() and value.numel():
            values = value.float() if value.itemsize == 1 else value
            low, high = (number.item() for number in values.aminmax())  # NaN if there is one
            if not (math.isfinite(low) and math.isfinite(high)):
                return f"{low if math.isnan(low) else 'infinity'} in {name}"
            if low < 0 and name.endswith("running_var"):
                return f"a negative variance, {low:.3g}, in {name}"
    return ""


def checkpoint_bytes(content: dict) -> memoryview:
    """Return the bytes of a .pth file: what `torch.save` writes, and their digest."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(-2, io.SEEK_END)  # the last field of an archive: how long its comment is
    buffer.write(SEAL.to_bytes(2, "little") + MARK)
    buffer.write(hashlib.sha256(buffer.getbuffer()).hexdigest().encode())
    return buffer.getbuffer()


def safetensors_bytes(state: dict[str, Tensor], facts: dict[str, Any]) -> bytes:
    """Return the bytes of a safetensors file of ours, which `read_checkpoint` reads.

    Args:
        state: weights by our names.
        facts: what a checkpoint holds beside them, as JSON values: `config`, `run`, `epoch` ...
    """
    from safetensors.torch import save

    text = json.dumps({**facts, "names": [*state]})
    tensors = {name: value.clone().contiguous() for name, value in state.items()}  # none shared
    return save(tensors, {"format": "pt", OURS: text, DIGEST: _content_sha256(text, tensors)})


def _read_safetensors(path: Path) -> dict:
    """Read the content of a safetensors file: of ours as a checkpoint, of others the weights."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
        if not metadata.keys() & {OURS, DIGEST}:
            return state
        facts = json.loads(metadata[OURS])
        state = {name: state[name] for name in facts["names"]}
        if DIGEST in metadata:
            whole = metadata["format"] == "pt" and len(metadata) == 3
            damaged = not whole or metadata[DIGEST] != _content_sha256(metadata[OURS], state)
        else:  # as it was first: of the weights alone
            damaged = state_sha256(state) != facts["sha256"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"[:120]
        raise CheckpointError(
            f"{path} is cut off, damaged or no safetensors file ({reason}): fetch it again"
        ) from None
    if damaged:
        raise CheckpointError(f"{path} is damaged, its weights have another hash: fetch it again")
    return {**facts, "model": state}


def _content_sha256(text: str, state: dict[str, Tensor]) -> str:
    """Hash all that a safetensors file of ours says: its facts, and weights with their forms."""
    forms = [[name, str(value.dtype), list(value.shape)] for name, value in state.items()]
    digest = hashlib.sha256(json.dumps([text, forms]).encode())
    digest.update(state_sha256(state).encode())
    return digest.hexdigest()


def _check_whole(path: Path) -> None:
    """Check an archive's size once unpacked, then its digest, or the checksums where it has none.

    Files of PyTorch before 1.6 are no archives, and have neither.

    Raises:
        ValueError, zipfile.BadZipFile: the file is damaged, or asks for too much memory.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            return
        file.seek(max(0, size - SEAL))
        seal = file.read()
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > max(size, MAX_UNPACKED):
            raise ValueError(f"{size} bytes unpack to {unpacked}")
        if not (archive.comment or seal.startswith(MARK)):
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} differs")
            return
    if seal != MARK + _digest(path, size - SEAL + len(MARK)):
        raise ValueError("its SHA-256 differs")


def _digest(path: Path, size: int) -> bytes:
    """Return the hexadecimal SHA-256 of the first bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (chunk := file.read(min(size, CHUNK))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest().encode()


def _check_start(path: Path) -> None:
    """Refuse files that are checkpoints by name only: empty, a web page, JSON, a git pointer."""
    if not path.is_file():
        problem = "is a folder; name a file in it" if path.is_dir() else "does not exist"
        raise CheckpointError(f"the file of weights {path} {problem}")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    if not start:
        raise CheckpointError(f"{path} is empty: remove it and fetch it again")
    if is_web_page(start):
        raise CheckpointError(f"{path} looks like a web page, not weights: download it again")
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in start):  # checkpoints start with others
        begin = " ".join(start.decode(errors="replace").split())[:40]
        raise CheckpointError(f"{path} is text, not weights ({begin!r}): download it again")


def _explain(error: Exception) -> str:
    """Explain why a file could not be read, in words that follow its name."""
    text = " ".join(str(error).split())
    if match := re.search(r"GLOBAL (\S+)", text):
        return f"holds {match[1]}: nothing in it was run or loaded; its owner can convert it: " + (
            CONVERT
        )
    reason = text.rpartition("WeightsUnpickler error: ")[2].partition(" Check the documentation")[0]
    reason = reason.partition(". ")[0][:120] or type(error).__name__
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in text:  # refused
        return (
            f"is no file of weights, or has an unsupported form ({reason}): fetch it again, or "
            f"its owner can convert it: {CONVERT}"
        )
    return f"is cut off, damaged or no checkpoint ({reason}): remove it and fetch it again"
