"""List files: both kinds, everything an editor may do to them, and what is wrong with a line."""

import hashlib
import pickle
from pathlib import Path

import pytest
from helpers import sliding

from tsmlib import DataError, get_config
from tsmlib.configs import class_names
from tsmlib.data.annotations import find_list, read_list
from tsmlib.data.list_lines import VIDEO_SUFFIXES
from tsmlib.data.loader import ClipDataset
from tsmlib.data.video import encode_frames, write_frames, write_video


@pytest.fixture
def listing(tmp_path):
    """A function that writes a list file and returns its path."""

    def write(content: str | bytes):
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / "list.txt").write_bytes(content)
        return tmp_path / "list.txt"

    return write


def entries(file, layout="rawframes", num_classes=400) -> list[tuple]:
    return [(e.path, e.num_frames, e.label) for e in read_list(file, layout, num_classes)[1]]


# --- lines ----------------------------------------------------------------------------------------


def test_raw_frames(listing):
    """As MMAction2's tools write them; a class folder may have blanks in its name."""
    file = listing("100 28 3\nabseiling/0wR5_jVB-WPk 300 0\nice skating/a b 12 399\n")
    expected = [("100", 28, 3), ("abseiling/0wR5_jVB-WPk", 300, 0), ("ice skating/a b", 12, 399)]
    assert entries(file) == expected
    assert read_list(file, "rawframes", 400)[0] == "rawframes"


def test_videos(listing):
    file = listing("a.mp4 3\nb/c d.mp4 17 4\nclip 12.avi 5\n007.webm 8 6\n")
    expected = [("a.mp4", None, 3), ("b/c d.mp4", 17, 4), ("clip 12.avi", None, 5)]
    assert entries(file, "video") == [*expected, ("007.webm", 8, 6)]


def test_long_lists_are_arrays_that_processes_share(listing):
    """Objects of Python would be copied by each worker, as counting references writes to them."""
    lines = [f"class_{i % 400}/clip{i:06d}_000010_000020.mp4 300 {i % 400}" for i in range(20_000)]
    _, listed = read_list(listing("\n".join(lines)), "auto", 400)
    pickled = pickle.dumps(listed)
    assert len(pickled) < 100 * len(lines)
    assert pickle.loads(pickled)[12_345] == listed[12_345]
    assert listed[12_345] == ("class_345/clip012345_000010_000020.mp4", 300, 345)


@pytest.mark.parametrize(
    ("line", "layout"),
    [
        ("a.mp4 3", "video"),
        ("a.MP4 12 3", "video"),
        ("my clip.avi 3", "video"),
        ("folder 12 3", "rawframes"),
        ("my folder/a 12 3", "rawframes"),
        ("v.mp4.frames 12 3", "rawframes"),
        ("c0.MTS 30 0", "video"),
        ("folder 12 3\na.wmv 0", "video"),
    ],
)
def test_auto_goes_by_what_the_list_names(listing, line, layout):
    assert read_list(listing(line + "\n"), "auto", 10)[0] == layout


@pytest.mark.parametrize(
    "content",
    [
        b"a 5 0\nb 6 1\n",
        b"a 5 0\nb 6 1",  # no line end
        b"a 5 0\r\nb 6 1\r\n",  # Windows
        b"\xef\xbb\xbfa 5 0\nb 6 1\n",  # byte order mark
        b"\n  \na 5 0\n\nb 6 1\n\n",
        b"  a  5   0 \nb\t6\t1\n",
    ],
    ids=["plain", "no end", "crlf", "bom", "blank lines", "spaces and tabs"],
)
def test_what_editors_do(listing, content):
    assert entries(listing(content)) == [("a", 5, 0), ("b", 6, 1)]


def test_names_in_other_alphabets(listing):
    assert entries(listing("día/Üb 5 0\n")) == [("día/Üb", 5, 0)]


