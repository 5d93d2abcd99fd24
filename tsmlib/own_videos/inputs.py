"""What a user names as videos: files, folders, lists of them, and addresses on the web."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..configs import ConfigError, get_config
from ..models.downloads import DownloadError, download
from ..paths import cache_folder

LISTS = (".txt", ".csv")
STREAMS = ("rtsp:", "rtmp:", "udp:", "srt:")


def expand_inputs(
    paths: str | Path | Sequence[str | Path],
) -> tuple[list[Path], dict[str, str], list[str]]:
    """Read lists and fetch addresses; files and folders stay as they are.

    A list is a .txt file with a path or address on each line, or with lines of a training list,
    whose numbers are dropped; or a .csv file with a column `path`. Paths are relative to the list's
    folder; those of a .txt list to `data_root` where a YAML file beside it names the list.

    Returns:
        Files and folders here, the address of each that was fetched, and a sentence for each that
        could not be.

    Raises:
        ConfigError: a list that cannot be read.
    """
    local: list[Path] = []
    addresses: dict[str, str] = {}
    bad: list[str] = []
    for name in [paths] if isinstance(paths, str | Path) else paths:
        for path in _read_list(Path(name), bad) if _is_list(name) else [str(name)]:
            if "://" not in path:
                local.append(Path(path).expanduser())
                continue
            try:
                local.append(fetch_video(path))
                addresses[str(local[-1])] = path
            except DownloadError as error:
                bad.append(str(error))
    return local, addresses, bad


def fetch_video(address: str) -> Path:
    """Download a video into the cache, unless it is there already.

    Raises:
        DownloadError: it cannot be had, or is a live stream.
    """
    if address.startswith(STREAMS):
        raise DownloadError(f"{address} is a stream without an end: play it with tsm online")
    digest = hashlib.sha256(address.encode()).hexdigest()[:8]  # names repeat from site to site
    return download(address, cache_folder() / "videos" / digest)


def _is_list(name: str | Path) -> bool:
    return "://" not in str(name) and Path(name).suffix.lower() in LISTS and Path(name).is_file()


def _read_list(file: Path, bad: list[str]) -> list[str]:
    """Read the paths of a list; lines of a csv without one are added to `bad`."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"the list {file} is not UTF-8 text; save it as UTF-8") from None
    if file.suffix.lower() == ".csv":
        rows = csv.DictReader(text.splitlines())
        if "path" not in (rows.fieldnames or ()):
            found = ", ".join(rows.fieldnames or ())
            raise ConfigError(f"the list {file} needs a column `path`; it has: {found}")
        named = []
        for row in rows:
            named.append(row["path"] or "")
            if not row["path"]:
                bad.append(f"line {rows.line_num} of {file} has no path")
        folder = file.parent
    else:
        folder = _root_of(file)
        named = [_drop_numbers(folder, line.strip()) for line in text.splitlines()]
    paths = [
        name if "://" in name else str(folder / Path(name).expanduser())
        for name in dict.fromkeys(named)
        if name and not name.startswith("#")
    ]
    if not paths:
        bad.append(f"the list {file} names no videos")
    return paths


def _root_of(file: Path) -> Path:
    """Return the folder that the paths of a list are relative to."""
    for recipe in sorted(file.parent.glob("*.yaml")):
        try:
            cfg = get_config(str(recipe))
        except ConfigError:  # of something else
            continue
        lists = [Path(name) for name in (cfg.train_list, cfg.val_list) if name]
        if cfg.data_root and file.absolute() in [Path(cfg.data_root) / name for name in lists]:
            return Path(cfg.data_root)
    return file.parent


def _drop_numbers(folder: Path, line: str) -> str:
    """Cut `[num_frames] label` off the line of a training list, unless they belong to a name."""
    words = line
    for _ in range(2):
        if (folder / words).exists() or not words.rpartition(" ")[2].isdigit():
            break
        words = words.rpartition(" ")[0]
    return words
