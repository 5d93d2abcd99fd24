"""Downloads from a server of the tests that breaks off, refuses and lies."""

import hashlib
import logging
import re
import resource
import socket
import threading
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError

import pytest
import torch

from tsmlib import CheckpointError, ConfigError, build_model, get_config, load_checkpoint, reference
from tsmlib.configs import list_configs
from tsmlib.engine import trained_weights
from tsmlib.engine.trained_weights import published_checkpoint
from tsmlib.models import downloads
from tsmlib.models.checkpoint_files import read_checkpoint
from tsmlib.models.downloads import DownloadError, download, hash_in_name
from tsmlib.models.state_dict_layouts import to_layout
from tsmlib.report import published_curve
from tsmlib.report.published_curve import published_log

DATA = bytes(range(256)) * 1200  # 300 kB: several chunks
DIGEST = hashlib.sha256(DATA).hexdigest()[:8]
NAME = f"tsm_r50_20200607-{DIGEST}.pth"
PAGE = b"\n <!DOCTYPE html><html><body>Sign in</body></html>"


class Site:
    """What the server holds, how it misbehaves, and what it was asked for."""

    def __init__(self, url: str):
        self.url = url
        self.files = {NAME: DATA}
        self.breaks = []  # bytes after which the next answers break off; None: they do not
        self.statuses = []  # of the next answers, instead of 200
        self.ranges, self.lengths = True, True
        self.headers = {}
        self.asked = []  # (name, Range) of each request
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self, name: str = NAME) -> str:
        return f"{self.url}/models/{name}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        site, name = self.server.site, self.path.rpartition("/")[2]
        site.asked.append((name, self.headers["Range"]))
        site.hold.wait(5)
        status = site.statuses.pop(0) if site.statuses else 200
        if status == 302:
            self.send_response(status)
            self.send_header("Location", site.headers["Location"])
            self.end_headers()
            return
        if name not in site.files or status != 200:
            self.send_error(404 if status == 200 else status)
            return
        body, start = site.files[name], 0
        if self.headers["Range"] and site.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
            if start >= len(body):
                self.send_error(416)
                return
        end = site.breaks.pop(0) if site.breaks else None  # before the client asks again
        self.send_response(206 if start else 200)
        sent = {"Content-Type": "application/octet-stream"}
        if start:
            sent["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if site.lengths:
            sent["Content-Length"] = str(len(body) - start)
        for key, value in {**sent, **site.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body[start:][:end])


@pytest.fixture
def site(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setattr(downloads, "PAUSE", 0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server.site
    server.site.hold.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TSM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@contextmanager
def refused(path, *words):
    """One sentence with the reason and the place, and nothing under the final name."""
    with pytest.raises(DownloadError) as error:
        yield
    message = str(error.value)
    assert "\n" not in message and f"fetch it by hand and put it at {path}" in message
    for word in ("could not be downloaded (", *words):
        assert word in message
    assert not path.exists()


def asked_ranges(site) -> list[str | None]:
    return [wanted for _, wanted in site.asked]


# --- what goes well -------------------------------------------------------------------------------


def test_it_lies_in_the_cache_and_is_fetched_once(site, cache):
    path = download(site())
    assert path == cache / "weights" / NAME and path.read_bytes() == DATA
    assert download(site()) == path and len(site.asked) == 1
    assert not list(path.parent.glob("*.part"))


def test_another_folder_and_a_query(site, tmp_path):
    site.files[f"{NAME}?download=1"] = DATA
    assert download(site(f"{NAME}?download=1"), tmp_path / "a/b") == tmp_path / "a/b" / NAME


def test_an_odd_name_is_quoted(site, tmp_path):
    site.files["my%20weights.pth"] = DATA
    assert download(site("my weights.pth"), tmp_path).name == "my weights.pth"
    assert download(site("my%20weights.pth"), tmp_path).name == "my weights.pth"


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("tsm_r50_1x1x8_50e_kinetics400_rgb_20200607-af7fb746.pth", "af7fb746"),
        ("tsm_r50_cutmix_1x1x8_50e_sthv1_rgb-34934615.pth", "34934615"),
        ("resnet18-f37072fd.pth", "f37072fd"),
        ("https://host/resnet18-f37072fd.pth", "f37072fd"),
        ("20200607_211800.log.json", ""),
        ("tsm_r50_gpu_normalize_1x1x8_50e_kinetics400_rgb_20210219.json", ""),
        ("TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth", ""),
        ("run-20210219.json", ""),
        ("model-20240131.pth", ""),
        ("x_20210202-61135809.pth", "61135809"),  # digits alone, but no date
        ("last.pth", ""),
    ],
)
def test_hash_in_a_name(name, digest):
    assert hash_in_name(name) == digest


# --- what breaks off ------------------------------------------------------------------------------


def test_a_broken_connection_is_continued(site, cache, caplog):
    site.breaks = [100_000, 50_000]
    assert download(site()).read_bytes() == DATA
    assert asked_ranges(site) == [None, "bytes=100000-", "bytes=150000-"]
    assert "broke off after 100000 of 307200 bytes; trying again" in caplog.text


def test_a_server_without_ranges_starts_again(site):
    site.ranges, site.breaks = False, [100_000]
    assert download(site()).read_bytes() == DATA
    assert asked_ranges(site) == [None, "bytes=100000-"]


def test_it_gives_up_keeps_the_part_and_continues_later(site, cache):
    site.breaks = [70_000, 0, 0, 0]
    path = cache / "weights" / NAME
    with refused(path, f"{site()} ", "broke off after 70000 of 307200 bytes"):
        download(site())
    assert len(site.asked) == downloads.ATTEMPTS
    assert path.with_name(f"{NAME}.part").read_bytes() == DATA[:70_000]
    assert download(site()).read_bytes() == DATA
    assert asked_ranges(site)[-1] == "bytes=70000-"


@pytest.mark.parametrize(
    ("part", "ranges"),
    [
        (b"x" * 400_000, ["bytes=400000-", None]),  # longer than the file
        (b"x" * len(DATA), [f"bytes={len(DATA)}-", None]),
        (b"x" * 1000, ["bytes=1000-", None]),  # of another file
        (DATA, []),  # whole, but not yet named so
    ],
    ids=["longer", "wrong", "other", "whole"],
)
def test_parts_that_are_there_already(site, cache, part, ranges):
    (cache / "weights").mkdir(parents=True)
    (cache / "weights" / f"{NAME}.part").write_bytes(part)
    assert download(site()).read_bytes() == DATA
    assert asked_ranges(site) == ranges


def test_without_a_hash_an_old_part_is_not_trusted(site, tmp_path):
    site.files["log.json"] = DATA
    (tmp_path / "log.json.part").write_bytes(b"x" * 1000)
    site.breaks = [100]
    assert download(site("log.json"), tmp_path).read_bytes() == DATA
    assert asked_ranges(site) == [None, "bytes=100-"]  # but one of the same call is


def test_another_range_than_the_one_asked_for(site, cache):
    site.breaks, site.headers = [1000], {"Content-Range": "bytes 7-9/10"}
    with refused(cache / "weights" / NAME, "another part"):
        for _ in range(2):  # each second attempt starts anew and breaks off again
            site.breaks += [None, 1000]
        download(site())


def test_without_a_length_the_hash_decides(site):
    site.lengths, site.breaks = False, [100_000]
    assert download(site()).read_bytes() == DATA
    assert asked_ranges(site) == [None, None]


def test_a_busy_server_is_asked_again(site):
    site.statuses = [503, 429]
    assert download(site()).read_bytes() == DATA and len(site.asked) == 3


# --- what is refused ------------------------------------------------------------------------------


def test_a_wrong_hash_is_no_download(site, cache):
    site.files[NAME] = DATA[:-1] + b"x"
    with refused(cache / "weights" / NAME, NAME, f"instead of {DIGEST}"):
        download(site())
    assert len(site.asked) == 1
    assert not (cache / "weights" / f"{NAME}.part").exists()


@pytest.mark.parametrize(("status", "reason"), [(404, "HTTP 404 Not Found"), (403, "HTTP 403")])
def test_a_refusal_is_final(site, cache, status, reason):
    site.statuses = [status]
    with refused(cache / "weights" / NAME, site(), reason):
        download(site())
    assert len(site.asked) == 1


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("name", [NAME, "log.json"])
def test_a_web_page_is_no_file(site, tmp_path, name, declared):
    site.files[name] = PAGE
    site.headers = {"Content-Type": "text/html; charset=utf-8"} if declared else {}
    with refused(tmp_path / name, "a web page"):
        download(site(name), tmp_path)


def test_a_web_page_does_not_replace_a_part(site, cache):
    site.breaks = [90_000] + [0] * (downloads.ATTEMPTS - 1)
    with refused(cache / "weights" / NAME):
        download(site())
    site.files[NAME], site.ranges = PAGE, False
    site.headers = {"Content-Type": "text/html"}
    with refused(cache / "weights" / NAME, "a web page"):
        download(site())
    assert (cache / "weights" / f"{NAME}.part").read_bytes() == DATA[:90_000]


def test_a_redirection_without_end(site, cache):
    """Its reason has two lines."""
    site.statuses, site.headers = [302] * 20, {"Location": f"/models/{NAME}"}
    with refused(cache / "weights" / NAME, "HTTP 302", "infinite loop"):
        download(site())


def test_an_empty_file(site, tmp_path):
    site.files["log.json"] = b""
    with refused(tmp_path / "log.json", "is empty"):
        download(site("log.json"), tmp_path)


def test_no_network(cache, monkeypatch):
    tried = []

    def no_network(request, timeout):
        tried.append(request.full_url)
        raise URLError(socket.gaierror(-3, "Temporary failure in name resolution"))

    monkeypatch.setattr(downloads, "urlopen", no_network)
    url = f"https://download.openmmlab.com/{NAME}"
    with refused(cache / "weights" / NAME, url, "no connection: Temporary failure in name"):
        download(url)
    assert tried == [url]  # nobody waits for what will not come


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("ftp://127.0.0.1/x.pth", "it leads from http to 'ftp://127.0.0.1/x.pth', which is not"),
        ("file:///etc/passwd", "Redirection to url 'file:///etc/passwd' is not allowed"),
        ("data:,x", "Redirection to url 'data:,x' is not allowed"),  # urllib's own sentence
    ],
)
def test_redirects_stay_on_the_web(site, cache, target, reason):
    site.statuses, site.headers = [302], {"Location": target}
    with refused(cache / "weights" / NAME, reason):
        download(site())