@pytest.mark.parametrize(
    ("layout", "line", "message"),
    [
        ("rawframes", "a 5", "expected `directory num_frames label`"),
        ("rawframes", "a", "expected `directory num_frames label`"),
        ("rawframes", "a five 0", "expected `directory num_frames label`"),
        ("rawframes", "a -5 0", "expected `directory num_frames label`"),
        ("rawframes", "a 5.0 0", "expected `directory num_frames label`"),
        ("rawframes", "a 0 0", "the video has 0 frames"),
        ("rawframes", "a 5 cat", "the label 'cat' is not a whole number of 0 or more"),
        ("rawframes", "a 5 -1", "the label '-1' is not a whole number of 0 or more"),
        ("rawframes", "a 5 1.0", "the label '1.0' is not a whole"),
        ("rawframes", "a 5 10", r"label 10 is out of range for 10 classes \(0 to 9\)"),
        ("video", "a.mp4", r"expected `path \[num_frames\] label`"),
        ("video", "a.mp4 cat", "the label 'cat'"),
        ("video", "a.mp4 0 3", "the video has 0 frames"),
        ("video", "a.mp4 12", "label 12 is out of range"),
        ("video", "a.mp4,3", r"expected `path \[num_frames\] label`, separated by blanks, not"),
        ("video", "a b.mp4, 3", ".*separated by blanks, not by ','"),
        ("video", "a.mp4;3", ".*separated by blanks, not by ';'"),
        ("rawframes", "a,5,3", "expected `directory num_frames label`, separated by blanks"),
        ("rawframes", "my clip, 5, 3", ".*separated by blanks"),
        ("video", '"c 0.mp4" 0', "expected .*; write the path without quotes"),
        ("video", "'c 0.mp4' 30 0", "expected .*; write the path without quotes"),
        ("rawframes", '"c 0" 5 0', "expected .*; write the path without quotes"),
        ("video", "a.mp4 1 2 0", "expected .*, found more than two numbers"),
        ("video", "a.MTS 1 2 3 4 0", "expected .*, found more than two numbers"),
        ("rawframes", "a 10 ²", "the label '²' is not a whole number"),
        ("rawframes", "a ² 0", "expected `directory num_frames label`"),
        ("rawframes", "a 5 ٣", "the label '٣' is not a whole number"),
        ("rawframes", "a 5 " + "9" * 5000, "label 1000000000000000000 is out of range"),
        ("rawframes", "a " + "9" * 5000 + " 0", "the video cannot have more than 2147483647"),
        ("rawframes", f"a {2**63} 0", "the video cannot have more than 2147483647 frames"),
    ],
)
def test_a_broken_line_is_named(listing, layout, line, message):
    good = "good.mp4 5 0"
    # the third line, after an empty one
    file = listing(f"{good}\n\n{line}\n{good}\n")
    with pytest.raises(DataError, match=f"list.txt, line 3: {message}") as error:
        read_list(file, layout, 10)
    assert str(error.value).endswith(f": {line[:120]!r}")


@pytest.mark.parametrize("line", ["a.xyz 0", "a.mp4.part 0", "a"])
def test_a_file_that_is_not_known_for_a_video(listing, line):
    wanted = (
        "expected `directory num_frames label` .*with `layout: video`: `path .num_frames. label`"
    )
    with pytest.raises(DataError, match=wanted):
        read_list(listing(line + "\n"), "auto", 10)


@pytest.mark.parametrize("separator", "\u2028\u2029\x0b\x0c\x1c\x1d\x1e\x85\xa0\u3000")
def test_separators_of_other_kinds_belong_to_a_name(listing, separator):
    name = f"{separator}a{separator} b{separator}"
    assert entries(listing(f"{name} 5 0\nb\t6  1\n")) == [(name, 5, 0), ("b", 6, 1)]


def test_lines_end_as_on_any_system(listing):
    expected = [("a", 5, 0), ("b", 6, 1), ("c", 7, 2)]
    assert entries(listing(b"a 5 0\nb 6 1\r\nc 7 2\r")) == expected


