"""Lists of every data set from its official form, and the check of what they list."""

import dataclasses

import pytest
import torch
from test_official import OFFICIAL, TRAIN, VAL, expected, in_order, write_annotations

from tsmlib import DataError, get_config
from tsmlib.__main__ import main
from tsmlib.configs import class_names, list_configs
from tsmlib.configs.datasets import SPLITS
from tsmlib.data.annotations import find_list
from tsmlib.data.prepare.check import check_data
from tsmlib.data.prepare.write_lists import count_frames, index_videos, media_folder, write_lists
from tsmlib.data.video import encode_frames, write_frames, write_video

ROWS = (*(name for name in OFFICIAL if name in list_configs()), "k400_video")
HEIGHT, WIDTH = 100, 128  # as Something-Something V1 and Jester are stored


def pictures(count, height=HEIGHT, width=WIDTH, seed=0):
    """uint8 `[T, H, W, 3]`, every frame of one colour."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randint(0, 256, (count, 1, 1, 3), generator=generator, dtype=torch.uint8)
    return colours.expand(count, height, width, 3).contiguous()


JPEGS, LARGER = (encode_frames(pictures(40, HEIGHT * n, WIDTH * n)) for n in (1, 2))


def put(cfg, folder, path, count=10, jpegs=JPEGS):
    """A video or a folder of frames, as the row stores it."""
    if cfg.layout == "video":
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / path, pictures(count))
    else:
        (folder / path).mkdir(parents=True)
        write_frames(folder / path, jpegs[:count], cfg.filename_tmpl, cfg.start_index)


@pytest.fixture
def prepared(tmp_path):
    """A function that puts a row's annotations and media on disk, and returns the row."""

    def prepare(row, suffix=".mp4", **annotations):
        cfg = get_config(row)
        write_annotations(tmp_path, cfg.dataset, **annotations)
        end = suffix if cfg.layout == "video" else ""
        for split, videos in zip(SPLITS, (TRAIN, VAL), strict=True):
            for i, item in enumerate(expected(cfg.dataset, videos)):
                put(cfg, media_folder(cfg, tmp_path, split), f"{item.path}{end}", 10 + i)
        return cfg

    return prepare


def text(cfg, root, split="train"):
    return (root / getattr(cfg, f"{split}_list")).read_text()


# --- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS)
def test_every_data_set_comes_back(tmp_path, prepared, row):
    """Written from the official form, found by what reads every list."""
    cfg = prepared(row)
    report = write_lists(cfg, tmp_path)
    end = ".mp4" if cfg.layout == "video" else ""
    for split, told in zip(SPLITS, report.splits, strict=True):
        items = in_order(cfg.dataset, split)
        found = find_list(cfg, split, tmp_path)
        assert [(e.path, e.label) for e in found.entries] == [
            (f"{i.path}{end}", i.label) for i in items
        ]
        assert found.file == told.file == tmp_path / getattr(cfg, f"{split}_list")
        assert found.prefix == tmp_path / getattr(cfg, f"{split}_prefix")
        fillers = 400 if (cfg.dataset, split) == ("k400", "train") else 0
        assert (told.found, told.annotated) == (len(items), len(items) + fillers)
        assert (told.frames is None) == (cfg.layout == "video")
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_lines_of_a_list(tmp_path, prepared):
    cfg = prepared("sthv1")
    report = write_lists(cfg, tmp_path)
    assert text(cfg, tmp_path) == "aa 10 3\nb.c 11 0\n100218 12 3\n"
    assert text(cfg, tmp_path, "val") == "d_d 10 0\n-e 11 26\n"
    assert [told.frames for told in report.splits] == [(10, 11, 12), (10, 10.5, 11)]
    before = (tmp_path / cfg.train_list).read_bytes()
    write_lists(cfg, tmp_path)
    assert (tmp_path / cfg.train_list).read_bytes() == before


