"""Stand-ins: generated videos in a data set's own layout, read back by the code that reads it.

Temporal family (Something-like): the two classes of a pair are one rendering and its reversal, so
only the order of frames tells them apart, and a network blind to order is at chance within pairs.
Scene family (Kinetics-like): appearance decides six of ten classes, and with order all of them.
In between (`order_share` of a row of the temporal family): a share of the clips is told by order
alone, the others by a background in their class's colours, whatever their direction.

Annotation files are written in the data set's official form (standin_files.py), and the list files
are made from them by the code that makes them from the real ones (lists.py).

What must not tell the direction of a clip, and why it does not: a clip and its reversal are the
same rendering, reversed before it is encoded, every frame coded alone; extent, start and speed are
drawn before the reversal; no length is a multiple of 16, for which uniform test sampling would
take other frames of the reversed clip; validation holds each rendering in both directions.
"""

import hashlib
import itertools
import logging
import math
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

from ...configs import DATASETS, Config, ConfigError, datasets, standin_names
from ...paths import cache_folder, write_whole
from ..annotations import DataError
from ..prepare.write_lists import write_lists
from ..video import encode_frames, write_frames, write_video
from . import annotation_files as standin_files
from . import rendering, scenes
from .annotation_files import write_annotations
from .scenes import draw_clip, random_of

log = logging.getLogger(__name__)

LENGTHS = {"temporal": (18, 20, 24, 27, 30), "scene": (66, 70, 76)}  # dense needs 64 and more
SPLITS = ("train", "val")


@dataclass(frozen=True)
class Clip:
    """One clip of the plan: its rendering, its direction, and its path without suffix."""

    split: str
    rendering: int
    scene: str
    reverse: bool
    label: int
    path: str
    num_frames: int
    look: int | None = None  # label that the background shows, where appearance decides


def standin_root(cfg: Config, cache: Path | None = None) -> Path:
    """Name the data root of a row's stand-in; nothing is generated.

    `cache` is the folder that holds all stand-ins; None: TSM_CACHE.
    """
    name = f"{cfg.dataset}-{cfg.layout}-{cfg.standin_seed}-{_version(cfg)}"
    return (cache or cache_folder()) / "standin" / name


def prepare_standin(cfg: Config, root: Path | None = None, workers: int | None = None) -> Path:
    """Generate the stand-in of a row's data set where it is missing, and return its data root.

    Args:
        cfg: a row; its lists, folders, layout and frame names are followed. Its `standin_seed`
            draws the clips, whatever the seed of a training run.
        root: of `standin_root`; None: in the cache of TSM_CACHE.
        workers: processes that draw and encode; None: as many as cores.

    Raises:
        ConfigError: the data set has no stand-in.
        DataError: it cannot be written.
    """
    root = root or standin_root(cfg)
    if root in _VERIFIED and (root / "manifest.csv").is_file():
        return root
    plan = _plan(cfg, cfg.standin_seed)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / "lock"):  # another run may want the same clips
            _complete(cfg, root, plan, workers)
    except OSError as error:
        raise DataError(f"{_cannot_write(root)}: {error.strerror}") from None
    _VERIFIED.add(root)
    return root


_VERIFIED: set[Path] = set()  # a process reads all files of a stand-in once


def _complete(cfg: Config, root: Path, plan: list["Clip"], workers) -> None:
    """Generate what is missing or damaged, then annotations and lists, then the manifest."""
    manifest = root / "manifest.csv"
    todo = _damaged(cfg, root, plan, manifest)
    if not todo and all((root / f).is_file() for f in (cfg.train_list, cfg.val_list)):
        return
    for leftover in root.rglob("*.tmp"):  # of a run that was killed
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    log.info("generating %d of %d clips of the stand-in of %s", len(todo), len(plan), cfg.dataset)
    _generate(cfg, root, todo, workers)
    write_annotations(cfg, root, [(c.split, c.path, c.label, c.num_frames) for c in plan])
    write_lists(cfg, root)
    checksums = [_checksum(_media(cfg, root, clip)) for clip in plan]
    table = pd.DataFrame({"path": [clip.path for clip in plan], "crc32": checksums})
    write_whole(manifest, table.to_csv(index=False))


def clips_id(root: Path) -> str:
    """12 hex digits that are the same for the same clips, bit by bit."""
    return hashlib.sha256((root / "manifest.csv").read_bytes()).hexdigest()[:12]


# --- plan and cache -------------------------------------------------------------------------------