def test_missing_and_empty_lists(listing, tmp_path):
    with pytest.raises(DataError, match="no list file .*absent.txt"):
        read_list(tmp_path / "absent.txt", "rawframes", 10)
    for content in ("", "\n \n"):
        with pytest.raises(DataError, match="list.txt is empty"):
            read_list(listing(content), "rawframes", 10)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_named(listing, encoding):
    """PowerShell writes UTF-16, old editors Latin-1."""
    with pytest.raises(DataError, match="list.txt.*UTF-8"):
        read_list(listing("día 5 0\n".encode(encoding)), "rawframes", 10)


# --- where the files are --------------------------------------------------------------------------


def place(root, *folders, name="clip") -> None:
    for folder in folders:
        (root / folder / name).mkdir(parents=True)


def test_published_rows_have_their_prefix(tmp_path):
    cfg = get_config("sthv1")
    place(tmp_path, "sthv1/rawframes", "sthv1")
    (tmp_path / cfg.train_list).write_text("clip 5 0\n")
    (tmp_path / cfg.val_list).write_text("clip 5 1\nclip 6 2\n")
    found = find_list(cfg, "val", tmp_path)
    assert found.prefix == tmp_path / "sthv1/rawframes"  # and not where the name also exists
    assert found.file == tmp_path / cfg.val_list and found.layout == "rawframes"
    assert [e.label for e in found.entries] == [1, 2]
    assert found.sha256 == hashlib.sha256(b"clip 5 1\nclip 6 2\n").hexdigest()
    assert [e.label for e in find_list(cfg, "train", tmp_path).entries] == [0]


def custom(tmp_path, lists: str = "."):
    (tmp_path / "root").mkdir(exist_ok=True)
    (tmp_path / lists).mkdir(exist_ok=True, parents=True)
    for split in ("train", "val"):
        (tmp_path / lists / f"{split}.txt").write_text("clip 5 0\n")
    (tmp_path / "own.yaml").write_text(
        f"base: sthv1\nnum_classes: 2\ndata_root: root\n"
        f"train_list: {lists}/train.txt\nval_list: {lists}/val.txt\n"
    )
    return get_config(str(tmp_path / "own.yaml"))


@pytest.mark.parametrize(
    "folder", ["root", "root/videos", "root/rawframes", "lists", "lists/videos"]
)
def test_own_files_are_looked_for_around(tmp_path, folder):
    """Under the data root or beside the list, perhaps in `videos` or `rawframes`."""
    cfg = custom(tmp_path, "lists")
    place(tmp_path, folder)
    found = find_list(cfg, "train", tmp_path / "root")
    assert found.prefix.resolve() == tmp_path / folder
    assert found.file.resolve() == tmp_path / "lists/train.txt"


def test_files_that_are_nowhere_are_named(tmp_path):
    cfg = custom(tmp_path)
    with pytest.raises(
        DataError, match=r"train.txt lists clip and others, none of which is in .*root/videos"
    ):
        find_list(cfg, "train", tmp_path / "root")


def test_the_list_of_a_published_row_is_not_looked_for_elsewhere(tmp_path):
    cfg = get_config("sthv1")
    place(tmp_path, "sthv1/rawframes", "data/sthv1/rawframes")
    (tmp_path / cfg.train_list).write_text("clip 5 0\n")
    with pytest.raises(DataError, match="no list file"):
        find_list(cfg, "train", tmp_path / "data")


# --- what the columns hold ------------------------------------------------------------------------


