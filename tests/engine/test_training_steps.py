"""Two steps of training against a network and an optimizer written out plainly."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from tsmlib import build_model, get_config
from tsmlib.engine.optimizer import make_optimizer

T, VIDEOS, CLASSES, CLIP = 4, 3, 5, 4.0
CFG = get_config(
    "k400", num_segments=T, num_classes=CLASSES, width=0.25, depth=(2, 1, 1, 1), dropout=0.0,
    clip_grad=CLIP, lr=0.2, pretrain="none",
)  # fmt: skip


class Plain:
    """A ResNet of bottleneck blocks with temporal shifts: one function a layer, loops over time."""

    def __init__(self, state: dict[str, Tensor]):
        self.weights = {n: v.clone().requires_grad_() for n, v in state.items() if "." in n
                        and v.is_floating_point() and "running" not in n}  # fmt: skip
        self.statistics = {n: v.clone() for n, v in state.items() if "running" in n}

    def norm(self, x: Tensor, name: str) -> Tensor:
        """Batch norm in training: by the batch's own mean and (biased) variance."""
        mean = x.mean((0, 2, 3))
        centred = x - mean.view(1, -1, 1, 1)
        variance = (centred**2).mean((0, 2, 3))
        count = x.numel() / x.shape[1]
        for kind, new in (("mean", mean), ("var", variance * count / (count - 1))):
            old = self.statistics[f"{name}.running_{kind}"]
            self.statistics[f"{name}.running_{kind}"] = 0.9 * old + 0.1 * new.detach()
        scale = self.weights[f"{name}.weight"] / (variance + 1e-5).sqrt()
        return centred * scale.view(1, -1, 1, 1) + self.weights[f"{name}.bias"].view(1, -1, 1, 1)

    def conv(self, x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x, self.weights[f"{name}.weight"], stride=stride, padding=padding)

    def block(self, x: Tensor, name: str, stride: int) -> Tensor:
        y = self.norm(self.conv(shifted(x), f"{name}.conv1"), f"{name}.bn1").relu()
        y = self.norm(self.conv(y, f"{name}.conv2", stride, 1), f"{name}.bn2").relu()
        y = self.norm(self.conv(y, f"{name}.conv3"), f"{name}.bn3")
        if f"{name}.downsample.0.weight" in self.weights:
            x = self.conv(x, f"{name}.downsample.0", stride)
            x = self.norm(x, f"{name}.downsample.1")
        return (x + y).relu()

    def logits(self, clips: Tensor) -> Tensor:
        """`[N, T, 3, H, W]` to `[N, K]`."""
        x = self.norm(self.conv(clips.flatten(0, 1), "conv1", 2, 3), "bn1").relu()
        x = F.max_pool2d(x, 3, 2, 1)
        for stage, blocks in enumerate(CFG.depth, 1):
            for i in range(blocks):
                x = self.block(x, f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1)
        frames = x.mean((2, 3)) @ self.weights["fc.weight"].T + self.weights["fc.bias"]
        return torch.stack([frames[T * n : T * n + T].sum(0) / T for n in range(len(clips))])

    def step(self, loss: Tensor, momentum: dict[str, Tensor]) -> None:
        """SGD with momentum, the gradient clipped, rates and decay as published."""
        grads = torch.autograd.grad(loss, [*self.weights.values()])
        grads = dict(zip(self.weights, grads, strict=True))
        norm = float(sum((g**2).sum() for g in grads.values())) ** 0.5
        assert norm > CLIP  # so that it is tried
        for name, weight in self.weights.items():
            rate, decay = {"fc.weight": (5, 1), "fc.bias": (10, 0)}.get(
                name, (1, 1) if weight.ndim == 4 else (1, 0)
            )
            g = grads[name] * CLIP / norm + decay * CFG.weight_decay * weight.detach()
            momentum[name] = 0.9 * momentum[name] + g if name in momentum else g
            new = weight.detach() - rate * CFG.lr * momentum[name]
            self.weights[name] = new.requires_grad_()


def shifted(x: Tensor) -> Tensor:
    """An eighth of the channels from the next frame, an eighth from the one before."""
    fold, out = x.shape[1] // 8, []
    nothing = torch.zeros_like(x[0])
    for i in range(len(x)):
        after = x[i + 1] if i % T < T - 1 else nothing
        before = x[i - 1] if i % T > 0 else nothing
        out.append(torch.cat([after[:fold], before[fold : 2 * fold], x[i][2 * fold :]]))
    return torch.stack(out)


def test_two_steps_of_sgd():
    torch.manual_seed(0)
    model = build_model(CFG).double().train()  # float32 rounds, and two large steps amplify that
    torch.nn.init.normal_(model.fc.weight, std=0.3)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    plain, momentum = Plain(start), {}
    optimizer = make_optimizer(CFG, model, CFG.lr)
    for _ in range(2):
        clips = torch.randn(VIDEOS, T, 3, 64, 64, dtype=torch.float64)
        labels = torch.randint(CLASSES, (VIDEOS,))
        loss = F.cross_entropy(model(clips), labels)
        rows = plain.logits(clips).log_softmax(1)
        expected = -sum(row[k] for row, k in zip(rows, labels.tolist(), strict=True)) / VIDEOS
        assert loss.item() == pytest.approx(expected.item(), abs=1e-4)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        plain.step(expected, momentum)
    for name, value in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            found = {**plain.weights, **plain.statistics}[name]
            torch.testing.assert_close(value, found.detach(), rtol=1e-4, atol=1e-6)
            assert (value - start[name]).abs().max() > 1e-3, name  # far more than the tolerance
