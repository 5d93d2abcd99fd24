"""The detector: torchvision's without shift, and with it a network of clips."""

import pytest
import torch
from helpers import assert_same_state
from tiny_detector import BOX, NAMES, lively_detector, tiny_recipe
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

from tsmlib import ConfigError
from tsmlib.detection.detector import build_detector
from tsmlib.detection.recipes import DetectorConfig, get_recipe
from tsmlib.models.shift import TemporalShift, temporal_shift

PLAIN = {"is_shift": False, "frozen_bn": False, "trainable_layers": 5}  # as without pretraining
SIZES = {"min_size": 64, "max_size": 96}


@pytest.fixture(scope="module")
def pair():
    """torchvision's detector and ours without shift, each from the same random numbers."""
    torch.manual_seed(0)
    theirs = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=len(NAMES) + 1, box_score_thresh=0.0,
        rpn_pre_nms_top_n_test=60, rpn_post_nms_top_n_test=60, box_batch_size_per_image=16, **SIZES,
    )  # fmt: skip
    cfg = DetectorConfig(
        class_names=NAMES, candidates=(2000, 60), proposals=(2000, 60), score_threshold=0.0,
        box_samples=16, **PLAIN, **SIZES,
    )  # fmt: skip
    torch.manual_seed(0)
    return theirs, build_detector(cfg)


def test_without_shift_it_is_torchvisions_detector(pair):
    theirs, ours = pair
    assert_same_state(theirs.state_dict(), ours.state_dict())
    assert [p.requires_grad for p in theirs.parameters()] == [
        p.requires_grad for p in ours.parameters()
    ]


def test_without_shift_detections_are_torchvisions_bit_for_bit(pair, frames):
    with torch.no_grad():
        found = [detector.eval()(list(frames[:2])) for detector in pair]
    for theirs, ours in zip(*found, strict=True):
        assert len(theirs["boxes"])
        assert_same_state(theirs, ours)


def test_without_shift_losses_are_torchvisions_bit_for_bit(pair, frames):
    losses = []
    for detector in pair:
        torch.manual_seed(1)  # anchors and boxes are sampled
        losses.append(detector.train()(list(frames[:2]), [BOX] * 2))
    assert_same_state(*losses)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "resnet101"])
@pytest.mark.parametrize("neck", ["fpn", "dc5"])
def test_every_backbone_has_its_shifts_and_torchvisions_names(backbone, neck):
    sizes = (32, 64, 128, 256, 512)
    cfg = DetectorConfig(class_names=NAMES, backbone=backbone, neck=neck, anchor_sizes=sizes)
    with torch.device("meta"):
        shifted, plain = build_detector(cfg), build_detector(get_recipe(cfg, is_shift=False))
    assert shifted.state_dict().keys() == plain.state_dict().keys()
    shifts = [m for m in shifted.modules() if isinstance(m, TemporalShift)]
    assert len(shifts) == {"resnet18": 8, "resnet50": 16, "resnet101": 2 + 2 + 12 + 2}[backbone]
    assert {(shift.direction, shift.shift_div) for shift in shifts} == {("unidirectional", 8)}
    assert not any(isinstance(m, TemporalShift) for m in plain.modules())


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_the_dilated_map_has_a_sixteenth_of_the_size(backbone):
    cfg = DetectorConfig(class_names=NAMES, backbone=backbone, neck="dc5", anchor_sizes=(32, 64))
    with torch.device("meta"):
        [features] = build_detector(cfg).backbone(torch.rand(4, 3, 64, 96)).values()
    assert features.shape == (4, 256, 4, 6)


def test_the_dilated_stage_is_torchvisions():
    depth, dilated = (1, 1, 1, 3), [False, False, True]
    cfg = DetectorConfig(
        class_names=NAMES, neck="dc5", anchor_sizes=(32,), depth=depth, is_shift=False,
        frozen_bn=False,
    )  # fmt: skip
    theirs = ResNet(Bottleneck, list(depth), replace_stride_with_dilation=dilated)
    theirs = IntermediateLayerGetter(theirs, {"layer4": "0"}).eval()
    ours = build_detector(cfg).backbone.body.eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(theirs(x)["0"], ours(x)["0"])