def test_a_redirect_leads_from_https_to_https():
    handler, request = downloads._Redirects(), downloads.Request("https://a/x.pth")
    for target in ("https://b/x.pth", "http://b/x.pth"):
        expected = nullcontext() if target[4] == "s" else pytest.raises(Exception, match="leads")
        with expected:
            handler.redirect_request(request, None, 302, "", {}, target)


def test_a_server_that_sends_drop_by_drop(site, cache, monkeypatch):
    monkeypatch.setattr(downloads, "PATIENCE", 0)
    monkeypatch.setattr(downloads, "SLOWEST", 1e12)
    with refused(cache / "weights" / NAME, "bytes a second, below"):
        download(site())


def test_a_file_without_end(site, cache, monkeypatch):
    monkeypatch.setattr(downloads, "MAX_BYTES", 100_000)
    with refused(cache / "weights" / NAME, "it is larger than 100000 bytes"):
        download(site())


def test_nobody_listens(cache):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with refused(cache / "weights" / NAME, "no connection: Connection refused"):
        download(f"http://127.0.0.1:{port}/{NAME}")


@pytest.mark.parametrize(
    "url",
    ["ftp://host/x.pth", "file:///etc/passwd", "x.pth", "http://host/", "http://host/%2e%2e",
     "http://host/a%00b.pth", "http://[::1/x.pth"],
)  # fmt: skip
def test_what_is_no_address_of_a_file(url):
    with pytest.raises(DownloadError, match=f"{re.escape(url)} is not the http address of a file"):
        download(url)


