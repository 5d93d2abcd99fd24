"""ImageNet VID and DET as published: windows, boxes, the mix, and what may be wrong with them."""

import shutil

import numpy as np
import pytest
import torch

from tsmlib.data.annotations import DataError
from tsmlib.data.video import VideoError, encode_frames, write_frames
from tsmlib.detection.vid_annotations import VID_CLASSES, read_annotation
from tsmlib.detection.vid_dataset import (
    FRAME,
    DetPictures,
    VidDataset,
    find_faults,
    list_videos,
    training_mix,
)

DOG, FOX = "n02084071", "n02118333"
HEIGHT, WIDTH = 24, 32
VIDEO = "ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000007"


def write_annotation(file, objects, width=WIDTH, height=HEIGHT):
    """Write an annotation as ImageNet's: objects `(track, WordNet id, xmin, ymin, xmax, ymax)`."""
    items = "".join(
        f"<object>{'' if track is None else f'<trackid>{track}</trackid>'}<name>{name}</name>"
        f"<bndbox><xmax>{x2}</xmax><xmin>{x1}</xmin><ymax>{y2}</ymax><ymin>{y1}</ymin></bndbox>"
        "<occluded>0</occluded><generated>0</generated></object>"
        for track, name, x1, y1, x2, y2 in objects
    )
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"<annotation><folder>f</folder>{size}{items}</annotation>")


def write_pictures(folder, count, template=FRAME):
    folder.mkdir(parents=True, exist_ok=True)
    shades = torch.arange(count).view(-1, 1, 1, 1) * 10
    frames = (torch.full((count, HEIGHT, WIDTH, 3), 20) + shades).byte()
    write_frames(folder, encode_frames(frames), template, 0)


@pytest.fixture
def root(tmp_path):
    """A data root with a training video of 20 frames; frame 3 shows nothing."""
    write_pictures(tmp_path / "Data/VID/train" / VIDEO, 20)
    for i in range(20):
        objects = [] if i == 3 else [(1, FOX, 10, 8, 19, 15), (0, DOG, i, 2, i + 4, 9)]
        write_annotation(tmp_path / "Annotations/VID/train" / VIDEO / f"{i:06}.xml", objects)
    lists = tmp_path / "ImageSets/VID"
    lists.mkdir(parents=True)
    for number in (9, 12):  # a video is in the list of each of its classes
        (lists / f"train_{number}.txt").write_text(f"{VIDEO} 1\n")
    return tmp_path


def annotation_of(root, frame=5):
    return root / "Annotations/VID/train" / VIDEO / f"{frame:06}.xml"


def test_a_window_is_a_frame_and_its_past(root):
    dataset = VidDataset(root, "train", num_frames=4, windows_per_video=2)
    assert [(v.name, v.num_frames, v.degradations) for v in dataset.videos] == [(VIDEO, 20, None)]
    assert len(dataset.classes) == 30 and dataset.classes[8] == "dog"
    assert len(dataset) == 2
    frames, targets = dataset[0]
    assert frames.shape == (4, 3, HEIGHT, WIDTH) and frames.dtype == torch.uint8
    np.testing.assert_allclose(frames.float().mean((1, 2, 3)), [40, 50, 60, 70], atol=1)
    assert len(targets) == 4
    assert targets[0]["boxes"].tolist() == [[10, 8, 20, 16], [2, 2, 7, 10]]
    assert targets[0]["labels"].tolist() == [12, 9]
    assert targets[0]["track_ids"].tolist() == [1, 0]
    assert targets[1]["boxes"].shape == (0, 4) and targets[1]["labels"].dtype == torch.int64
    np.testing.assert_allclose(dataset[-1][0][-1].float().mean(), 170, atol=1)
    with pytest.raises(IndexError):
        dataset[2]


def test_windows_end_where_fgfa_samples_and_begin_with_the_first_frame(root):
    dataset = VidDataset(root, "train", num_frames=3)
    assert len(dataset) == 15
    lasts = [dataset[i][0][-1].float().mean() for i in range(15)]
    expected = [int((i + 0.5) * 20 / 15) for i in range(15)]
    np.testing.assert_allclose((np.array(lasts) - 20) / 10, expected, atol=0.1)
    np.testing.assert_allclose(dataset[0][0].float().mean((1, 2, 3)), [20, 20, 20], atol=1)


def test_whole_videos(root):
    dataset = VidDataset(root, "train")
    frames, targets = dataset.read(0)
    assert len(frames) == len(targets) == 20
    alone = dataset.read_targets(0)
    assert all(torch.equal(a["boxes"], b["boxes"]) for a, b in zip(alone, targets, strict=True))
    assert len(dataset.read(0, [7, 7])[0]) == 2


