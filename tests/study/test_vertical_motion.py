"""The vertical motion of an image, on images that are moved by known amounts."""

import pytest
import torch
import torch.nn.functional as F

from tsmlib.study.vertical_motion import measure_motions, vertical_motion


@pytest.mark.parametrize("step", [-2, 0, 1])
def test_motion_of_a_smooth_image_that_slides(step):
    noise = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    image = 255 * F.interpolate(noise, (120, 90), mode="bicubic", align_corners=True).clamp(0, 1)
    frames = torch.stack([image[0, 0].roll(step * t, 0)[20:100] for t in range(6)])
    frames = frames[..., None].expand(-1, -1, -1, 3).round().byte()
    assert vertical_motion(frames) == pytest.approx(step, abs=0.15 + 0.1 * abs(step))
    assert vertical_motion(frames.flip(0)) == pytest.approx(-vertical_motion(frames), abs=0.05)


def test_its_sign_is_the_class_of_a_push_up(shared):
    table = measure_motions(shared / "data" / "pushup_phases", limit=10)
    assert ((table["motion"] > 0) == (table["label"] == 0)).all() and len(table) == 10