def test_a_full_disk(site, cache):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:  # no file may become longer than this: what a full disk does, without one
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        with refused(cache / "weights" / NAME, "cannot be written", "free some space", "TSM_CACHE"):
            download(site())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(site.asked) == 1
    assert download(site()).read_bytes() == DATA


def test_a_folder_that_cannot_be_made(site, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"file.* cannot be written: (Not a|File exists)"):
        download(site(), tmp_path / "file" / "weights")


# --- what is there already ------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", DATA[:5000], PAGE, DATA + b"x"])
def test_a_damaged_file_is_fetched_again(site, cache, content, caplog):
    path = cache / "weights" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert download(site()).read_bytes() == DATA
    assert "it is fetched again" in caplog.text


def test_a_damaged_file_stays_where_there_is_nothing_better(site, cache):
    path = cache / "weights" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    site.files.clear()
    with pytest.raises(DownloadError, match="HTTP 404"):
        download(site())
    assert path.read_bytes() == b"x"


def test_a_file_put_there_by_hand_needs_no_network(cache):
    path = cache / "weights" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    assert download(f"https://nowhere.invalid/{NAME}") == path


def test_two_at_once_fetch_it_once(site, caplog):
    caplog.set_level(logging.INFO)
    site.hold.clear()
    found = []
    both = [threading.Thread(target=lambda: found.append(download(site()))) for _ in range(2)]
    for thread in both:
        thread.start()
    for _ in range(500):  # until the first one asks and the second one waits
        if site.asked and "waiting for it" in caplog.text:
            break
        threading.Event().wait(0.01)
    site.hold.set()
    for thread in both:
        thread.join()
    assert len(found) == 2 and found[0].read_bytes() == DATA
    assert len(site.asked) == 1 and "another process is at work in" in caplog.text