def test_lists_of_frames_name_their_videos(root):
    lines = [f"ILSVRC2015_val_0000000{v}/{i:06} {i}\n" for v in (3, 1) for i in range(3)]
    (root / "ImageSets/VID/val.txt").write_text("".join(lines))
    assert list_videos(root, "val") == ["ILSVRC2015_val_00000001", "ILSVRC2015_val_00000003"]


def test_boxes_that_jut_out_are_cut_at_the_edge(tmp_path):
    write_annotation(tmp_path / "a.xml", [(0, DOG, -3, -1, WIDTH, HEIGHT + 5)])
    size, target = read_annotation(tmp_path / "a.xml", VID_CLASSES)
    assert size == (HEIGHT, WIDTH)
    assert target["boxes"].tolist() == [[0, 0, WIDTH, HEIGHT]]


def write_det(root, pictures):
    for name, objects in pictures.items():
        folder, _, stem = f"train/ILSVRC2013_train/{name}".rpartition("/")
        write_pictures(root / "Data/DET" / folder, 1, f"{stem}.JPEG")
        write_annotation(root / "Annotations/DET" / folder / f"{stem}.xml", objects)


def test_pictures_of_det_stand_still_and_have_only_the_30_classes(root):
    write_det(root, {f"{FOX}/{FOX}_{i}": [(None, FOX, 1, 1, 9, 9)] for i in range(5)})
    write_det(root, {f"{DOG}/{DOG}_2": [(None, "n02672831", 0, 0, 5, 5), (None, DOG, 2, 2, 8, 8)]})
    write_det(root, {"n02672831/n02672831_1": [(None, "n02672831", 0, 0, 5, 5)]})
    pictures = DetPictures(root, num_frames=3, per_class=2)
    assert [name.rpartition("/")[2] for name in pictures.names] == [
        f"{DOG}_2", f"{FOX}_0", f"{FOX}_2",
    ]  # fmt: skip
    frames, targets = pictures[0]
    assert frames.shape == (3, 3, HEIGHT, WIDTH)
    assert [t["labels"].tolist() for t in targets] == [[9]] * 3
    assert targets[0]["track_ids"].tolist() == [-1]
    mix = training_mix(root, num_frames=3)
    assert len(mix) == 15 + 6
    assert mix[-1][0].shape == mix[0][0].shape


def test_the_list_of_fgfa_is_followed(root):
    write_det(root, {f"{FOX}/{FOX}_{i}": [(None, FOX, 1, 1, 9, 9)] for i in range(5)})
    name = f"train/ILSVRC2013_train/{FOX}/{FOX}_3"
    (root / "ImageSets/DET_train_30classes.txt").write_text(f"{name} 1\n")
    assert DetPictures(root).names == [name]


def test_whole_numbers_as_of_voc(tmp_path):
    write_annotation(tmp_path / "a.xml", [("3.0", DOG, 1.5, 1, 9, 9)], width="32.0")
    size, target = read_annotation(tmp_path / "a.xml", VID_CLASSES)
    assert size == (HEIGHT, WIDTH) and target["track_ids"].tolist() == [3]
    assert target["boxes"].tolist() == [[1.5, 1, 10, 10]]


def set_encoding(file, name):
    file.write_text(f'<?xml version="1.0" encoding="{name}"?>{file.read_text()}')


BOMB = """<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">
<!ENTITY c "&a;&a;&a;&a;&a;&a;&a;&a;">]><annotation><folder>&c;</folder></annotation>"""
OUTSIDE = """<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/hostname">]>
<annotation><folder>&a;</folder></annotation>"""


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (lambda file: file.unlink(), "is missing: every frame needs an annotation"),
        (lambda file: file.write_bytes(file.read_bytes()[:-40]), "is not whole XML"),
        (lambda file: file.write_text(""), "is not whole XML"),
        (lambda file: file.write_text(BOMB), "is refused: it has a document type"),
        (lambda file: file.write_text(OUTSIDE), "is refused: it has a document type"),
        (lambda file: set_encoding(file, "foo"), "cannot be read: unknown encoding: foo"),
        (lambda file: set_encoding(file, "utf-7"), "cannot be read: multi-byte encodings are not"),
        (lambda file: set_encoding(file, "gb2312"), "cannot be read: multi-byte encodings are not"),
        (lambda file: (file.unlink(), file.mkdir()), "cannot be read: Is a directory"),
        (
            lambda file: write_annotation(file, [("1e30", DOG, 1, 1, 3, 5)]),
            "object 1: <trackid> is '1e30', not a whole number to",
        ),
        (
            lambda file: write_annotation(file, [(0.5, DOG, 1, 1, 3, 5)]),
            "object 1: <trackid> is '0.5', not a whole number to",
        ),
        (
            lambda file: write_annotation(file, [], width=32.9),
            "<size/width> is '32.9', not a whole number to",
        ),
        (
            lambda file: write_annotation(file, [(3, DOG, 1, 1, 3, 5), (3, FOX, 1, 1, 3, 5)]),
            "has two objects of track 3: in a video each has one of its own",
        ),
        (
            lambda file: write_annotation(file, [(None, DOG, 1, 1, 3, 5)] * 2),
            "has two objects without a <trackid>: in a video each has one of its own",
        ),
        (
            lambda file: write_annotation(file, [(0, DOG, 1, 1, 5, 5), (1, "n1", 1, 1, 5, 5)]),
            "object 2 is of class 'n1', none of the 30 known",
        ),
        (
            lambda file: write_annotation(file, [(0, DOG, 9, 1, 3, 5)]),
            r"object 1 has no area inside its picture of 32 x 24: box \(9, 1, 3, 5\)",
        ),
        (
            lambda file: write_annotation(file, [(0, DOG, 40, 1, 50, 5)]),
            r"no area inside its picture of 32 x 24: box \(40, 1, 50, 5\)",
        ),
        (
            lambda file: write_annotation(file, [(0, DOG, "nan", 1, 3, 5)]),
            "object 1: <bndbox/xmin> is 'nan', not a number",
        ),
        (
            lambda file: write_annotation(file, [("", DOG, 1, 1, 3, 5)]),
            "object 1: <trackid> is '', not a number",
        ),
        (lambda file: file.write_text("<annotation/>"), "<size/width> is None, not a number"),
    ],
)
def test_bad_annotations(root, damage, sentence):
    damage(annotation_of(root))
    dataset = VidDataset(root, "train")
    with pytest.raises(DataError, match=sentence) as error:
        dataset.read(0)
    assert str(annotation_of(root)) in str(error.value)
    faults = list(find_faults(root, "train"))
    assert faults == [str(error.value)]


