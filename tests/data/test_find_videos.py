"""Videos below folders, and the names of everything that is none."""

import logging

from helpers import sliding

from tsmlib import get_config
from tsmlib.data.prepare.find_videos import name_others, scan_paths
from tsmlib.data.video import encode_frames, write_frames, write_video


def test_many_files_of_a_kind_are_named_at_once(tmp_path):
    names = [*(f"{i}.png" for i in range(5)), "a.txt", "b.TXT", "no suffix"]
    named = name_others(tmp_path, names)
    assert named == [
        (f"{tmp_path}/0.png and 4 more like it", "it is no video; frames must be JPEG"),
        *((f"{tmp_path}/{name}", "it is no video") for name in ("a.txt", "b.TXT", "no suffix")),
    ]


def test_each_path_is_used_or_named(tmp_path, caplog):
    caplog.set_level(logging.WARNING, "tsmlib")
    folder = tmp_path / "00001.MP4"  # a folder of frames that is named like a video
    folder.mkdir()
    write_frames(folder, encode_frames(sliding(4)), "img_{:05}.jpg", 1)
    (tmp_path / "other").mkdir()
    write_frames(tmp_path / "other", encode_frames(sliding(4)), "frame{}.jpg", 1)
    write_video(tmp_path / "v.mp4", sliding(4))
    (tmp_path / "v.mp4").rename(tmp_path / "v.3GP")
    (tmp_path / "notes.txt").write_text("no video")
    (tmp_path / ".hidden").write_text("no video")
    found, bad = scan_paths([tmp_path], get_config("k400"))
    assert [(e.path, e.num_frames) for e in found] == [
        (str(tmp_path / "v.3GP"), None), (str(folder), 4)
    ]  # fmt: skip
    assert bad == [f"{tmp_path}/other: none of its 4 JPEG files is named like img_00001.jpg"]
    assert caplog.messages == [f"left out: {tmp_path}/notes.txt: it is no video"]
