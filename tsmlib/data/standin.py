"""Stand-ins: generated videos in a data set's own layout, read back by the code that reads it.

Temporal family (Something-like): the two classes of a pair are one rendering and its reversal, so
only the order of frames tells them apart, and a network blind to order is at chance within pairs.
Scene family (Kinetics-like): appearance decides six of eight classes, order the last pair.

What must not tell the direction of a clip, and why it does not: a clip and its reversal are the
same rendering, reversed before it is encoded, every frame coded alone; extent, start and speed are
drawn before the reversal; no length is a multiple of 16, for which uniform test sampling would
take other frames of the reversed clip; validation holds each rendering in both directions.
"""

import dataclasses
import hashlib
import logging
import os
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..configs import Config, ConfigError
from ..paths import shown
from . import rendering, scenes
from .annotations import DataError, class_names
from .scenes import draw_clip, random_of
from .video import encode_frames, write_frames, write_video

log = logging.getLogger(__name__)

# label k and label k + 1 of an even k are a clip and its reversal
SOMETHING = (
    "Pushing something from left to right", "Pulling something from right to left",
    "Pushing something from right to left", "Pulling something from left to right",
    "Moving something up", "Moving something down",
    "Moving something towards the camera", "Moving something away from the camera",
    "Turning the camera left while filming something",
    "Turning the camera right while filming something",
)  # fmt: skip
KINETICS = (
    "wrapping present", "unboxing",
    "surfing water", "skiing (not slalom or crosscountry)", "playing tennis", "camel ride",
    "ice skating", "swimming breast stroke",
)  # fmt: skip
FAMILIES = {"sthv1": ("temporal", SOMETHING), "k400": ("scene", KINETICS)}
RENDERINGS = {"temporal": (440, 200), "scene": (560, 160)}  # in training and validation
LENGTHS = {"temporal": (18, 20, 24, 27, 30), "scene": (66, 70, 76)}  # dense needs 64 and more
SPLITS = ("train", "val")


@dataclass(frozen=True)
class Clip:
    """One clip of the plan: its rendering, its direction, and where it goes."""

    split: str
    rendering: int
    reverse: bool
    label: int
    path: str
    num_frames: int


def translate(cfg: Config) -> Config:
    """The configuration for the stand-in of its data set: fewer classes, flips by name."""
    _, names = _family(cfg)
    published = class_names(cfg)
    flips = {}
    for a, b in (cfg.flip_label_map or {}).items():
        if published[a] in names and published[b] in names:
            flips[names.index(published[a])] = names.index(published[b])
    return dataclasses.replace(
        cfg, num_classes=len(names), class_names=names, flip_label_map=flips or None, data_root=None
    )


def pair_of(label: int, dataset: str) -> int | None:
    """The label that a stand-in's clips of `label` get when they are played backwards."""
    family, _ = FAMILIES[dataset]
    ordered = family == "temporal" or label < 2
    return label ^ 1 if ordered else None


def prepare_standin(cfg: Config, cache: Path, workers: int | None = None, seed: int = 0) -> Path:
    """The data root with the stand-in of a row's data set, generated where it is not there yet.

    Args:
        cfg: a row; its lists, folders, layout and frame names are followed.
        cache: folder that holds all stand-ins.
        workers: processes that draw and encode; None: as many as cores.
        seed: of the clips; independent of the seed of a training run.

    Raises:
        ConfigError: the data set has no stand-in.
        DataError: it cannot be written.
    """
    family, _ = _family(cfg)
    root = cache / "standin" / f"{cfg.dataset}-{cfg.layout}-{seed}-{_version(cfg)}"
    plan = _plan(cfg, family, seed)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / "lock"):  # another run may want the same clips
            _complete(cfg, root, plan, family, workers, seed)
    except OSError as error:
        raise DataError(f"{_cannot_write(root)}: {error.strerror}") from None
    return root


def _complete(cfg: Config, root: Path, plan: list["Clip"], family: str, workers, seed) -> None:
    """Generate what is missing or damaged, then the lists, then the manifest."""
    manifest = root / "manifest.csv"
    _write_lists(cfg, root, plan)
    todo = _damaged(cfg, root, plan, manifest)
    if not todo:
        return
    for leftover in root.rglob("*.tmp"):  # of a run that was killed
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    log.info("generating %d of %d stand-in clips into %s", len(todo), len(plan), shown(root))
    _generate(cfg, root, family, todo, workers, seed)
    checksums = [_checksum(_folder(cfg, root, clip)) for clip in plan]
    table = pd.DataFrame({"path": [clip.path for clip in plan], "crc32": checksums})
    _write_text(manifest, table.to_csv(index=False))


def clips_id(root: Path) -> str:
    """12 hex digits that are the same for the same clips, bit by bit."""
    return hashlib.sha256((root / "manifest.csv").read_bytes()).hexdigest()[:12]


# --- plan and cache -------------------------------------------------------------------------------


def _family(cfg: Config) -> tuple[str, tuple[str, ...]]:
    if cfg.dataset not in FAMILIES:
        raise ConfigError(
            f"{cfg.name}: there is no stand-in of {cfg.dataset}; run it with data=real"
            + ("" if cfg.dataset == "custom" else " (its stand-in is not implemented yet)")
        )
    return FAMILIES[cfg.dataset]


