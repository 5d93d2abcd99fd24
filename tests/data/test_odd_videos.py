"""Videos that are odd but legal go through training and evaluation like any others."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tsmlib import get_config
from tsmlib.data.video import FrameFolder, VideoFile, write_video
from tsmlib.engine.train import train

# frames, height, width, colour mode of the JPEG
ODD = {
    "one_frame": (1, 72, 100, "RGB"),
    "shorter_than_the_clip": (5, 72, 100, "RGB"),
    "odd_sides": (12, 61, 83, "RGB"),
    "upright": (12, 100, 57, "RGB"),
    "tiny": (12, 8, 9, "RGB"),
    "wide": (12, 40, 230, "RGB"),
    "grey": (12, 72, 100, "L"),
    "cmyk": (12, 72, 100, "CMYK"),
}


def picture(height: int, width: int, mode: str) -> Image.Image:
    ramp = np.linspace(0, 255, height * width).reshape(height, width, 1)
    image = Image.fromarray(np.concatenate((ramp, ramp[::-1], ramp.T.reshape(ramp.shape)), 2)
                            .astype(np.uint8))  # fmt: skip
    return image.convert(mode)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    lines = []
    for name, (count, height, width, mode) in ODD.items():
        (folder / name).mkdir()
        buffer = io.BytesIO()
        picture(height, width, mode).save(buffer, "JPEG", quality=95)
        for i in range(count):
            (folder / name / f"{i + 1:05}.jpg").write_bytes(buffer.getvalue())
        lines.append(f"{name} {count} {len(lines) % 2}\n")
    (folder / "list.txt").write_text("".join(lines))
    return folder


def own(root, yaml_file, **fields):
    given = {"base": "sthv1", "data_root": str(root), "train_list": "list.txt",
             "val_list": "list.txt", "num_classes": 2, "epochs": 1, **fields}  # fmt: skip
    yaml_file.write_text("".join(f"{key}: {value}\n" for key, value in given.items()))
    return get_config(str(yaml_file))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sampling": "dense", "eval_sampling": "dense"},
        {"train_crop": "random_resized", "augmentation": "ptv_randaugment"},
        {"augmentation": "imgaug_randaugment", "blending": "cutmix", "mended_sampling": "true"},
    ],
)
def test_odd_frames_are_trained_on(root, tmp_path, fields):
    cfg = own(root, tmp_path / "odd.yaml", **fields)
    record = train(cfg, scale="mini", work_dir=tmp_path / "run", workers=0)
    assert (record["num_bad"], record["num_bad_training"]) == (0, 0)
    assert record["num_videos"] == len(ODD)


def test_a_batch_of_one(root, tmp_path):
    cfg = own(root, tmp_path / "one.yaml", batch_size=1, videos_per_device=1)
    record = train(cfg, scale="mini", work_dir=tmp_path / "run", workers=0)
    assert record["batch"] == 1 and record["num_videos"] == len(ODD)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colour_modes_become_rgb(tmp_path, mode):
    image = picture(24, 32, mode)
    image.save(tmp_path / "00001.jpg", quality=100)
    frame = FrameFolder(tmp_path, 1, "{:05}.jpg", 1).frames([0])[0].numpy().astype(int)
    assert frame.shape == (24, 32, 3)
    wanted = np.array(Image.open(tmp_path / "00001.jpg").convert("RGB")).astype(int)
    assert abs(frame - wanted).max() <= 2


def test_a_video_of_one_frame(tmp_path):
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", torch.randint(0, 256, (1, 64, 80, 3)).byte())
    (tmp_path / "list.txt").write_text("a.mp4 0\nb.mp4 1\n")
    cfg = own(tmp_path, tmp_path / "video.yaml")
    record = train(cfg, scale="mini", work_dir=tmp_path / "run", workers=0)
    assert record["num_videos"] == 2


@pytest.mark.parametrize("width", [16, 32, 48, 64, 80, 96, 112, 126, 128, 144, 190, 192, 210])
def test_narrow_videos(tmp_path, width):
    """decord2 3.4 cannot copy frames of some widths, of which ones depends on the processor."""
    frames = torch.randint(0, 256, (6, 64, width, 3)).byte()
    write_video(tmp_path / "clip.mp4", frames, gop=6, qp=1)
    found = VideoFile(tmp_path / "clip.mp4", decoder="pyav").frames([4, 1])
    assert found.shape == (2, 64, width, 3)
    assert torch.equal(VideoFile(tmp_path / "clip.mp4", decoder="decord").frames([4, 1]), found)