# --- published files ------------------------------------------------------------------------------


@pytest.fixture
def fetched(monkeypatch):
    """Addresses that would be fetched, and into which folder."""
    calls = []

    def note(url, folder=None):
        calls.append((url, folder))
        return downloads.Path(folder or "weights") / url.rpartition("/")[2]

    for module in (trained_weights, published_curve):
        monkeypatch.setattr(module, "download", note)
    return calls


def test_every_row_has_weights_with_a_hash(fetched):
    paths = [published_checkpoint(name) for name in list_configs()]
    assert len(set(paths)) == 36
    assert all(hash_in_name(path.name) for path in paths)
    assert all(url.startswith("https://download.openmmlab.com/") for url, _ in fetched)


def test_logs_of_two_rows_do_not_share_a_file(fetched):
    logs = {name: published_log(name) for name in list_configs()}
    assert [name for name, log in logs.items() if log is None] == ["k400_mobilenetv2_port"]
    found = [log for log in logs.values() if log]
    assert len({log.name for log in found}) < len(found)  # which they would by their names
    assert len(set(found)) == len(found) == 35


def test_a_row_without_a_log_is_named(caplog):
    caplog.set_level(logging.INFO)
    assert published_log("k400_mobilenetv2_port") is None
    assert "k400_mobilenetv2_port has no published log" in caplog.text


def test_a_row_without_weights(monkeypatch):
    table = reference.read_reference()
    table["ckpt_url"] = None
    monkeypatch.setattr(reference, "read_reference", lambda: table)
    with pytest.raises(DownloadError, match="sthv1 has no published weights"):
        published_checkpoint("sthv1")


def test_rows_by_other_names(fetched):
    assert published_checkpoint("tsm_r50_1x1x8_50e_sthv1_rgb") == \
        published_checkpoint("sthv1")  # fmt: skip
    with pytest.raises(ConfigError, match="sthv2x"):
        published_checkpoint("sthv2x")


def test_a_published_log_is_kept_by_row(site, cache, monkeypatch):
    table = reference.read_reference()
    site.files["log.json"] = b'{"mode": "train"}\n'
    table["json_url"] = site("log.json")
    monkeypatch.setattr(reference, "read_reference", lambda: table)
    path = published_log("sthv1")
    assert path == cache / "logs/sthv1/log.json" and path.read_bytes() == site.files["log.json"]


# --- weights at an address ------------------------------------------------------------------------


def tiny():
    return get_config("sthv1", backbone="resnet18", width=0.125, depth=(1, 1, 1, 1), num_classes=5)


@pytest.mark.parametrize("layout", ["mmaction2", "mit", "torchvision"])
def test_load_checkpoint_from_an_address(site, tmp_path, layout):
    model, fresh = build_model(tiny()), build_model(tiny())
    torch.save({"state_dict": to_layout(model, layout)}, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    name = f"w-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    site.files[name], site.breaks = content, [20_000]
    report = load_checkpoint(fresh, site(name))
    assert report.layout == layout
    for key, value in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[key], value), key
    assert load_checkpoint(fresh, site(name)) == report
    assert len(site.asked) == 2  # once, in two pieces


def test_files_of_the_same_name_are_told_apart(site, cache, tmp_path):
    """Without a hash in the name only the address does."""
    for epoch in (1, 2):
        torch.save({"epoch": epoch}, tmp_path / "last.pth")
        site.files["last.pth"] = (tmp_path / "last.pth").read_bytes()
        assert read_checkpoint(f"{site.url}/{epoch}/last.pth")["epoch"] == epoch
    assert len(list((cache / "weights").glob("*/last.pth"))) == 2


def test_an_address_without_weights(site):
    with pytest.raises(CheckpointError, match="HTTP 404 Not Found.*fetch it by hand"):
        load_checkpoint(build_model(tiny()), site("absent.pth"))