def _version(cfg: Config) -> str:
    """Changes with whatever could change the files: this code and where it writes."""
    digest = hashlib.sha256()
    for file in (__file__, scenes.__file__, rendering.__file__):
        digest.update(Path(file).read_bytes())
    layout = (cfg.train_list, cfg.val_list, cfg.train_prefix, cfg.val_prefix, cfg.filename_tmpl)
    digest.update(repr((layout, cfg.start_index)).encode())
    return digest.hexdigest()[:8]


def _plan(cfg: Config, family: str, seed: int) -> list[Clip]:
    """All clips: both directions of every rendering whose class has one."""
    _, names = FAMILIES[cfg.dataset]
    plan = []
    for split, count in zip(SPLITS, RENDERINGS[family], strict=True):
        for i in range(count):
            number = i if split == "train" else 10_000 + i
            length = LENGTHS[family][int(random_of(seed, number, 0).integers(len(LENGTHS[family])))]
            classes = _balanced(family, i, len(names))
            for reverse, label in enumerate(classes):
                name = _clip_name(cfg, 2 * number + reverse, names[label])
                plan.append(Clip(split, number, bool(reverse), label, name, length))
    return plan


def _balanced(family: str, i: int, num_classes: int) -> tuple[int, ...]:
    """Labels of rendering i: a pair, or one class that has no reversal, equally many of each."""
    if family == "temporal":
        pair = i % (num_classes // 2)
        return 2 * pair, 2 * pair + 1
    turn = i % (num_classes - 1)
    return (0, 1) if turn == 0 else (turn + 1,)


def _clip_name(cfg: Config, number: int, label: str) -> str:
    """Path of a clip relative to its prefix, as the data set names its own."""
    if cfg.dataset == "k400":
        suffix = ".mp4" if cfg.layout == "video" else ""
        return f"{label.replace(' ', '_')}/standin{number:06d}_000000_000010{suffix}"
    return str(100_001 + number)


def _folder(cfg: Config, root: Path, clip: Clip) -> Path:
    return root / getattr(cfg, f"{clip.split}_prefix") / clip.path


def _write_lists(cfg: Config, root: Path, plan: list[Clip]) -> None:
    for split in SPLITS:
        frames = "" if cfg.layout == "video" else " {c.num_frames}"
        line = "{c.path}" + frames + " {c.label}\n"
        file = root / getattr(cfg, f"{split}_list")
        file.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(line.format(c=c) for c in plan if c.split == split)
        if not file.is_file() or file.read_text() != text:
            _write_text(file, text)


def _write_text(file: Path, text: str) -> None:
    """Write all or nothing."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(file)


def _checksum(path: Path) -> int:
    """crc32 of a file, or of all files of a folder; 0 if it is not there."""
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
    crc = 0
    for file in files:
        crc = zlib.crc32(file.read_bytes(), crc)
    return crc


def _damaged(cfg: Config, root: Path, plan: list[Clip], manifest: Path) -> list[Clip]:
    """Clips that are not as they were written, and are removed; all if nothing says how."""
    try:
        table = pd.read_csv(manifest, dtype={"path": str})
    except (FileNotFoundError, ValueError):
        return plan
    written = dict(table.itertuples(index=False))
    damaged = [c for c in plan if _checksum(_folder(cfg, root, c)) != written.get(c.path)]
    for clip in damaged:
        log.warning("stand-in clip %s is damaged and is generated again", clip.path)
        folder = _folder(cfg, root, clip)
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink(missing_ok=True)
    return damaged


def _cannot_write(root: Path) -> str:
    return f"the stand-in cannot be written to {root} (free some space, or set TSM_CACHE)"


def _generate(cfg, root, family, plan: list[Clip], workers: int, seed: int) -> None:
    todo: dict[int, list[Clip]] = {}
    for clip in plan:
        if not _folder(cfg, root, clip).exists():  # a clip appears at once or not at all
            todo.setdefault(clip.rendering, []).append(clip)
    jobs = _Renderings(cfg, root, family, list(todo.values()), seed)
    loader = DataLoader(
        jobs,
        batch_size=None,
        num_workers=os.cpu_count() if workers is None else workers,
        generator=Generator(),
    )
    for _ in tqdm(loader, desc=f"stand-in of {cfg.dataset}", unit="clip", mininterval=1):
        pass


class _Renderings(Dataset):
    """Draws and writes the clips of one rendering for each item (so that workers can do it)."""

    def __init__(self, cfg: Config, root: Path, family: str, jobs: list[list[Clip]], seed: int):
        self.cfg, self.root, self.family, self.jobs, self.seed = cfg, root, family, jobs, seed

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, i: int) -> int:
        clips = self.jobs[i]
        first = clips[0]
        label = (
            first.label & ~1 if pair_of(first.label, self.cfg.dataset) is not None else first.label
        )
        frames = draw_clip(self.family, label, first.num_frames, self.seed, first.rendering)
        jpegs = encode_frames(frames) if self.cfg.layout == "rawframes" else []
        try:
            for clip in clips:
                step = -1 if clip.reverse else 1
                self._write(clip, frames.flip(0) if clip.reverse else frames, jpegs[::step])
        except OSError as error:
            raise DataError(f"{_cannot_write(self.root)}: {error.strerror}") from None
        return len(clips)

    def _write(self, clip: Clip, frames: Tensor, jpegs: list[bytes]) -> None:
        target = _folder(self.cfg, self.root, clip)
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.cfg.layout == "video":
            write_video(temporary, frames)
        else:
            temporary.mkdir()
            write_frames(temporary, jpegs, self.cfg.filename_tmpl, self.cfg.start_index)
        temporary.rename(target)