def listed(folder: Path, text: str, **fields):
    (folder / "list.txt").write_text(text)
    own = {"train_list": "list.txt", "val_list": "list.txt", "num_classes": 3, **fields}
    lines = ["base: k400", *(f"{name}: {value}" for name, value in own.items())]
    (folder / "mine.yaml").write_text("\n".join(lines))
    return find_list(get_config(str(folder / "mine.yaml")), "val", folder)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Three videos of 12 frames, a folder of 6 frames, and one that is named like a video."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("a.mp4", "b.mp4", "c 0.mp4"):
        write_video(folder / name, sliding(12))
    for name in ("clip", "00001.MP4"):
        (folder / name).mkdir()
        write_frames(folder / name, encode_frames(sliding(6)), "img_{:05}.jpg", 1)
    return folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nclip 2 5 1\n", "line 2: expected .*, found 'clip' and more than two numbers, .*offset"),
        ("clip 5 1 2 0\n", "line 1: expected .*, found 'clip' and more than two numbers"),
        ("a.mp4 1 2\nb.mp4 2 0\n", "line 1: expected .* has 12 frames, not 1; if the numbers are"),
        ("a.mp4 12 2\nb.mp4 300 0\nc 0.mp4 2 1\n", "line 2: expected .* 12 frames, not 300"),
    ],
)
def test_columns_that_are_no_length_and_label(clips, text, message):
    with pytest.raises(DataError, match=f"list.txt, {message}"):
        listed(clips, text)


def test_lengths_that_are_nearly_right(clips):
    assert len(listed(clips, "a.mp4 11 2\nb.mp4 13 0\nc 0.mp4 2 1\n").entries) == 3
    assert [e.path for e in listed(clips, "c 0.mp4 0\n").entries] == ["c 0.mp4"]
    (clips / "damaged.mp4").write_bytes(b"no video")
    assert len(listed(clips, "damaged.mp4 1 2\na.mp4 12 0\n").entries) == 2


@pytest.mark.parametrize("text", ["00001.MP4 6 1\n", "a.mp4 0\n00001.MP4 6 1\nclip 6 1\n"])
def test_a_folder_named_like_a_video_holds_frames(clips, text):
    videos = listed(clips, text)
    assert [videos.is_file(e) for e in videos.entries] == [
        e.path == "a.mp4" for e in videos.entries
    ]
    raw = listed(clips, "00001.MP4 6 1\n", layout="rawframes")
    assert not raw.is_file(raw.entries[0])


def test_files_and_folders_that_are_taken_for_the_other(clips):
    with pytest.raises(DataError, match="line 1: .*00001.MP4 is a folder; list folders of frames"):
        listed(clips, "00001.MP4 1\n")
    (clips / "a.xyz").write_bytes((clips / "a.mp4").read_bytes())
    with pytest.raises(DataError, match="line 1: .*a.xyz is a file, .*; set `layout: video`"):
        listed(clips, "a.xyz 12 1\n")
    assert listed(clips, "a.xyz 12 1\n", layout="video").layout == "video"


def test_suffixes_of_cameras():
    assert {".mts", ".m2ts", ".3gp", ".wmv", ".gif", ".vob", ".mxf"} <= set(VIDEO_SUFFIXES)