def test_videos_that_are_not_on_disk_are_left_out_and_counted(tmp_path, prepared):
    more = tuple((1, f"absent{i}") for i in range(9))
    cfg = prepared("jester", train=(*more, *TRAIN))
    train, val = write_lists(cfg, tmp_path).splits
    assert (train.annotated, train.found, val.found) == (12, 3, 2)
    assert train.missing == tuple(f"absent{i}" for i in range(5)) and val.missing == ()
    assert text(cfg, tmp_path) == "aa 10 3\nb.c 11 0\n100218 12 3\n"


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm", ".MKV"])
def test_any_suffix_of_a_video(tmp_path, suffix):
    cfg = get_config("diving48")
    write_annotations(tmp_path, "diving48")
    for split, videos in zip(SPLITS, (TRAIN, VAL), strict=True):
        for item in expected("diving48", videos):
            file = media_folder(cfg, tmp_path, split) / f"{item.path}{suffix}"
            file.parent.mkdir(exist_ok=True, parents=True)
            file.touch()
    write_lists(cfg, tmp_path)
    assert text(cfg, tmp_path).splitlines()[1] == f"b.c{suffix} 0"
    assert len(find_list(cfg, "train", tmp_path).entries) == 3


@pytest.mark.parametrize("row", ["k400", "k400_video"])
@pytest.mark.parametrize("place", ["air drumming/aa_000007_000017", "aa_000007_000017"])
def test_kinetics_in_folders_with_blanks_or_in_one_folder(tmp_path, row, place):
    """As the official crawler and as the CVDF copy have it."""
    cfg = get_config(row)
    write_annotations(tmp_path, "k400", train=((1, "aa"),), val=((1, "bb"),))
    end = ".mp4" if row == "k400_video" else ""
    put(cfg, media_folder(cfg, tmp_path, "train"), place + end)
    write_lists(cfg, tmp_path, ("train",))
    assert text(cfg, tmp_path) == f"{place}{end}{'' if end else ' 10'} 1\n"
    assert find_list(cfg, "train", tmp_path).entries[0].path == place + end


def test_frames_are_counted_up_to_the_first_gap(tmp_path, prepared):
    cfg = prepared("sthv1")
    folder = tmp_path / cfg.train_prefix
    (folder / "aa" / "00004.jpg").unlink()
    for other in ("flow_x_00001.jpg", "img_00011.jpg", "00012.png", "notes.txt"):
        (folder / "b.c" / other).touch()
    (report, _) = write_lists(cfg, tmp_path).splits
    assert text(cfg, tmp_path) == "aa 3 3\nb.c 11 0\n100218 12 3\n"
    assert report.gaps == ("aa",)
    assert count_frames(folder / "aa", "{:05}.jpg", 5) == (6, 9)
    assert count_frames(folder / "absent", "{:05}.jpg", 1) == (0, 0)


