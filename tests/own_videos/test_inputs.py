"""Lists and addresses in place of videos."""

import http.server
import threading
from functools import partial

import pytest
from helpers import sliding

from tsmlib import ConfigError
from tsmlib.data.video import write_video
from tsmlib.own_videos.inputs import expand_inputs


@pytest.fixture
def videos(tmp_path):
    for name in ("a.mp4", "b c 7.mp4", "d 3"):
        write_video(tmp_path / "video.mp4", sliding(3))
        (tmp_path / "video.mp4").rename(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("l.txt", "a.mp4\n\n# a remark\nb c 7.mp4\na.mp4\n", ["a.mp4", "b c 7.mp4"]),
        ("l.txt", "a.mp4 30 1\nb c 7.mp4 2\nd 3 12 0\nd 3\n", ["a.mp4", "b c 7.mp4", "d 3"]),
        ("l.txt", "nowhere.mp4 1\n", ["nowhere.mp4"]),
        ("l.csv", 'label,path\nx,a.mp4\ny,"b c 7.mp4"\n', ["a.mp4", "b c 7.mp4"]),
    ],
)
def test_lists(videos, name, text, expected):
    (videos / name).write_text("\ufeff" + text, encoding="utf-8")
    found, addresses, bad = expand_inputs(videos / name)
    assert found == [videos / path for path in expected] and not addresses and not bad


def test_lines_without_a_path_are_named(videos):
    (videos / "l.csv").write_text("label,path\nx\ny,\nz,a.mp4\n")
    found, _, bad = expand_inputs(videos / "l.csv")
    assert found == [videos / "a.mp4"]
    assert bad == [f"line {i} of {videos / 'l.csv'} has no path" for i in (2, 3)]
    (videos / "l.txt").write_text("# nothing\n")
    assert expand_inputs(videos / "l.txt")[2] == [f"the list {videos / 'l.txt'} names no videos"]


def test_files_and_folders_stay_as_they_are(videos):
    found, _, _ = expand_inputs([videos, videos / "a.mp4", "nowhere.txt"])
    assert [str(path) for path in found] == [str(videos), str(videos / "a.mp4"), "nowhere.txt"]


def test_lists_that_cannot_be_read(videos):
    (videos / "l.csv").write_text("file,label\na.mp4,x\n")
    with pytest.raises(ConfigError, match="l.csv needs a column `path`; it has: file, label"):
        expand_inputs(videos / "l.csv")
    (videos / "l.txt").write_bytes("Käse.mp4".encode("latin1"))
    with pytest.raises(ConfigError, match="l.txt is not UTF-8 text"):
        expand_inputs(videos / "l.txt")


def test_addresses_are_fetched_once(videos, tmp_path, monkeypatch):
    monkeypatch.setenv("TSM_CACHE", str(tmp_path / "cache"))
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(videos))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/a.mp4"
    try:
        for _ in range(2):
            (found,), addresses, bad = expand_inputs([address])
            assert found.read_bytes() == (videos / "a.mp4").read_bytes() and not bad
            assert addresses == {str(found): address} and len(asked) == 1
        found, _, (reason,) = expand_inputs([address.replace("a.mp4", "z.mp4")])
        assert not found and "z.mp4 could not be downloaded (HTTP 404" in reason
    finally:
        server.shutdown()
        server.server_close()
    _, _, (reason,) = expand_inputs(["rtsp://camera.local/stream"])
    assert reason.endswith("/stream is a stream without an end: play it with tsm online")
