"""Download files once, check their hash, and continue where a connection broke off."""

import http.client
import logging
import re
import string
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from filelock import FileLock

from ..locks import wait_for
from ..paths import cache_folder, file_sha256
from ..progress import Progress

log = logging.getLogger(__name__)

MEGABYTE = 1e6
ATTEMPTS = 4
PAUSE = 1.0  # seconds before the second attempt, doubled before each further one
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 16
SLOWEST, PATIENCE = 1e4, 60  # bytes a second on average, looked at after so many seconds
MAX_BYTES = 2**34  # bytes of a file
BUSY = (408, 429, 500, 502, 503, 504)  # HTTP: worth another attempt
PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml")


class DownloadError(RuntimeError):
    """A file cannot be downloaded; the message says why, and where to put it by hand."""


class _Failure(Exception):
    """An attempt failed; `retry`: another one may succeed."""

    def __init__(self, reason: str, retry: bool = False):
        super().__init__(reason)
        self.retry = retry


def download(url: str, folder: str | Path | None = None) -> Path:
    """Download a file from the web, unless a good copy is there already.

    A good copy has the hash that its name says (`hash_in_name`). Where it says none, any file is
    good that is neither empty nor a web page.

    Args:
        url: its http address; the last part becomes the file's name.
        folder: where it is kept; None: `weights/` in the cache (TSM_CACHE).

    Raises:
        DownloadError: no network, no such file, a wrong file, or no place to write it.
    """
    path = Path(folder or cache_folder() / "weights") / _file_name(url)
    digest = hash_in_name(path.name)
    try:
        if _flaw(path, digest):  # a good file may lie where nothing can be written
            path.parent.mkdir(parents=True, exist_ok=True)
            with wait_for(FileLock(f"{path}.lock")):  # others find the file there
                _fetch_unless_good(url, path, digest)
        return path
    except _Failure as error:
        reason = " ".join(str(error).split())  # servers answer with several lines
    except OSError as error:
        problem = f"{error.filename or path} cannot be written: {error.strerror or error}"
        reason = f"{problem}; free some space, or choose another cache folder, TSM_CACHE"
    raise DownloadError(
        f"{url} could not be downloaded ({reason}); fetch it by hand and put it at {path}"
    )


def hash_in_name(name: str) -> str:
    """Return the start of the sha256 that ends a name (`..._20200607-af7fb746.pth`), or ''.

    MMAction2 (tools/deployment/publish_model.py) and torchvision name weights so. A date is no
    hash.
    """
    match = re.search(r"-(?!20\d\d[01]\d[0-3]\d)([0-9a-f]{8})\.pth$", name)
    return match[1] if match else ""


def is_web_page(start: bytes) -> bool:
    """Tell whether a file with these first bytes is a web page: an error, a login, a preview."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(PAGES)


def _file_name(url: str) -> str:
    """Return the last part of an http address."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets of an IPv6 address
        parts = urlsplit("")
    name = Path(unquote(parts.path)).name
    if parts.scheme not in ("http", "https") or name in ("", "..") or "\0" in name:
        raise DownloadError(f"{url} is not the http address of a file")
    return name


def _flaw(path: Path, digest: str) -> str | None:
    """Describe what is wrong with a file, or return None."""
    if not path.is_file():
        return "is not there"
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "is empty"
    if is_web_page(start):
        return "is a web page"
    actual = file_sha256(path) if digest else ""
    if not actual.startswith(digest):
        return f"is damaged: its sha256 starts with {actual[: len(digest)]} instead of {digest}"
    return None


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
            if not failure.retry or attempt == ATTEMPTS:
                raise
            log.warning("%s: %s; trying again", url, failure)
            time.sleep(PAUSE * 2 ** (attempt - 1))
            attempt += 1
    part.replace(path)


def _receive(url: str, part: Path, digest: str) -> None:
    """Try once to finish a partial download; delete it if its hash is wrong."""
    start = part.stat().st_size if part.is_file() else 0
    with _connect(url, start, part) as response:
        if "html" in response.headers.get_content_type():  # keep the part: it is worth more
            raise _Failure("the server sent a web page")
        if response.status != 206:  # the server sends the whole file nevertheless
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink()
            raise _Failure("the server sent another part than it was asked for", retry=True)
        length = response.length  # None if the server does not say
        _write(response, part, start)
    if length is not None and (size := part.stat().st_size) < start + length:
        raise _Failure(
            f"the connection broke off after {size} of {start + length} bytes", retry=True
        )
    if flaw := _flaw(part, digest):
        part.unlink()
        raise _Failure(f"what came {flaw}", retry=start > 0 or length is None)


def _connect(url: str, start: int, part: Path) -> http.client.HTTPResponse:
    headers = {"User-Agent": "tsmlib", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        request = Request(quote(url, safe=string.punctuation), headers=headers)
        return urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416:  # the part is longer than the file
            part.unlink(missing_ok=True)
        retry = error.code in BUSY or (error.code == 416 and start > 0)
        raise _Failure(f"HTTP {error.code} {error.reason}", retry) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or reason
        retry = not isinstance(error, URLError | http.client.InvalidURL)  # it was connected
        raise _Failure(f"no connection: {reason}", retry) from None


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to the web alone, and from https to https alone."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        schemes = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if schemes[1] not in ("http", "https") or schemes == ("https", "http"):
            raise _Failure(f"it leads from {schemes[0]} to {newurl[:100]!r}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def urlopen(request: Request, timeout: float) -> http.client.HTTPResponse:
    """Open a web address, with the limits of `_Redirects`."""
    return build_opener(_Redirects).open(request, timeout=timeout)


def _write(response: http.client.HTTPResponse, part: Path, start: int) -> None:
    """Write the body of a response into the part from byte `start` on."""
    total = None if response.length is None else start + response.length
    with (
        part.open("ab" if start else "wb") as file,
        Progress(part.stem, total and total / MEGABYTE, "MB", done=start / MEGABYTE) as progress,
    ):
        for chunk in _chunks(response):
            file.write(chunk)
            progress.advance(len(chunk) / MEGABYTE)


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Read the body in chunks; errors here are the network's, those of writing are the disk's."""
    begun, size = time.monotonic(), 0
    while True:
        try:
            chunk = response.read1(CHUNK)  # what is there: a server may send byte by byte
        except (OSError, http.client.HTTPException) as error:
            raise _Failure(f"the connection broke off: {error}", retry=True) from None
        if not chunk:
            return
        size, seconds = size + len(chunk), time.monotonic() - begun
        if size > MAX_BYTES:
            raise _Failure(f"it is larger than {MAX_BYTES} bytes")
        if seconds > PATIENCE and size < SLOWEST * seconds:
            raise _Failure(f"it came at {size / seconds:.0f} bytes a second, below {SLOWEST:.0f}")
        yield chunk