def _version(cfg: Config) -> str:
    """Changes with whatever could change the files: this code and where it writes."""
    digest = hashlib.sha256()
    for module in (datasets, scenes, rendering, standin_files):
        digest.update(Path(module.__file__).read_bytes())
    digest.update(Path(__file__).read_bytes())
    layout = (cfg.train_list, cfg.val_list, cfg.train_prefix, cfg.val_prefix, cfg.filename_tmpl)
    digest.update(repr((layout, cfg.start_index, cfg.standin_clips, cfg.order_share)).encode())
    return digest.hexdigest()[:8]


def _plan(cfg: Config, seed: int) -> list[Clip]:
    """All clips: both directions of every rendering whose class has one, classes in turn."""
    standin, names = DATASETS[cfg.dataset].standin, standin_names(cfg.dataset)
    lengths = LENGTHS[standin.family]
    if cfg.order_share < 1 and standin.family != "temporal":
        temporal = [n for n, d in DATASETS.items() if d.standin and d.standin.family == "temporal"]
        raise ConfigError(
            f"order_share={cfg.order_share} is for stand-ins whose classes order alone tells apart "
            f"({', '.join(temporal)}), not for that of {cfg.dataset}"
        )
    plan: list[Clip] = []
    for split, renderings, clips in zip(
        SPLITS, standin.renderings, cfg.standin_clips or (None, None), strict=True
    ):
        # Kinetics' classes differ in size too; with fewer clips of a pair its order is not learned
        repeats = 1 if standin.family == "scene" and split == "train" else 0
        turns, wanted = standin.turns + repeats * len(standin.pairs), len(plan) + (clips or 0)
        for i in itertools.count():
            if len(plan) >= wanted if clips else i == renderings:
                break
            number = i if split == "train" else 10_000 + i
            length = lengths[int(random_of(seed, number, 0).integers(len(lengths)))]
            turn = i % turns
            scene, members = standin.get_turn(
                turn if turn < standin.turns else turn % len(standin.pairs)
            )
            shown = _shown_class(i // turns, cfg.order_share)
            for reverse, name in enumerate(members):
                path = standin.format_path(name, 2 * number + reverse)
                label = names.index(name if shown is None else members[shown])
                look = None if shown is None else label
                plan.append(Clip(split, number, scene, bool(reverse), label, path, length, look))
    return plan


def _shown_class(turn: int, order_share: float) -> int | None:
    """Which class of a pair a rendering's looks tell in a turn; None: the order of frames tells it.

    The share is exact, for every pair and from the first clips on; both classes are shown in turn.
    """
    by_order = math.floor(turn * order_share)
    if math.floor((turn + 1) * order_share) > by_order:
        return None
    return (turn - by_order) % 2


def _media(cfg: Config, root: Path, clip: Clip) -> Path:
    """File or folder of a clip."""
    suffix = ".mp4" if cfg.layout == "video" else ""
    return root / getattr(cfg, f"{clip.split}_prefix") / (clip.path + suffix)


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
    damaged = [c for c in plan if _checksum(_media(cfg, root, c)) != written.get(c.path)]
    for clip in damaged:
        log.warning("stand-in clip %s is damaged and is generated again", clip.path)
        folder = _media(cfg, root, clip)
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink(missing_ok=True)
    return damaged


def _cannot_write(root: Path) -> str:
    return f"the stand-in cannot be written to {root} (free some space, or set TSM_CACHE)"


def _generate(cfg, root, plan: list[Clip], workers: int | None) -> None:
    todo: dict[int, list[Clip]] = {}
    for clip in plan:
        if not _media(cfg, root, clip).exists():  # a clip appears at once or not at all
            todo.setdefault(clip.rendering, []).append(clip)
    jobs = _Renderings(cfg, root, list(todo.values()))
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

    def __init__(self, cfg: Config, root: Path, jobs: list[list[Clip]]):
        self.cfg, self.root, self.jobs = cfg, root, jobs

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, i: int) -> int:
        clips = self.jobs[i]
        first = clips[0]
        frames = draw_clip(
            first.scene, first.num_frames, self.cfg.standin_seed, first.rendering, first.look
        )
        jpegs = encode_frames(frames) if self.cfg.layout == "rawframes" else []
        try:
            for clip in clips:
                step = -1 if clip.reverse else 1
                self._write(clip, frames.flip(0) if clip.reverse else frames, jpegs[::step])
        except OSError as error:
            raise DataError(f"{_cannot_write(self.root)}: {error.strerror}") from None
        return len(clips)

    def _write(self, clip: Clip, frames: Tensor, jpegs: list[bytes]) -> None:
        target = _media(self.cfg, self.root, clip)
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.cfg.layout == "video":
            write_video(temporary, frames)
        else:
            temporary.mkdir()
            write_frames(temporary, jpegs, self.cfg.filename_tmpl, self.cfg.start_index)
        temporary.rename(target)
