"""Stand-ins: generated videos in a data set's own layout, read back by the code that reads it.

Temporal family (Something-like): the two classes of a pair are one rendering and its reversal, so
only the order of frames tells them apart, and a network blind to order is at chance within pairs.
Scene family (Kinetics-like): appearance decides six of ten classes, and with order all of them.
In between (`order_share` of a row of the temporal family): a share of the clips is told by order
alone, the others by a background in their class's colours, whatever their direction.

Annotations are written in the data set's official format, and lists are those that `tsm data lists`
would make of them.

Only the order of frames may tell a clip from its reversal. So both are one rendering, reversed
before it is encoded, every frame coded alone; extent, start and speed are drawn before the
reversal; validation holds each rendering in both directions; and lengths are chosen (plan.py) so
that uniform test sampling takes the same frames of both.
"""

import hashlib
import logging
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from ...configs import Config, datasets
from ...locks import lock_folder
from ...paths import cache_folder, write_whole
from ...progress import track
from .. import video
from ..annotations import DataError
from ..video import encode_frames, write_frames, write_video
from . import plan, rendering, scenes
from .plan import StandinClip, compose_annotations, compose_lists, plan_clips
from .scenes import draw_clip

log = logging.getLogger(__name__)

_VERIFIED: set[Path] = set()  # a process reads all files of a stand-in once


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
    clips = plan_clips(cfg)
    texts = compose_annotations(cfg, root, clips) | compose_lists(cfg, root, clips)
    try:
        with lock_folder(root):  # another run may want the same clips
            _complete(cfg, root, clips, texts, workers)
    except OSError as error:
        raise DataError(f"{_cannot_write(root)}: {error.strerror}") from None
    _VERIFIED.add(root)
    return root


def _complete(
    cfg: Config, root: Path, clips: list[StandinClip], texts: dict[Path, str], workers: int | None
) -> None:
    """Generate what is missing or damaged, then write `texts` by their files, and the manifest."""
    manifest = root / "manifest.csv"
    todo = _remove_damaged(cfg, root, clips, manifest)
    if not todo and all(file.is_file() for file in texts):
        return
    for leftover in root.rglob("*.tmp"):  # of a run that was killed
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    log.info("generating %d of %d clips of the stand-in of %s", len(todo), len(clips), cfg.dataset)
    generate_clips(cfg, root, todo, workers)
    checksums = [_checksum(_media_path(cfg, root, clip)) for clip in clips]
    table = pd.DataFrame({"path": [clip.path for clip in clips], "crc32": checksums})
    for file, text in {**texts, manifest: table.to_csv(index=False)}.items():
        write_whole(file, text)


def clips_id(root: Path) -> str:
    """Return 12 hex digits that are equal for stand-ins whose clips are equal bit for bit."""
    return hashlib.sha256((root / "manifest.csv").read_bytes()).hexdigest()[:12]


# --- clips on disk --------------------------------------------------------------------------------


def _version(cfg: Config) -> str:
    """Hash whatever could change the files: the code that plans, draws and encodes, and fields."""
    digest = hashlib.sha256()
    for module in (datasets, scenes, rendering, plan, video):
        digest.update(Path(module.__file__).read_bytes())
    digest.update(Path(__file__).read_bytes())
    layout = (cfg.train_list, cfg.val_list, cfg.train_prefix, cfg.val_prefix, cfg.filename_tmpl)
    settings = (cfg.start_index, cfg.standin_clips, cfg.order_share, cfg.least_motion)
    digest.update(repr((layout, settings)).encode())
    return digest.hexdigest()[:8]


def _media_path(cfg: Config, root: Path, clip: StandinClip) -> Path:
    """Return the path of a clip's file or folder."""
    suffix = ".mp4" if cfg.layout == "video" else ""
    return root / getattr(cfg, f"{clip.split}_prefix") / (clip.path + suffix)


