"""Windows of long recordings, against a version that decodes everything and cuts it."""

import numpy as np
import pytest
import torch
from helpers import sliding, tiny

from tsmlib import ConfigError, VideoError, preprocess, sample_indices
from tsmlib.data.annotations import VideoEntry
from tsmlib.data.video import VideoFile, encode_frames, write_frames, write_video
from tsmlib.data.video_stream import TimedFrame, Timing, stream_video, video_timing
from tsmlib.data.windows import Recording, WindowDataset, sample_times, slide

SIZES = {"short_side": 40, "crop_size": 32, "val_crop_size": 32, "test_crop_size": 40}
CFG = tiny("sthv1", num_segments=4, **SIZES)
DENSE = tiny("k400_dense", num_segments=8, **SIZES)


def windows_of(path, window, stride, cfg=CFG, num_frames=None, fps=10.0):
    recording = Recording(VideoEntry(str(path), num_frames, 0), Timing(9.0, fps), window, stride)
    items = list(WindowDataset([recording], cfg))
    assert all(number == 0 for number, _, _ in items)
    return [item[1] for item in items if item[1]], [item[2] for item in items if item[2]]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A video of 83 frames, 10 a second, and its frames."""
    path = tmp_path_factory.mktemp("recording") / "long.mp4"
    write_video(path, sliding(83, 3), fps=10, gop=12)
    return path, VideoFile(path).frames(list(range(83)))


@pytest.mark.parametrize(("window", "stride"), [(2.0, 1.0), (2.0, 2.0), (3.0, 0.5), (1.6, 0.7)])
def test_windows_are_clips_of_the_sliced_video(recording, window, stride):
    path, frames = recording
    found, bad = windows_of(path, window, stride)
    assert not bad and found[0].start == 0 and found[-1].end == pytest.approx(8.3)
    count = round(10 * window)
    for number, own in enumerate(found):
        assert own.start == pytest.approx(number * stride)
        first = round(10 * own.start)
        part = frames[first : first + count]
        if len(part) < count:
            assert own is found[-1]
            part = torch.cat([part, part[-1:].expand(count - len(part), -1, -1, -1)])
        else:
            assert own.end == pytest.approx(own.start + window)
        clip = part[sample_indices(count, 4)[0]]
        wanted = preprocess(clip, CFG, "val")[0].movedim(1, 3)
        assert torch.equal(own.frames, wanted)
    assert found[-2].end < 8.3  # no window beyond the first that reaches the end
