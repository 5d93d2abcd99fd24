"""Official annotations: all seven data sets as published, what editors do, and what is wrong."""

import json
from pathlib import Path

import pytest

from tsmlib import DataError, get_config
from tsmlib.configs import DATASETS, Config, class_names
from tsmlib.data.prepare.official_annotations import (
    AnnotatedVideo,
    annotations_folder,
    order_difference,
    read_official,
)
from tsmlib.data.prepare.parsing import stem

OFFICIAL = tuple(name for name, dataset in DATASETS.items() if dataset.official)
IN_CLASS_FOLDERS = ("k400", "hmdb51", "ucf101")
TRAIN, VAL = ((3, "aa"), (0, "b.c"), (3, "100218")), ((0, "d_d"), (26, "-e"))  # label, video


def config_of(dataset: str) -> Config:
    """A configuration of any data set, with a row of its own or not."""
    return get_config("sthv1", **DATASETS[dataset].list_fields())


def names_of(dataset: str) -> tuple[str, ...]:
    return class_names(config_of(dataset))


def expected(dataset: str, videos) -> tuple[AnnotatedVideo, ...]:
    """The items that `write_annotations` describes."""
    items = []
    for label, video in videos:
        folder = names_of(dataset)[label].replace(" ", "_")
        clip = f"{video}_000007_000017" if dataset == "k400" else video
        items.append(
            AnnotatedVideo(f"{folder}/{clip}" if dataset in IN_CLASS_FOLDERS else clip, label)
        )
    return tuple(items)


def write_annotations(root: Path, dataset: str, train=TRAIN, val=VAL) -> Path:
    """Annotations of (label, video) as the site of a data set publishes them; their folder."""
    folder = annotations_folder(dataset, root)
    folder.mkdir(parents=True)
    names = names_of(dataset)
    texts = WRITERS[dataset](names, train, val)
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    return folder


def write_k400(names, train, val):
    """Every class is in the training file, as labels are numbered by it."""
    fill = [(label, f"filler{label:03d}") for label in range(len(names) - 1, -1, -1)]
    texts = {}
    for split, videos in (("train", (*train, *fill)), ("val", val)):
        lines = [f'"{names[label]}",{video},7,17.0,{split},0' for label, video in videos]
        header = "label,youtube_id,time_start,time_end,split,is_cc"
        texts[f"kinetics_{split}.csv"] = "\n".join([header, *lines]) + "\n"
    return texts


def write_lines(prefix):
    def write(names, train, val):
        texts = {f"{prefix}-labels.csv": "\n".join(names) + "\n"}
        for split, videos in (("train", train), ("validation", val)):
            lines = [f"{video};{names[label]}" for label, video in videos]
            texts[f"{prefix}-{split}.csv"] = "\n".join(lines) + "\n"
        return texts

    return write


def write_sthv2(names, train, val):
    numbers = {name: str(label) for label, name in enumerate(names)}
    texts = {"something-something-v2-labels.json": json.dumps(numbers, indent=1)}
    for split, videos in (("train", train), ("validation", val)):
        entries = [
            {"id": video, "label": "a hand", "placeholders": ["a thing"],
             "template": names[label].replace("something", "[something]")}
            for label, video in videos
        ]  # fmt: skip
        texts[f"something-something-v2-{split}.json"] = json.dumps(entries, indent=1)
    return texts


def write_diving48(names, train, val):
    texts = {"Diving48_vocab.json": json.dumps([name.split("+") for name in names])}
    for split, videos in (("train", train), ("test", val)):
        entries = [{"vid_name": v, "label": n, "start_frame": 0, "end_frame": 9} for n, v in videos]
        texts[f"Diving48_V2_{split}.json"] = json.dumps(entries, indent=1)
    return texts


def write_hmdb51(names, train, val):
    texts = {f"{name}_test_split1.txt": "unused_clip.avi 0 \n" for name in names}
    for flag, videos in ((1, train), (2, val)):
        for label, video in videos:
            texts[f"{names[label]}_test_split1.txt"] += f"{video}.avi {flag} \n"
    return texts


def write_ucf101(names, train, val):
    return {
        "classInd.txt": "".join(f"{i} {name}\r\n" for i, name in enumerate(names, 1)),
        "trainlist01.txt": "".join(f"{names[n]}/{v}.avi {n + 1}\r\n" for n, v in train),
        "testlist01.txt": "".join(f"{names[n]}/{v}.avi\r\n" for n, v in val),
    }


WRITERS = {
    "k400": write_k400,
    "sthv1": write_lines("something-something-v1"),
    "sthv2": write_sthv2,
    "jester": write_lines("jester-v1"),
    "diving48": write_diving48,
    "hmdb51": write_hmdb51,
    "ucf101": write_ucf101,
}


