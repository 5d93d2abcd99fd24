"""Helpers that the tests of several rooms share."""

import dataclasses
import errno
import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import torch

from tsmlib import build_model, get_config
from tsmlib.configs import DATASETS, to_dict
from tsmlib.parity import fill, recordings


def resize_standins(patch, renderings: dict[str, tuple[int, int]]) -> None:
    """Give stand-ins other numbers of renderings (training, validation) while `patch` lasts."""
    for name, numbers in renderings.items():
        standin = dataclasses.replace(DATASETS[name].standin, renderings=numbers)
        patch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], standin=standin))


def sliding(count: int, start: int = 0) -> torch.Tensor:
    """Draw uint8 `[T, 48, 64, 3]`: a bright bar moves to the right over still noise."""
    frames = torch.randint(0, 80, (1, 48, 64, 3), generator=torch.Generator().manual_seed(start))
    frames = frames.repeat(count, 1, 1, 1)
    for t in range(count):
        frames[t, :, (start + 2 * t) % 64 :][:, :8] = 250
    return frames.byte()


def write_stream(path: Path, frames: torch.Tensor, form: str = "mpegts", fps: int = 30) -> Path:
    """Write uint8 `[T, H, W, 3]` as an encoded stream; two of them can be joined byte by byte."""
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream("libx264", rate=fps, options={"qp": "10", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for frame in frames.numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def read_only(patch) -> None:
    """Let no file be written while `patch` lasts, as on a read-only disk; root may write anywhere.

    What calls C is not stopped: the encoder of videos.
    """
    opened = os.open

    def fail(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def open_to_read(path, flags, *args, **more):
        writes = flags & (os.O_WRONLY | os.O_RDWR)
        return fail() if writes else opened(path, flags, *args, **more)

    patch.setattr(os, "open", open_to_read)  # of locks
    patch.setattr(Path, "write_bytes", fail)
    patch.setattr(Path, "write_text", fail)


@contextmanager
def stdin_from(file: Path):
    """Let a file be what this process reads from its standard input."""
    kept = os.dup(0)
    with file.open("rb") as opened:
        os.dup2(opened.fileno(), 0)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def die_once(file: Path) -> str:
    """Be a job whose process is killed at the first try."""
    if not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def annotate(videos: Path, folder: Path) -> Path:
    """Write a folder as overhead_actions: links to videos, the lists of a split, class names."""
    (folder / "videos").symlink_to(videos)
    (folder / "train_order3.txt").write_text("walk/walk_a_f00010.mp4 27 2\nb_c01.mp4 30 1\n")
    (folder / "val_order3.txt").write_text("walk/walk_a_f00300.mp4 28 0\nc.avi 32 1\n")
    (folder / "classes_order3.txt").write_text("up\ndown\nround\n")
    return folder


# --- recorded models of the published implementations --------------------------------------------


def published_state(name: str) -> dict[str, torch.Tensor]:
    """Make the weights of a recorded model under its own names, and check that they are those."""
    state = recordings.make_state_dict(name)
    assert fill.state_sha256(state) == recordings.read_facts(name)["state_sha256"]
    return state


def published_clip(facts: dict) -> torch.Tensor:
    """Make a recorded clip, and check that it is the recorded one."""
    clip = recordings.make_clip(facts)
    assert fill.array_sha256(clip.numpy()) == facts["sha256"]
    return clip


def assert_logits_are_recorded(model, name: str, letters: str = "ab") -> None:
    """Compare logits of clips, single frames and the reversed clip: within 1e-4 deviations."""
    facts, expected, found = recordings.read_facts(name), recordings.read_outputs(name), {}
    for letter in letters:
        x = published_clip(facts[f"clip_{letter}"])
        with torch.inference_mode():
            found[f"frame_logits_{letter}"] = model.frame_logits(x).flatten(0, 1)
            found[f"logits_{letter}"] = model(x)
            if letter == "a":
                found["logits_a_reversed"] = model(x.flip(1))
    for key, value in found.items():
        assert np.abs(value.numpy() - expected[key]).max() <= 1e-4 * facts["logits_std"], key
    # the tolerance is far below what the smallest slip would do
    assert 100 * 1e-4 * facts["logits_std"] < min(facts["mistakes_max_abs"].values())


# --- models ---------------------------------------------------------------------------------------


STREAM_CLASSES = ("up", "down", "left", "right", "none")


def tiny(row: str = "sthv1", **changes):
    """Configure a row as a ResNet-18 of an eighth of the width, one block per stage, 5 classes."""
    fields = {"backbone": "resnet18", "width": 0.125, "depth": (1, 1, 1, 1), "num_classes": 5}
    return get_config(row, **fields | changes)


def tiny_stream(**changes):
    """Configure a tiny one-way network for frames of 32 pixels, with five named classes."""
    sizes = {"short_side": 40, "crop_size": 32, "val_crop_size": 32, "test_crop_size": 40}
    return tiny("sthv1_online", class_names=STREAM_CLASSES, **sizes | changes)


def save_run(path: Path, cfg, model) -> Path:
    """Save weights as a checkpoint of a run has them, with their configuration."""
    torch.save({"model": model.state_dict(), "config": to_dict(cfg)}, path)
    return path


def on_meta(cfg):
    """Build a model of shapes alone."""
    with torch.device("meta"):
        return build_model(cfg)


def lively(model, seed: int = 1):
    """Draw all numbers of a model anew, counters too: nothing stays at its initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                value.fill_(seed + 6)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5, generator=generator)
            else:
                fan = value[0].numel() if value.ndim > 1 else 2
                value.normal_(std=(2 / fan) ** 0.5, generator=generator)
    return model


def decisive(model, seed: int | None = None):
    """Draw the classifier of a model so large that logits are not all near zero; eval mode."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    torch.nn.init.normal_(model.head.weight, generator=generator)
    return model.eval()


def assert_same_state(a: dict, b: dict) -> None:
    """Check that two state_dicts have the same names, types and numbers, bit for bit."""
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert value.dtype == b[name].dtype and torch.equal(value, b[name]), name


def seeded(draw, *shape: int, seed: int = 0, **options) -> torch.Tensor:
    """Draw a tensor by `torch.rand` or `torch.randn`, the same at every call."""
    return draw(shape, generator=torch.Generator().manual_seed(seed), **options)


# --- time -----------------------------------------------------------------------------------------


class FakeClock:
    """Time that passes when a test says so, for a source that sleeps in a thread of its own."""

    def __init__(self):
        self.now, self.wake, self.ended = 0.0, -1.0, False
        self._changed = threading.Condition()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Sleep until as much time has passed."""
        with self._changed:
            self.wake = wake = self.now + seconds
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.now >= wake)

    def advance(self, seconds: float) -> None:
        """Let time pass, from one awakening of the source to the next."""
        end = self.now + seconds
        with self._changed:
            self._wait_until_it_sleeps()
            while not self.ended and self.wake <= end:
                self.now = self.wake
                self._changed.notify_all()
                self._wait_until_it_sleeps()
            self.now = end

    def end(self) -> None:
        """Say that the source will not sleep any more."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def _wait_until_it_sleeps(self) -> None:
        assert self._changed.wait_for(lambda: self.ended or self.wake > self.now, 60)