def test_frozen_norms_and_stages():
    cfg = DetectorConfig(class_names=NAMES, backbone="resnet18", trainable_layers=2)
    detector = build_detector(cfg)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in detector.modules())
    norms = [m for m in detector.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert len(norms) == 20 and {norm.eps for norm in norms} == {1e-5}
    parameters = detector.backbone.body.named_parameters()
    assert {n.split(".")[0] for n, p in parameters if p.requires_grad} == {"layer3", "layer4"}


def test_a_frame_sees_its_own_past_alone(frames):
    detector = lively_detector(tiny_recipe())
    changed = frames[:6].clone()
    changed[3] = 1 - changed[3]
    with torch.no_grad():
        before, after = detector(list(frames[:6])), detector(list(changed))
    same = [torch.equal(a["scores"], b["scores"]) for a, b in zip(before, after, strict=True)]
    assert same == [True] * 3 + [False] * 3


def test_the_shift_of_a_convolution_is_the_published_one(frames):
    detector = lively_detector(tiny_recipe())
    conv = detector.backbone.body["layer1"][0].conv1
    seen = []
    conv.shift.register_forward_hook(lambda module, args, out: seen.append((args[0], out)))
    with torch.no_grad():
        detector(list(frames[:5]))
    x, out = seen[0]
    assert torch.equal(out, temporal_shift(x, 5, direction="unidirectional"))


def test_clips_side_by_side(frames):
    detector = lively_detector(tiny_recipe())
    with torch.no_grad():
        apart = [*detector(list(frames[:6])), *detector(list(frames[6:]))]
        detector.num_segments = 6
        together = detector(list(frames))
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-5)
    detector.num_segments = 5
    with pytest.raises(ValueError, match="12 frames .* 5|5"):
        detector(list(frames))


def test_losses_of_the_last_frame_alone(frames):
    """They are the losses of that frame with features of the whole window."""
    detector = lively_detector(tiny_recipe(loss_frames="last")).train()
    for norm in (m for m in detector.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.eval()
    detector.num_segments = 4
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    targets = [empty, empty, empty, BOX] * 3
    torch.manual_seed(2)
    last = detector(list(frames), targets)
    assert last.keys() == {
        "loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"
    }  # fmt: skip
    others = [{**BOX, "boxes": BOX["boxes"] + 9}, BOX, empty, BOX] * 3
    torch.manual_seed(2)
    assert_same_state(last, detector(list(frames), others))
    sum(last.values()).backward()
    assert all(p.grad is not None for p in detector.parameters())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"class_names": ()}, "a detector needs class_names"),
        ({"shift_direction": "bidirectional"}, "needs the next frame, which is not there"),
        ({"backbone": "mobilenetv2"}, "backbone is one of resnet18, resnet50, resnet101"),
        ({"anchor_sizes": (8, 16)}, "must have 5 sizes"),
        ({"levels": (3, 2)}, "stages from 1 to 4, in order"),
        ({"neck": "c4"}, "neck='c4' is not possible; choose one of fpn, dc5"),
        ({"num_segments": 0}, "num_segments=0 must be at least 1"),
        ({"lr": 0.0}, "lr=0.0 must be positive and finite"),
        ({"flip": 2.0}, "flip=2.0 must lie between 0 and 1"),
        ({"background_iou": 0.6}, "background_iou=0.6 must be at most 0.5"),
        ({"box_loss": 0.0}, "box_loss=0.0 must be positive and finite"),
        ({"proposals": (10,)}, "must be two numbers: training, test"),
        ({"trainable_layers": 6}, "must lie between 0 and 5"),
        ({"width": 0.001}, "width=0.001 must lie between 0.0078125 and 8"),
        ({"width": 1e9}, "must lie between 0.0078125 and 8"),
        ({"channels": 10**9}, "channels=1000000000 must be at most 16384"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0 must be 0 or more"),
        ({"gamma": -0.1}, "gamma=-0.1 must be 0 or more"),
        ({"lr": 1e38}, r"lr=1e\+38 must be at most 1e\+36"),
        ({"warmup": -5}, "warmup=-5 must be 0 or more"),
        ({"momentum": 7.0}, "momentum=7.0 must lie between 0 and 1"),
        ({"max_size": 10}, "max_size=10 must be at least min_size=800"),
        ({"milestones": (0, 3)}, r"milestones=\(0, 3\) must hold numbers from 1 on"),
        ({"depth": (1, 1)}, r"depth=\(1, 1\) must be 4 numbers up to 1000"),
        ({"aspect_ratios": (0.0,)}, r"aspect_ratios=\(0.0,\) must be positive numbers"),
        ({"neck": "dc5", "anchor_sizes": ()}, "anchor_sizes must hold a size"),
        ({"levels": (), "anchor_sizes": (8,)}, "stages from 1 to 4, in order"),
    ],
)
def test_impossible_configurations(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_detector(DetectorConfig(**{"class_names": NAMES, **changes}))