# --- what is read ---------------------------------------------------------------------------------


def in_order(dataset, split):
    """HMDB51 has a file a class; Kinetics lists its other classes after these videos."""
    items = expected(dataset, TRAIN if split == "train" else VAL)
    return tuple(sorted(items, key=lambda i: i.label)) if dataset == "hmdb51" else items


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("dataset", OFFICIAL)
def test_every_data_set(tmp_path, dataset, split):
    """Names in the published order, videos in the order of the file."""
    found = read_official(dataset, write_annotations(tmp_path, dataset), split)
    assert found.names == names_of(dataset)
    rest = 400 if (dataset, split) == ("k400", "train") else 0
    assert found.items[: len(found.items) - rest] == in_order(dataset, split)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\r", "").replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text + "\n  \n\n",
        lambda text: "\n" + text.rstrip("\n"),
        lambda text: "\n".join(f"  {line}\t" for line in text.splitlines()),
    ],
    ids=["crlf", "bom", "empty lines", "no end", "blanks around"],
)
@pytest.mark.parametrize("dataset", OFFICIAL)
def test_what_editors_do(tmp_path, dataset, change):
    folder = write_annotations(tmp_path, dataset)
    plain = [read_official(dataset, folder, split) for split in ("train", "val")]
    for file in folder.iterdir():
        file.write_bytes(change(file.read_bytes().decode()).encode())
    assert [read_official(dataset, folder, split) for split in ("train", "val")] == plain


def test_blanks_inside_fields(tmp_path):
    folder = write_annotations(tmp_path, "jester")
    (folder / "jester-v1-train.csv").write_text(' 7 ; Swiping   Right \n8;"Swiping Down"\n')
    assert read_official("jester", folder, "train").items == (
        AnnotatedVideo("7", 1),
        AnnotatedVideo("8", 2),
    )


def test_kinetics_classes_are_numbered_by_the_sorted_training_file(tmp_path):
    """Also where a class of the validation file comes first in neither file."""
    folder = write_annotations(tmp_path, "k400")
    header = "label,youtube_id,time_start,time_end,split\n"
    train = 'zumba,z,1,11,train\nair drumming,a,0,10,train\n"hurling (sport)",h,2,12,train\n'
    (folder / "kinetics_train.csv").write_text(header + train)
    (folder / "kinetics_val.csv").write_text(header + "zumba,y,100000,100010,val\n")
    found = read_official("k400", folder, "val")
    assert found.names == ("air drumming", "hurling (sport)", "zumba")
    assert found.items == (AnnotatedVideo("zumba/y_100000_100010", 2),)
    train = read_official("k400", folder, "train").items
    assert train[2] == AnnotatedVideo("hurling_(sport)/h_000002_000012", 1)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("d_d 300 0", "abseiling/d_d_000007_000017"),  # times from kinetics_val.csv
        ("d_d, 300, 0", "abseiling/d_d_000007_000017"),
        ("other_000001_000011 250 1", "air_drumming/other_000001_000011"),
        ("RGB_val/unknown.mp4 250 1", "air_drumming/unknown"),
    ],
)
def test_the_published_validation_list_of_kinetics_comes_first(tmp_path, line, path):
    folder = write_annotations(tmp_path, "k400")
    (folder / "kinetics_val_list.txt").write_text(line + "\n")
    assert [item.path for item in read_official("k400", folder, "val").items] == [path]
    assert len(read_official("k400", folder, "train").items) == 403
    for file in ("kinetics_train.csv", "kinetics_val.csv"):  # it is enough for an evaluation
        (folder / file).unlink()
    assert read_official("k400", folder, "val").names == names_of("k400")


def test_suffixes():
    assert [stem(p) for p in ("a/b.avi", "b.MP4", "b.c", "b.c.webm")] == ["a/b", "b", "b.c", "b.c"]


def test_the_real_annotations_of_ucf101():
    folder = Path(__file__).parents[3] / "shared/reference/labels/ucf101_official"
    if not folder.is_dir():
        pytest.skip("the annotations of UCF101 are not beside the repository")
    train, val = (read_official("ucf101", folder, split) for split in ("train", "val"))
    assert (len(train.items), len(val.items)) == (9537, 3783)
    assert train.names == val.names == names_of("ucf101")
    assert train.items[0] == AnnotatedVideo("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01", 0)
    assert val.items[-1] == AnnotatedVideo("YoYo/v_YoYo_g07_c04", 100)
    for found in (train, val):
        assert {item.label for item in found.items} == set(range(101))
        assert all(i.path.split("/")[0] == found.names[i.label] for i in found.items)