# --- paths that lead elsewhere --------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path, clips) -> Path:
    """A folder with a video, beside one with another video and a folder of frames."""
    for name in ("root", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").write_bytes((clips / "a.mp4").read_bytes())
    (tmp_path / "other/clip").mkdir()
    write_frames(tmp_path / "other/clip", encode_frames(sliding(6)), "img_{:05}.jpg", 1)
    return tmp_path / "root"


def read(folder: Path, text: str, **fields) -> list[str]:
    """Read the clips of a list, and return why some cannot be read."""
    videos = listed(folder, text, **fields)
    dataset = ClipDataset(videos, get_config(str(folder / "mine.yaml")), "validation")
    return [dataset[0, i][3] for i in range(len(dataset))]


@pytest.mark.parametrize(
    "path", ["../other/a.mp4", "x/../../other/a.mp4", "{}/other/a.mp4", "./../other/a.mp4"]
)
def test_paths_out_of_the_folder_are_refused(outside, path):
    path = path.format(outside.parent)
    with pytest.raises(DataError, match=f"line 2: the path leads out of {outside}; set allow_out"):
        listed(outside, f"a.mp4 0\n{path} 1\n")
    (outside / "x").mkdir()
    assert read(outside, f"a.mp4 0\n{path} 1\n", allow_outside=True) == ["", ""]


@pytest.mark.parametrize("path", ["x/../a.mp4", "{}/a.mp4", "{}/x/../a.mp4", "..a/a.mp4"])
def test_paths_that_stay_inside_are_read(outside, path):
    for name in ("x", "..a"):
        (outside / name).mkdir()
    (outside / "..a/a.mp4").symlink_to(outside / "a.mp4")
    assert read(outside, f"{path.format(outside)} 1\n") == [""]


def test_links_out_of_the_folder_are_not_followed(outside):
    (outside / "b.mp4").symlink_to(outside.parent / "other/a.mp4")
    (outside / "clips").symlink_to(outside.parent / "other")
    (outside / "clip").mkdir()
    for file in (outside.parent / "other/clip").iterdir():
        (outside / "clip" / file.name).symlink_to(file)
    text = "b.mp4 0\nclips/a.mp4 0\nclips/clip 6 0\nclip 6 0\n"
    reasons = read(outside, text)
    assert len(reasons) == 4 and all(f"leads out of {outside}; set allow" in r for r in reasons)
    assert read(outside, text, allow_outside=True) == [""] * 4


def test_a_root_that_is_a_link_is_the_root(outside, tmp_path):
    (tmp_path / "link").symlink_to(outside)
    assert (
        read(tmp_path / "link", f"a.mp4 0\n{tmp_path}/link/a.mp4 0\n{outside}/a.mp4 0\n")
        == [""] * 3
    )


def test_permission_to_leave_is_no_other_experiment():
    cfg = get_config("sthv1")
    assert get_config("sthv1", allow_outside=True).hash == cfg.hash


# --- names of classes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "known"),
    [
        ("sthv1", {2: "Turning the camera left while filming something"}),
        ("sthv1", {4: "Turning the camera right while filming something"}),
        ("sthv1", {30: "Pushing something from left to right"}),
        ("sthv1", {41: "Pushing something from right to left"}),
        ("sthv1", {52: "Pulling something from right to left"}),
        ("sthv1", {66: "Pulling something from left to right"}),
        ("jester", {0: "Swiping Left", 1: "Swiping Right"}),
        ("k400", {0: "abseiling", 399: "zumba"}),
        ("hmdb51", {0: "brush hair", 50: "wave"}),
        ("ucf101", {0: "ApplyEyeMakeup", 100: "YoYo"}),
    ],
)
def test_published_order(row, known):
    cfg = get_config(row)
    names = class_names(cfg)
    assert len(names) == len(set(names)) == cfg.num_classes
    for index, name in known.items():
        assert names[index].replace("_", " ") == name


@pytest.mark.parametrize("row", ["sthv1_flip", "jester"])
def test_flipped_labels_are_opposites(row):
    """Left becomes right: the map fits the order of the names."""
    cfg = get_config(row)
    names = [name.lower() for name in class_names(cfg)]
    for a, b in cfg.flip_label_map.items():
        mirrored = names[a].replace("left", "*").replace("right", "left").replace("*", "right")
        assert names[b] == mirrored != names[a]


@pytest.mark.parametrize(
    "row", ["sthv1", "sthv2", "jester", "k400", "diving48", "hmdb51", "ucf101"]
)
def test_published_lists_are_complete(row, shared):
    name = {"k400": "kinetics400"}.get(row, row)
    file = shared / f"reference/labels/mmaction2_{name}_label_map.txt"
    published = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    assert [n.replace(" ", "_").lower() for n in class_names(get_config(row))] == [
        n.replace(" ", "_").lower() for n in published
    ]


def test_own_names_come_first():
    cfg = get_config("sthv1", num_classes=2, class_names=("up", "down"), flip_label_map=None)
    assert class_names(cfg) == ("up", "down")


def test_numbers_where_there_are_no_names():
    assert class_names(get_config("sthv1", num_classes=2)) == ("class 0", "class 1")