def test_a_picture_of_another_size(root):
    write_annotation(annotation_of(root), [], width=640, height=480)
    with pytest.raises(DataError, match="its picture differ in size: 640 x 480 and 32 x 24"):
        VidDataset(root, "train").read(0)
    [fault] = find_faults(root, "train")
    assert fault.endswith("its picture differ in size: 640 x 480 and 32 x 24")


def test_sizes_that_lie_far_in_a_file(root):
    """Cameras write a preview before the size."""
    file = root / "Data/VID/train" / VIDEO / "000005.JPEG"
    content, comment = file.read_bytes(), b"\xff\xfe" + (9000).to_bytes(2, "big") + bytes(8998)
    file.write_bytes(content[:2] + comment + content[2:])
    assert list(find_faults(root, "train")) == []
    file.write_bytes(b"no picture")
    [fault] = find_faults(root, "train")
    assert fault.startswith(f"{file} cannot be read: ")


def test_what_macos_adds_is_no_frame(root):
    write_det(root, {f"{FOX}/{FOX}_1": [(None, FOX, 1, 1, 9, 9)]})
    det = root / "Data/DET/train/ILSVRC2013_train" / FOX
    for folder, name in ((root / "Data/VID/train" / VIDEO, "000000"), (det, f"{FOX}_1")):
        (folder / f"._{name}.JPEG").write_bytes(b"\0\5\x16\7")
    assert VidDataset(root, "train").videos[0].num_frames == 20
    assert list(find_faults(root, "train")) == [] and len(DetPictures(root)) == 1


def test_lists_of_other_editors(root):
    file = root / "ImageSets/VID/val.txt"
    file.write_bytes(b"\xef\xbb\xbfa/000000 1\r\na/000001 2\r\n")
    assert list_videos(root, "val") == ["a"]
    file.write_bytes("caf\xe9/000000 1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"val.txt cannot be read as UTF-8 text: 'utf-8' codec"):
        list_videos(root, "val")


def test_a_missing_frame(root):
    folder = root / "Data/VID/train" / VIDEO
    (folder / "000004.JPEG").unlink()
    with pytest.raises(DataError, match=r"000004.JPEG is missing: unpack the video again"):
        VidDataset(root, "train")
    assert [f.rpartition("/")[2] for f in find_faults(root, "train")] == [
        "000004.JPEG is missing: unpack the video again"
    ]


def test_a_damaged_frame(root):
    (root / "Data/VID/train" / VIDEO / "000004.JPEG").write_bytes(b"no picture")
    with pytest.raises(VideoError, match="000004.JPEG: not a JPEG file"):
        VidDataset(root, "train").read(0)


def test_missing_videos_and_lists(root):
    with pytest.raises(DataError, match=r"has no list val.txt and no val_1.txt: is .* right\?"):
        VidDataset(root, "val")
    shutil.rmtree(root / "Data/VID/train" / VIDEO)
    with pytest.raises(DataError, match="there is no video .*, though a list names it"):
        VidDataset(root, "train")
    for file in (root / "ImageSets/VID").iterdir():
        file.write_text("\n")
    with pytest.raises(DataError, match=r"the lists train\*.txt of .* are empty"):
        list_videos(root, "train")
    with pytest.raises(DataError, match="ILSVRC2013_train has no pictures"):
        DetPictures(root)
