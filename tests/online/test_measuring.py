"""Frames that are dropped of a camera, and the memory of a long stream."""

import numpy as np
import torch

from tsmlib import OnlineTSM, build_model, get_config
from tsmlib.configs import mini
from tsmlib.online import measuring
from tsmlib.online.networks import StreamNetwork

CFG = mini(get_config("jester_online_mobilenetv2", num_segments=2))


class Counter:
    """A network that only counts what it is shown."""

    def __init__(self):
        self.seen = []

    def reset(self):
        pass

    def step(self, frame):
        self.seen.append(frame.shape)
        return torch.zeros(1, 2)


def test_every_frame_of_a_camera_is_answered_or_dropped():
    counter = Counter()
    network = StreamNetwork(counter, lambda picture: picture, ("a", "b"), 2)
    found = measuring.answer_camera(network, seconds=0.2, fps=50, size=(8, 12))
    assert found["frames"] == 10 == found["answered"] + found["dropped"]
    assert len(counter.seen) == 3 + found["answered"] and set(counter.seen) == {(8, 12, 3)}
    assert 0 <= found["median"] <= found["p95"]


def test_a_random_network_takes_pictures():
    network = measuring.random_network(CFG)
    picture = np.zeros((60, 80, 3), np.uint8)
    assert network.step(picture).shape == (1, CFG.num_classes)
    assert len(network.names) == CFG.num_classes


def test_the_memory_of_a_long_stream_is_read_as_it_goes():
    stream = OnlineTSM(build_model(CFG))
    stream.step(torch.zeros(4, 3, 32, 32))  # of another batch: begun anew
    memory = measuring.watch_memory(stream, 32, steps=250)
    assert memory.index.tolist() == list(range(2, 251, 2)) and (memory > 0).all()
