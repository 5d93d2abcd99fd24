"""Non-local blocks over all frames of a clip (Wang et al., Non-local Neural Networks)."""

import torch.nn.functional as F
from torch import Tensor, nn

from ..configs.fields import NonLocal

INIT_STD = 0.01  # initial deviation of g, theta and phi (mmcv cnn/bricks/non_local.py)


class NonLocalBlock(nn.Module):
    """Add to every position of a clip a weighted mean over all its positions.

    y_i = sum_j w_ij g(x_j), out = x + BN(conv_out(y)), with half the channels inside, and keys and
    values sub-sampled by 2x2 max pooling. The weights w_ij are

    - `gaussian`: softmax over j of x_i x_j
    - `embedded_gaussian`: softmax over j of theta(x_i) phi(x_j), without scaling
    - `dot_product`: theta(x_i) phi(x_j) / number of keys
    - `concatenation`: ReLU(a theta(x_i) + b phi(x_j)) / number of keys

    (mmcv cnn/bricks/non_local.py with MMAction2's `use_scale=False`; MIT ops/non_local.py.) The
    last batch norm starts at zero, so that a new block changes nothing.
    """

    def __init__(self, channels: int, num_segments: int, kind: NonLocal):
        super().__init__()
        inner = max(1, channels // 2)
        self.kind, self.num_segments = kind, num_segments
        self.pool = nn.MaxPool2d(2)
        self.g = nn.Conv2d(channels, inner, 1)
        if kind != "gaussian":
            self.theta = nn.Conv2d(channels, inner, 1)
            self.phi = nn.Conv2d(channels, inner, 1)
        if kind == "concatenation":
            self.concat = nn.Conv2d(2 * inner, 1, 1, bias=False)  # a and b
        self.conv_out = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                self._init(module)
        nn.init.zeros_(self.bn.weight)

    def _init(self, conv: nn.Conv2d) -> None:
        if conv.bias is None:
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.normal_(conv.weight, std=INIT_STD)
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[N*T, C, H, W]` to the same shape."""
        value = self._positions(self.pool(self.g(x)))  # [N, keys, C/2]
        if self.kind == "gaussian":
            query, key = self._positions(x), self._positions(self.pool(x))
        else:
            query, key = self._positions(self.theta(x)), self._positions(self.pool(self.phi(x)))
        y = self._attend(query, key, value)  # [N, T*H*W, C/2]
        frames = y.unflatten(1, (self.num_segments, *x.shape[2:]))  # [N, T, H, W, C/2]
        return x + self.bn(self.conv_out(frames.flatten(0, 1).movedim(-1, 1)))

    def _positions(self, x: Tensor) -> Tensor:
        """List the positions of clips: `[N*T, C, h, w]` to `[N, T*h*w, C]`."""
        return x.movedim(1, -1).unflatten(0, (-1, self.num_segments)).flatten(1, 3)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if self.kind in ("gaussian", "embedded_gaussian"):
            return F.scaled_dot_product_attention(query, key, value, scale=1.0)
        if self.kind == "dot_product":  # (Q K') V = Q (K' V), which needs no matrix of all pairs
            return query @ (key.transpose(1, 2) @ value) / key.shape[1]
        a, b = self.concat.weight.flatten()[:, None].chunk(2)
        pairs = F.relu(query @ a + (key @ b).transpose(1, 2))  # [N, queries, keys]
        return pairs @ value / key.shape[1]

    def extra_repr(self) -> str:
        return f"{self.kind}, num_segments={self.num_segments}"


def follow_with(block: nn.Module, non_local: NonLocalBlock) -> None:
    """Let `non_local` act on the output of `block`; parameters of `block` keep their names."""
    block.non_local = non_local
    block.register_forward_hook(_apply_non_local)


def _apply_non_local(block: nn.Module, args: tuple, output: Tensor) -> Tensor:
    return block.non_local(output)