def _checksum(path: Path) -> int:
    """Compute the crc32 of a file, or of all files of a folder; 0 if there is none."""
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
    crc = 0
    for file in files:
        crc = zlib.crc32(file.read_bytes(), crc)
    return crc


def _remove_damaged(
    cfg: Config, root: Path, clips: list[StandinClip], manifest: Path
) -> list[StandinClip]:
    """Remove the clips that differ from the manifest and return them; without one, return all."""
    try:
        table = pd.read_csv(manifest, dtype={"path": str})
    except (FileNotFoundError, ValueError):
        return clips
    checksums = dict(table.itertuples(index=False))
    damaged = [c for c in clips if _checksum(_media_path(cfg, root, c)) != checksums.get(c.path)]
    for clip in damaged:
        log.warning("stand-in clip %s is damaged and is generated again", clip.path)
        media = _media_path(cfg, root, clip)
        shutil.rmtree(media) if media.is_dir() else media.unlink(missing_ok=True)
    return damaged


def _cannot_write(root: Path) -> str:
    return f"the stand-in cannot be written to {root} (free some space, or set TSM_CACHE)"


# --- generation -----------------------------------------------------------------------------------


def write_clip(
    cfg: Config, root: Path, clip: StandinClip, frames: Tensor, jpegs: list[bytes]
) -> None:
    """Write a clip as a video file or a folder of frames, which appears complete or not at all."""
    target = _media_path(cfg, root, clip)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    if cfg.layout == "video":
        write_video(temporary, frames)
    else:
        temporary.mkdir()
        write_frames(temporary, jpegs, cfg.filename_tmpl, cfg.start_index)
    temporary.rename(target)


def generate_clips(
    cfg: Config,
    root: Path,
    clips: list[StandinClip],
    workers: int | None,
    write: Callable[[Config, Path, StandinClip, Tensor, list[bytes]], None] = write_clip,
) -> None:
    """Draw and write the clips that are not in the folder yet.

    Args:
        cfg: a row; its layout, folders and frame names are followed.
        root: folder of the stand-in.
        clips: clips that should be there afterwards.
        workers: processes that draw and encode; None: as many as cores, 0: none beside this one.
        write: writes one clip, in one of the processes.

    Raises:
        DataError: a clip cannot be written.
    """
    by_rendering: dict[int, list[StandinClip]] = {}
    for clip in clips:
        if not _media_path(cfg, root, clip).exists():
            by_rendering.setdefault(clip.rendering, []).append(clip)
    renderings = _Renderings(cfg, root, list(by_rendering.values()), write)
    loader = DataLoader(
        renderings,
        batch_size=None,
        num_workers=os.cpu_count() if workers is None else workers,
        generator=Generator(),
    )
    for _ in track(loader, f"generating the stand-in of {cfg.dataset}", "renderings"):
        pass


class _Renderings(Dataset):
    """Draws one rendering per item and writes its clips (a data set, so that workers share it)."""

    def __init__(
        self, cfg: Config, root: Path, renderings: list[list[StandinClip]], write: Callable
    ):
        self.cfg, self.root, self.renderings, self.write = cfg, root, renderings, write

    def __len__(self) -> int:
        return len(self.renderings)

    def __getitem__(self, i: int) -> int:
        clips, cfg = self.renderings[i], self.cfg
        first = clips[0]
        frames = draw_clip(
            first.scene,
            first.num_frames,
            cfg.standin_seed,
            first.rendering,
            first.appearance_label,
            cfg.least_motion,
        )
        jpegs = encode_frames(frames) if cfg.layout == "rawframes" else []
        try:
            for clip in clips:
                step = -1 if clip.reverse else 1
                ordered = frames.flip(0) if clip.reverse else frames
                self.write(cfg, self.root, clip, ordered, jpegs[::step])
        except OSError as error:
            raise DataError(f"{_cannot_write(self.root)}: {error.strerror}") from None
        return len(clips)
