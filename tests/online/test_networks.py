"""Networks for streams: ours, the published demo's, and those that are refused."""

import logging

import numpy as np
import pytest
import torch
from helpers import decisive, published_clip, published_state, save_run, sliding, tiny, tiny_stream

from tsmlib import CheckpointError, ConfigError, build_model, load_clip
from tsmlib.configs import published_names
from tsmlib.data.video import VideoFile, write_video
from tsmlib.online.networks import load_network, prepare_frame
from tsmlib.online.streams import OnlineTSM
from tsmlib.parity import recordings
from tsmlib.parity.recordings import STREAM


def own(**changes):
    """A one-way configuration, and a model whose answers differ."""
    cfg = tiny_stream(**changes)
    torch.manual_seed(0)
    return cfg, decisive(build_model(cfg))


def test_frames_are_prepared_as_offline(tmp_path):
    cfg, _ = own(num_segments=9)
    write_video(tmp_path / "a.mp4", sliding(9))
    pictures = VideoFile(tmp_path / "a.mp4").frames(list(range(9)))
    prepared = torch.cat([prepare_frame(picture, cfg) for picture in pictures])
    assert torch.equal(prepared, load_clip(tmp_path / "a.mp4", cfg, "validation")[0])
    assert prepared.shape == (9, 3, 32, 32)


def test_weights_of_ours_bring_their_configuration(tmp_path):
    cfg, model = own()
    network = load_network(save_run(tmp_path / "last.pth", cfg, model))
    by_hand = OnlineTSM(model)
    for _ in range(2):
        for picture in sliding(4).numpy():
            found, expected = network.step(picture), by_hand.step(prepare_frame(picture, cfg))
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        network.reset()
        by_hand.reset()
    assert network.names == cfg.class_names and network.num_segments == cfg.num_segments


def test_the_published_demo(tmp_path, caplog):
    """Its weights under their own names, its recorded answers, and its order of classes."""
    torch.save(published_state(STREAM), tmp_path / "mobilenetv2_jester_online.pth.tar")
    with caplog.at_level(logging.WARNING):
        network = load_network(tmp_path / "mobilenetv2_jester_online.pth.tar")
    assert "Frames enter as RGB" in caplog.text and "BGR" in caplog.text
    assert network.names == tuple(sorted(published_names("jester")))
    assert network.names[0] == "Doing other things"
    facts, expected = recordings.read_facts(STREAM), recordings.read_outputs(STREAM)
    frames = published_clip(facts["clip"])[0]
    logits = torch.cat([network.stream.step(frame[None]) for frame in frames[:4]])
    difference = np.abs(logits.numpy() - expected["frame_logits"][:4]).max()
    assert difference <= 1e-4 * facts["logits_std"]


def test_red_and_blue_matter(tmp_path):
    cfg, model = own()
    network = load_network(save_run(tmp_path / "last.pth", cfg, model))
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 255
    rgb = network.step(red)
    network.reset()
    assert not torch.allclose(rgb, network.step(np.ascontiguousarray(red[..., ::-1])))
    prepared = prepare_frame(red, cfg)[0].amax((1, 2))
    assert prepared[0] > 2 and prepared[1:].max() < -1.5  # the first channel is red


@pytest.mark.parametrize(
    ("row", "train"),
    [("sthv1", "make train cfg=sthv1_online_r18"),
     ("ucf101", "make train cfg=ucf101 shift_direction=unidirectional")],
)  # fmt: skip
def test_a_two_way_network_is_refused(tmp_path, row, train):
    cfg = tiny(row)
    weights = save_run(tmp_path / "last.pth", cfg, build_model(cfg))
    with pytest.raises(ConfigError, match=f"is of {row}, whose shift takes .* next frame") as error:
        load_network(weights)
    assert f"train a one-way network ({train})" in str(error.value)


def test_weights_that_say_nothing_need_a_row(tmp_path):
    cfg, model = own()
    state = model.state_dict()
    for content in (state, state | {3: "a name that is no text"}, {"model": state, "state_dict": 1},
                    {"state_dict": state, "config": "tsm.py"}):  # fmt: skip
        torch.save(content, tmp_path / "bare.pth")
        with pytest.raises(ConfigError, match="does not say which row it is of"):
            load_network(tmp_path / "bare.pth")
        network = load_network(tmp_path / "bare.pth", cfg)
        assert network.step(sliding(1)[0].numpy()).shape == (1, 5)


def test_there_are_no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    with pytest.raises(CheckpointError, match="there are no trained weights"):
        load_network()
    with pytest.raises(CheckpointError, match="nowhere.pth"):
        load_network("nowhere.pth")
