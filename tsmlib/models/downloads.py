"""Fetch files from the web: once, whole, checked, continued where it broke off."""

import hashlib
import http.client
import logging
import re
import string
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout
from tqdm import tqdm

from ..paths import cache_folder

log = logging.getLogger(__name__)

ATTEMPTS = 4
PAUSE = 1.0  # seconds before the second attempt, doubled before each further one
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 16
BUSY = (408, 429, 500, 502, 503, 504)  # HTTP: worth another attempt
PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml")


class DownloadError(RuntimeError):
    """A file that cannot be had; the message says why, and where to put it when fetched by hand."""


class _Failure(Exception):
    """Why an attempt failed, and whether another one may succeed."""

    def __init__(self, reason: str, again: bool = False):
        super().__init__(reason)
        self.again = again


def download(url: str, folder: str | Path | None = None, sha256_prefix: str | None = None) -> Path:
    """A file from the web, fetched only if it is not there already and good.

    Args:
        url: its http address; the last part becomes the file's name.
        folder: where it is kept; None: `weights/` in the cache (TSM_CACHE).
        sha256_prefix: how the hash of the file starts; None: as `hash_in_name` says. Without a hash
            a file that is there counts as good unless it is empty or a web page.

    Raises:
        DownloadError: no network, no such file, not what was asked for, or nowhere to write it.
    """
    path = Path(folder or cache_folder() / "weights") / (name := _file_name(url))
    digest = hash_in_name(name) if sha256_prefix is None else sha256_prefix.lower()
    try:
        if _flaw(path, digest):  # a good file may lie where nothing can be written
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(path):
                _fetch_unless_good(url, path, digest)
        return path
    except _Failure as error:
        reason = " ".join(str(error).split())  # servers answer with several lines
    except OSError as error:
        what = f"{error.filename or path} cannot be written: {error.strerror or error}"
        reason = f"{what}; free some space, or choose another cache folder, TSM_CACHE"
    raise DownloadError(
        f"{url} could not be downloaded ({reason}); fetch it by hand and put it at {path}"
    )


def hash_in_name(name: str) -> str:
    """Start of the sha256 that the name of weights ends in (`..._20200607-af7fb746.pth`), or ''.

    MMAction2 (tools/deployment/publish_model.py) and torchvision name them so; a date is none.
    """
    found = re.search(r"-(?!20\d\d[01]\d[0-3]\d)([0-9a-f]{8})\.pth$", name)
    return found[1] if found else ""


def file_sha256(path: str | Path) -> str:
    """Hash of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_web_page(start: bytes) -> bool:
    """Whether a file that starts like this is a page: an error, a login, a preview."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(PAGES)


def _file_name(url: str) -> str:
    """The last part of an http address."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets of an IPv6 address
        parts = urlsplit("")
    name = Path(unquote(parts.path)).name
    if parts.scheme not in ("http", "https") or name in ("", "..") or "\0" in name:
        raise DownloadError(f"{url} is not the http address of a file")
    return name


def _flaw(path: Path, digest: str) -> str | None:
    """What is wrong with a file, or None."""
    if not path.is_file():
        return "is not there"
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "is empty"
    if is_web_page(start):
        return "is a web page"
    found = file_sha256(path) if digest else ""
    if not found.startswith(digest):
        return f"is damaged: its sha256 starts with {found[: len(digest)]} instead of {digest}"
    return None


def _locked(path: Path):
    """Only one process fetches a file; the others wait and find it there."""
    lock = FileLock(f"{path}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        log.info("another process is fetching %s: waiting for it", path)
        return lock.acquire()


def _fetch_unless_good(url: str, path: Path, digest: str) -> None:
    flaw = _flaw(path, digest)
    if not flaw:  # another process was faster
        return
    if path.is_file():
        log.warning("%s %s; it is fetched again", path, flaw)
    part = path.with_name(f"{path.name}.part")
    if not digest:  # nothing would prove that an older part and the rest belong together
        part.unlink(missing_ok=True)
    attempt = 1
    while not digest or _flaw(part, digest):
        try:
            _receive(url, part, digest)
            break
        except _Failure as failure:
            if not failure.again or attempt == ATTEMPTS:
                raise
            log.warning("%s: %s; trying again", url, failure)
            time.sleep(PAUSE * 2 ** (attempt - 1))
            attempt += 1
    part.replace(path)


def _receive(url: str, part: Path, digest: str) -> None:
    """One attempt to complete a part; what is complete but wrong is removed."""
    start = part.stat().st_size if part.is_file() else 0
    with _connect(url, start, part) as response:
        if "html" in response.headers.get_content_type():  # the part is worth more than that
            raise _Failure("the server sent a web page")
        if response.status != 206:  # it sends the whole file, whatever was asked for
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink()
            raise _Failure("the server sent another part than it was asked for", again=True)
        length = response.length  # None if the server does not say
        _write(response, part, start)
    if length is not None and (size := part.stat().st_size) < start + length:
        raise _Failure(f"the connection broke off after {size} of {start + length} bytes", True)
    if flaw := _flaw(part, digest):
        part.unlink()
        raise _Failure(f"what came {flaw}", again=start > 0 or length is None)


def _connect(url: str, start: int, part: Path) -> http.client.HTTPResponse:
    headers = {"User-Agent": "tsmlib", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        request = Request(quote(url, safe=string.punctuation), headers=headers)
        return urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416:  # the part is longer than the file
            part.unlink(missing_ok=True)
        again = error.code in BUSY or (error.code == 416 and start > 0)
        raise _Failure(f"HTTP {error.code} {error.reason}", again) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or reason
        again = not isinstance(error, URLError | http.client.InvalidURL)  # it was connected
        raise _Failure(f"no connection: {reason}", again) from None


def _write(response: http.client.HTTPResponse, part: Path, start: int) -> None:
    """Append the body to the part from byte `start` on."""
    total = None if response.length is None else start + response.length
    with (
        part.open("ab" if start else "wb") as file,
        tqdm(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True,
             mininterval=1) as bar,
    ):  # fmt: skip
        for chunk in _chunks(response):
            file.write(chunk)
            bar.update(len(chunk))


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body; apart from `write`, whose errors are the disk's and not the network's."""
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _Failure(f"the connection broke off: {error}", again=True) from None
        if not chunk:
            return
        yield chunk