# --- another order than the published one ---------------------------------------------------------


def test_another_order_is_noticed(tmp_path):
    """Two copies of Jester's labels are known, which differ in two lines."""
    folder = write_annotations(tmp_path, "jester")
    names = list(names_of("jester"))
    names[4], names[5] = names[5], names[4]
    (folder / "jester-v1-labels.csv").write_text("\n".join(names))
    found = read_official("jester", folder, "train")
    assert found.names == tuple(names)  # the official order decides
    sentence = order_difference(get_config("jester"), found.names)
    assert "jester: 2 class names differ from the published order, the first at label 4" in sentence


@pytest.mark.parametrize("dataset", OFFICIAL)
def test_order_difference(dataset):
    cfg, names = config_of(dataset), names_of(dataset)
    assert order_difference(cfg, names) == ""
    assert order_difference(cfg, [name.upper().replace(" ", "_") for name in names]) == ""
    assert f"{len(names) - 1}: '', published" in order_difference(cfg, names[:-1])


# --- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "file", "content", "message"),
    [
        ("k400", "kinetics_val.csv", "label,youtube_id\nabseiling,a\n",
         "val.csv, line 1: there is no column time_start, time_end"),
        ("k400", "kinetics_val.csv", "{header}\nabseiling,a,1\n", "line 2: 3 of 5 fields"),
        ("k400", "kinetics_val.csv", "{header}\nabseiling,a,x,10,val\n",
         "line 2: time_start and time_end must be seconds: 'x,10'"),
        ("k400", "kinetics_val.csv", "{header}\nabseling,a,1,11,val\n",
         r"line 2: an unknown class \(closest: 'abseiling'\): 'abseling'"),
        ("k400", "kinetics_val.csv", '{header}\n"abseiling,a,1,11,val\n', "line 2: a broken line"),
        ("k400", "kinetics_val.csv", "{header}\n", "kinetics_val.csv lists no video of the val"),
        ("k400", "kinetics_val_list.txt", "a 300\n", "expected `video_id frames label`: 'a 300'"),
        ("k400", "kinetics_val_list.txt", "a 300 400\n", "not a number from 0 to 399: '400'"),
        ("jester", "jester-v1-validation.csv", "7\n", "line 1: expected `id;label`: '7'"),
        ("jester", "jester-v1-validation.csv", "7;Swiping Lef\n", "closest: 'Swiping Left'"),
        ("jester", "jester-v1-labels.csv", "Swiping Left\nStop Sign\nSwiping Left\n",
         "labels.csv: a class is listed twice or has no name: 'Swiping Left'"),
        ("sthv1", "something-something-v1-validation.csv", "7;Holding nothing\n",
         "line 1: an unknown class .*closest: 'Holding something"),
        ("sthv2", "something-something-v2-validation.json", '[{"id": "7"}]',
         "entry 1: there is no key 'template' in"),
        ("sthv2", "something-something-v2-validation.json", '[{"id": "7"},\n{"template" 5}]',
         "line 2: broken JSON: \"Expecting ':' delimiter\""),
        ("sthv2", "something-something-v2-validation.json", '{"id": "7"}', "not hold a list of"),
        ("sthv2", "something-something-v2-validation.json", "[]", "not hold a list of videos"),
        ("sthv2", "something-something-v2-labels.json", '{"a": "0", "b": "2"}',
         "class 'b': the label is not a number from 0 to 1: '2'"),
        ("sthv2", "something-something-v2-labels.json", '{"a": "1", "b": "1"}',
         "class 'b': its number is that of 'a' too: '1'"),
        ("diving48", "Diving48_V2_test.json", '[{"vid_name": "a", "label": 48}]',
         "entry 1: the label is not a number from 0 to 47: '48'"),
        ("diving48", "Diving48_V2_test.json", '[{"vid_name": "a", "label": true}]', "'True'"),
        ("diving48", "Diving48_V2_test.json", '[{"label": 3}]', "no key 'vid_name' in"),
        ("diving48", "Diving48_V2_test.json", "[3]", "no key 'vid_name' in: '3'"),
        ("hmdb51", "catch_test_split1.txt", "a.avi 3\n",
         "line 1: expected `name flag`, 1 train, 2 test, 0 neither: 'a.avi 3'"),
        ("hmdb51", "catch_test_split1.txt", "a.avi\n", "expected `name flag`"),
        ("ucf101", "testlist01.txt", "YoYoo/v.avi\n", r"\(closest: 'YoYo'\): 'YoYoo'"),
        ("ucf101", "testlist01.txt", "v.avi\n", r"expected `class/video \[number\]`: 'v.avi'"),
        ("ucf101", "testlist01.txt", "YoYo/v.avi 102\n", "not a number from 1 to 101: '102'"),
        ("ucf101", "testlist01.txt", "YoYo/v.avi 100\n", "YoYo is class 101 in classInd.txt, not"),
        ("ucf101", "classInd.txt", "1 A\n1 B\n", "line 2: its number is that of 'A' too: '1'"),
        ("ucf101", "classInd.txt", "1\n", "line 1: expected `number class`: '1'"),
    ],
)  # fmt: skip
def test_wrong_content_is_named(tmp_path, dataset, file, content, message):
    folder = write_annotations(tmp_path, dataset)
    header = "label,youtube_id,time_start,time_end,split"
    (folder / file).write_text(content.replace("{header}", header))
    with pytest.raises(DataError, match=message) as error:
        read_official(dataset, folder, "val")
    assert str(folder / file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("dataset", OFFICIAL)
def test_files_that_are_missing_empty_or_in_another_encoding(tmp_path, dataset):
    folder = write_annotations(tmp_path, dataset)
    for file in sorted(folder.iterdir())[:4]:
        content = file.read_bytes()
        if file.name != "Diving48_vocab.json" and dataset != "hmdb51":
            file.unlink()
            split = "val" if "val" in file.name or "test" in file.name else "train"
            with pytest.raises(DataError, match=f"no annotation file .*{file.name}; .* page"):
                read_official(dataset, folder, split)
        for damaged, reason in ((b"", "is empty"), ("é".encode("latin-1"), "is not UTF-8")):
            file.write_bytes(damaged)
            with pytest.raises(DataError, match=f"{file.name} {reason}"):
                read_official(dataset, folder, "train")
        file.write_bytes(content)
    read_official(dataset, folder, "train")


def test_no_annotations_at_all(tmp_path):
    for dataset in OFFICIAL:
        where = annotations_folder(dataset, tmp_path)
        with pytest.raises(DataError, match=f"no annotation file {where}/.*; download") as error:
            read_official(dataset, where, "train")
        assert DATASETS[dataset].official.site in str(error.value)
    with pytest.raises(DataError, match="custom has no official annotations; those of k400, sthv1"):
        read_official("custom", tmp_path, "train")
    with pytest.raises(ValueError, match="split='test' is none of train, val"):
        read_official("jester", tmp_path, "test")


@pytest.mark.parametrize(
    ("dataset", "renamed"),
    [
        ("sthv2", {"something-something-v2-labels.json": "labels.json",
                   "something-something-v2-train.json": "train.json",
                   "something-something-v2-validation.json": "validation.json"}),
        ("sthv2", {"something-something-v2-labels.json": "labels.json"}),
        ("k400", {"kinetics_train.csv": "train.csv", "kinetics_val.csv": "validate.csv"}),
        ("k400", {"kinetics_val.csv": "val.csv"}),
    ],
)  # fmt: skip
def test_files_under_the_names_of_the_sites(tmp_path, dataset, renamed):
    folder = write_annotations(tmp_path, dataset)
    before = [read_official(dataset, folder, split) for split in ("train", "val")]
    for old, new in renamed.items():
        (folder / old).rename(folder / new)
    assert [read_official(dataset, folder, split) for split in ("train", "val")] == before
    name = next(iter(renamed.values()))
    (folder / name).write_text("")
    with pytest.raises(DataError, match=f"{name} is empty"):
        read_official(dataset, folder, "train" if name != "val.csv" else "val")


@pytest.mark.parametrize("video", ["../../../x", "/etc/x", "a/../../x"])
@pytest.mark.parametrize("dataset", ["sthv1", "sthv2", "jester", "diving48"])
def test_a_path_that_leads_elsewhere(tmp_path, dataset, video):
    folder = write_annotations(tmp_path, dataset, train=(*TRAIN, (0, video)))
    with pytest.raises(DataError, match="a path that leads out of the folder of the videos"):
        read_official(dataset, folder, "train")


@pytest.mark.parametrize("dataset", OFFICIAL)
def test_a_video_that_is_listed_twice(tmp_path, dataset):
    folder = write_annotations(tmp_path, dataset, train=(*TRAIN, TRAIN[0]))
    path = expected(dataset, TRAIN)[0].path
    with pytest.raises(DataError, match=f"{path} is listed twice: .*, and .*; remove one"):
        read_official(dataset, folder, "train")


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("dataset", OFFICIAL)
def test_a_video_in_both_splits(tmp_path, dataset, split):
    folder = write_annotations(tmp_path, dataset, val=(*VAL, TRAIN[1]))
    path = expected(dataset, TRAIN)[1].path
    with pytest.raises(DataError, match=f"{path} is in both splits: .*, and .*; remove one"):
        read_official(dataset, folder, split)