def test_of_two_files_of_a_video_one_is_listed(tmp_path):
    for name in ("a/x.webm", "a/x.mp4", "a/y.avi", "z.mp4", "a/deep/er.mp4", "a/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    assert index_videos(tmp_path) == {"z": "z.mp4", "a/x": "a/x.mp4", "a/y": "a/y.avi"}
    assert index_videos(tmp_path / "absent") == {}


def test_nothing_on_disk(tmp_path):
    write_annotations(tmp_path, "sthv1")
    cfg = get_config("sthv1")
    folder = tmp_path / "sthv1/rawframes"
    sentence = (
        f"none of the 3 folders of frames of the train split of sthv1 is in {folder} .looked for "
        "aa/00001.jpg and others.; put them there$"
    )
    with pytest.raises(DataError, match=sentence):
        write_lists(cfg, tmp_path)
    write_annotations(tmp_path, "sthv2")
    with pytest.raises(DataError, match="aa/img_00001.jpg .*, or: .* tsmlib data extract sthv2$"):
        write_lists(get_config("sthv2"), tmp_path)
    put(cfg, folder, "aa")
    with pytest.raises(DataError, match="none of the 2 .* of the val split of sthv1"):
        write_lists(cfg, tmp_path)
    assert not (tmp_path / cfg.train_list).exists()  # both or none
    write_lists(cfg, tmp_path, ("train",))
    assert (tmp_path / cfg.train_list).exists()


def test_what_does_not_fit_the_row(tmp_path, prepared):
    prepared("jester")
    cfg = get_config("jester", num_classes=20, flip_label_map=None)
    with pytest.raises(DataError, match="jester have 27 classes, jester has num_classes=20"):
        write_lists(cfg, tmp_path)
    with pytest.raises(DataError, match="custom has no official annotations"):
        write_lists(dataclasses.replace(cfg, dataset="custom"), tmp_path)


def test_a_list_that_cannot_be_written(tmp_path, prepared):
    cfg = prepared("sthv1")
    (tmp_path / cfg.train_list).mkdir()
    with pytest.raises(DataError, match="sthv1_train_list_rawframes.txt cannot be written: "):
        write_lists(cfg, tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


# --- check ----------------------------------------------------------------------------------------


def problems(report, split="train"):
    """(path, problem) of a split, but classes without videos: three videos cover few."""
    table = report.problems[report.problems.split == split]
    kept = table[~table.problem.str.startswith("class without videos")]
    return list(kept[["path", "problem"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("row", ["jester", "k400_video"])
def test_nothing_is_wrong(tmp_path, prepared, row, full):
    cfg = prepared(row)
    write_lists(cfg, tmp_path)
    report = check_data(cfg, tmp_path, full=full, workers=0)
    assert report.ready and not problems(report, "val")
    assert [p for p in problems(report) if "filler" not in p[0]] == []
    assert list(report.problems.columns) == ["split", "path", "problem"]
    train = report.summary.iloc[0]
    assert (train.split, train.listed, train.present, train.damaged) == ("train", 3, 3, 0)
    assert (train.frames_min, train.frames_median, train.frames_max) == (10, 11, 12)
    assert train.classes == 2
    assert train.list_sha256 == find_list(cfg, "train", tmp_path).sha256[:12]
    uncovered = report.problems.problem.str.startswith("class without videos").groupby(
        report.problems.split
    )
    assert uncovered.sum().tolist() == [cfg.num_classes - 2] * 2
    assert f"class without videos: 1 {class_names(cfg)[1]}" in set(report.problems.problem)


def test_workers_change_nothing(tmp_path, prepared):
    cfg = prepared("hmdb51")
    write_lists(cfg, tmp_path)
    (tmp_path / cfg.train_prefix / "chew").rename(tmp_path / "away")
    serial, parallel = (check_data(cfg, tmp_path, workers=n) for n in (0, 2))
    assert serial.problems.equals(parallel.problems)
    assert serial.summary.equals(parallel.summary)


def test_a_split_that_is_not_asked_for_is_not_looked_at(tmp_path, prepared):
    """An evaluation does not read the training videos first."""
    cfg = prepared("hmdb51")
    write_lists(cfg, tmp_path)
    (tmp_path / cfg.train_prefix / "chew").rename(tmp_path / "away")
    assert not check_data(cfg, tmp_path, workers=0).ready
    report = check_data(cfg, tmp_path, workers=0, splits=("val",))
    assert report.ready and set(report.videos["split"]) == {"val"}


def test_damaged_frames(tmp_path, prepared):
    cfg = prepared("sthv1")
    write_lists(cfg, tmp_path)
    folder = tmp_path / cfg.train_prefix
    (folder / "aa/00010.jpg").unlink()
    (folder / "b.c/00005.jpg").write_bytes(b"no picture")
    write_frames(folder / "100218", JPEGS[:1], "{:05}.jpg", 13)
    quick, full = (check_data(cfg, tmp_path, full, workers=0) for full in (False, True))
    expected = [
        ("aa", "damaged: 9 frames without a gap, the list promises 10"),
        ("100218", "more frames: 13, the list says 12; write the lists again"),
    ]
    assert problems(quick) == expected
    assert len(problems(full)) == 3
    path, problem = problems(full)[1]
    assert path == "b.c" and problem.startswith("damaged: ") and "00005.jpg" in problem
    assert quick.summary.damaged.tolist() == [1, 0] and full.summary.damaged.tolist() == [2, 0]
    assert not quick.ready and problems(quick, "val") == []


def test_damaged_and_missing_videos(tmp_path, prepared):
    cfg = prepared("diving48")
    write_lists(cfg, tmp_path)
    folder = tmp_path / cfg.train_prefix
    (folder / "aa.mp4").write_bytes((folder / "aa.mp4").read_bytes()[:500])
    (folder / "b.c.mp4").write_bytes(b"")
    (folder / "100218.mp4").unlink()
    report = check_data(cfg, tmp_path, workers=0)
    first, second, third = problems(report)
    assert first[0] == "aa.mp4" and first[1].startswith("damaged: ")
    assert second == ("b.c.mp4", "damaged: the file is empty")
    assert third == ("100218.mp4", "not on disk")
    train = report.summary.iloc[0]
    assert (train.listed, train.present, train.damaged, train.classes) == (3, 2, 2, 0)
    assert not report.ready


def test_short_videos_and_sizes(tmp_path):
    cfg = get_config("jester")
    videos = ((0, "one"), (1, "five"), (2, "large"), (3, "larger"), (4, "mixed"))
    write_annotations(tmp_path, "jester", train=videos)
    folder = tmp_path / cfg.train_prefix
    stored = [("one", 1, JPEGS), ("five", 5, JPEGS), ("large", 9, LARGER), ("larger", 9, LARGER)]
    stored += [("mixed", 9, JPEGS[:8] + LARGER), ("d_d", 9, JPEGS), ("-e", 8, JPEGS)]
    for name, count, jpegs in stored:
        put(cfg, folder, name, count, jpegs)
    write_lists(cfg, tmp_path)
    report = check_data(cfg, tmp_path, workers=0)
    one, five, mixed, *sizes = problems(report)
    assert one == ("one", "one frame only")
    assert five == ("five", "short: 5 frames, num_segments is 8")
    sides = f"({HEIGHT}, {WIDTH}, 3), ({2 * HEIGHT}, {2 * WIDTH}, 3)"
    assert mixed == ("mixed", f"damaged: frames differ in size: [{sides}]")
    size = f"{2 * WIDTH}x{2 * HEIGHT}, the row has height 100 (as 2 of 5 videos)"
    assert sizes == [("large", f"stored size: {size}")]
    assert problems(report, "val") == []


def test_lists_beside_the_annotations(tmp_path, prepared):
    """Lists of another time or from elsewhere."""
    more = ((1, "gone"), (1, "new"))
    cfg = prepared("sthv1", train=(*TRAIN, *more))
    write_lists(cfg, tmp_path)
    put(cfg, tmp_path / cfg.train_prefix, "new")
    put(cfg, tmp_path / cfg.train_prefix, "own")
    lines = "aa 10 4\naa 10 3\nb.c 11 0\nown 10 5\nd_d 10 0\n"
    (tmp_path / cfg.train_list).write_text(lines)
    report = check_data(cfg, tmp_path, workers=0)
    assert problems(report) == [
        ("aa", "label: 4, the annotations say 3; write the lists again"),
        ("aa", "listed twice"),
        ("own", "not in the annotations"),
        ("d_d", "not in the annotations"),
        ("100218", "not in the list: on disk; write the lists again"),
        ("gone", "not on disk, and not in the list"),
        ("new", "not in the list: on disk; write the lists again"),
    ]
    assert problems(report, "val") == [("d_d", "in both lists")]
    assert report.ready  # what is listed can be read
    assert report.summary.annotated.tolist() == [5, 2] and report.summary.listed.tolist() == [5, 2]


def test_annotations_and_lists_that_are_not_there(tmp_path, prepared):
    cfg = get_config("jester")
    with pytest.raises(DataError, match="data root .*nowhere does not exist .--data-root, or TSM"):
        check_data(cfg, tmp_path / "nowhere")
    nothing = check_data(cfg, tmp_path, workers=0)
    kinds = [problem.split(": ")[0] for _, problem in problems(nothing)]
    assert kinds == ["annotations", "list"] and not nothing.ready
    assert nothing.summary.listed.tolist() == [0, 0]

    write_lists(prepared("jester"), tmp_path)
    for file in (tmp_path / "jester/annotations").iterdir():
        file.unlink()
    report = check_data(cfg, tmp_path, workers=0)
    assert report.ready  # lists are enough to run
    assert [p.split("; ")[0] for _, p in problems(report)] == [
        f"annotations: there is no annotation file {tmp_path}/jester/annotations/"
        "jester-v1-labels.csv"
    ]


def test_class_order_and_own_data(tmp_path, prepared):
    cfg = prepared("jester")
    write_lists(cfg, tmp_path)
    file = tmp_path / "jester/annotations/jester-v1-labels.csv"
    names = file.read_text().splitlines()
    names[4], names[5] = names[5], names[4]
    file.write_text("\n".join(names))
    found = problems(check_data(cfg, tmp_path, workers=0))
    assert [p.split(" differ")[0] for _, p in found] == ["class order: jester: 2 class names"]
    (tmp_path / "own.yaml").write_text(
        f"base: sthv1\nnum_classes: 27\ndata_root: {tmp_path}/jester\n"
        "train_list: jester_train_list_rawframes.txt\nval_list: jester_val_list_rawframes.txt\n"
    )
    report = check_data(get_config(tmp_path / "own.yaml"), tmp_path / "jester", workers=0)
    assert report.ready and problems(report) == []
    assert report.summary.annotated.isna().all()


# --- command line ---------------------------------------------------------------------------------


def test_own_lists_with_a_video_twice(tmp_path):
    for name in "ab":
        write_video(tmp_path / f"{name}.mp4", pictures(10))
    (tmp_path / "train.txt").write_text("a.mp4 0\n./a.mp4 1\na.mp4 0\n")
    (tmp_path / "val.txt").write_text("b.mp4 1\na.mp4 0\nx/../a.mp4 1\n")
    (tmp_path / "own.yaml").write_text(
        "base: sthv1\nnum_classes: 2\ntrain_list: train.txt\nval_list: val.txt\nnum_segments: 8\n"
    )
    (tmp_path / "x").mkdir()
    report = check_data(get_config(tmp_path / "own.yaml"), tmp_path, workers=0)
    assert problems(report, "train") == [
        ("./a.mp4", "listed twice: labels 0 and 1"), ("a.mp4", "listed twice"),
    ]  # fmt: skip
    assert problems(report, "val") == [
        ("x/../a.mp4", "listed twice: labels 0 and 1"),
        ("a.mp4", "in both lists"),
        ("x/../a.mp4", "in both lists: labels 0 and 1"),
    ]


def test_own_lists_with_other_lengths_than_the_videos(tmp_path):
    for name in "ab":
        write_video(tmp_path / f"{name}.mp4", pictures(20))
    (tmp_path / "list.txt").write_text("a.mp4 14 0\nb.mp4 20 1\n")
    (tmp_path / "own.yaml").write_text(
        "base: sthv1\nnum_classes: 2\ntrain_list: list.txt\nval_list: list.txt\n"
    )
    report = check_data(get_config(tmp_path / "own.yaml"), tmp_path, workers=0, splits=("val",))
    longer = ("a.mp4", "more frames: 20, the list says 14; write the lists again")
    assert longer in problems(report, "val") and report.ready


def test_a_folder_named_like_a_video_is_no_video_file(tmp_path):
    (tmp_path / "videos_train/abseiling/a.mp4").mkdir(parents=True)
    (tmp_path / "videos_train/abseiling/b.mp4").write_bytes(b"video")
    assert index_videos(tmp_path / "videos_train") == {"abseiling/b": "abseiling/b.mp4"}


def test_lists_and_check_from_the_command_line(tmp_path, prepared, capsys):
    prepared("jester", train=(*TRAIN, (1, "gone")))
    root = ["--data-root", str(tmp_path)]
    assert main(["data", "lists", "jester", *root]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train: 3 of 4 annotated videos"
    assert lines[1].split() == ["missing", "1:", "gone"]
    assert lines[2].split() == ["frames", "10", "to", "12,", "median", "11"]
    assert lines[3].endswith("jester_train_list_rawframes.txt") and lines[4].startswith("val: 2")

    assert main(["data", "check", "jester", *root, "--workers", "0", "--full"]) == 0
    out = capsys.readouterr().out
    assert "train: 1 x not on disk, and not in the list\n  gone\n" in out
    assert "train: 25 x class without videos\n  1 Swiping Right\n" in out
    assert out.endswith("\nready: all listed videos can be read\n")

    (tmp_path / "jester/rawframes/aa/00001.jpg").unlink()
    assert main(["data", "check", "jester", *root, "--workers", "0"]) == 1
    out = capsys.readouterr().out
    assert "train: 1 x damaged\n  aa: 0 frames without a gap, the list promises 10\n" in out
    assert out.endswith("\nnot ready: see above\n")


def test_errors_are_one_sentence_on_the_command_line(tmp_path, capsys):
    for arguments, sentence in (
        (["lists", "sthv1"], f"there is no annotation file {tmp_path}/sthv1/annotations/some"),
        (["check", "sthv3"], "there is no configuration 'sthv3'; "),
        (["extract", "k400_video"], "k400_video reads what is in"),
    ):
        assert main(["data", *arguments, "--data-root", str(tmp_path)]) == 1
        shown = capsys.readouterr()
        assert shown.out == "" and shown.err.startswith(sentence) and shown.err.count("\n") == 1
