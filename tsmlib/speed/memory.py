"""Count the memory of a training step from shapes alone."""

import weakref
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..configs import Config, scaled_lr
from ..engine.optimizer import make_optimizer
from ..models.recognizer import build_model


def training_memory(
    cfg: Config, videos: int | None = None, build: Callable[[Config], nn.Module] = build_model
) -> float:
    """Count the most MiB of tensors alive at one time in a training step, computing nothing.

    Weights, gradients, momentum, inputs and the activations kept for the backward pass, of `videos`
    clips (None: the row's per device) in fp32. A GPU allocates some more: workspaces of cuDNN,
    rounding.
    """
    videos = videos or cfg.videos_per_device
    with torch.device("meta"):  # shapes alone
        model = build(cfg).train()
        optimizer = make_optimizer(cfg, model, scaled_lr(cfg, videos))
        clips = torch.empty(videos, cfg.num_segments, 3, cfg.crop_size, cfg.crop_size)
        labels = torch.empty(videos, dtype=torch.long)
    with AliveTensors([clips, *model.parameters(), *model.buffers()]) as alive:
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter)
        optimizer.step()  # makes the momentum that later steps have
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(clips), labels).backward()
        nn.utils.clip_grad_norm_(model.parameters(), cfg.clip_grad)
        optimizer.step()
    return alive.most / 2**20


class AliveTensors(TorchDispatchMode):
    """Counts the bytes of tensors, given ones and those that operations make, while they live."""

    def __init__(self, tensors: Iterable[Tensor]):
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()
        for tensor in tensors:
            self._add(tensor)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf)
        return out

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:  # views share storage
            self._known.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
