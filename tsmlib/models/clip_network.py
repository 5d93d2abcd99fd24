"""What all backbones share: clips go in, logits come out, and batch norms can be frozen."""

from torch import Tensor, nn


def check_clips(x: Tensor, num_segments: int) -> None:
    """Check that `x` is `[N, T, C, H, W]` with T frames, of floats.

    Raises:
        ValueError: another shape.
        TypeError: whole numbers.
    """
    check_normalized(x)
    if x.ndim != 5 or x.shape[1] != num_segments:
        expected = f"[N, {num_segments}, 3, H, W]"
        raise ValueError(f"the model takes clips {expected}, not {list(x.shape)}")


def check_normalized(x: Tensor) -> None:
    """Check that frames are floats, which decoded ones are not.

    Raises:
        TypeError: whole numbers; the message says how to normalise.
    """
    if not x.is_floating_point():
        kind = str(x.dtype).removeprefix("torch.")
        raise TypeError(
            f"these frames are {kind}, and the model takes normalised floats: load a video with "
            "tsmlib.load_clip, or normalise frames with tsmlib.models.recognizer.normalize"
        )


class ClipMixin(nn.Module):
    """Turn a network of images into one of clips: the mean over the frames' logits."""

    num_segments: int
    num_classes: int
    partial_bn: bool = False

    def train(self, mode: bool = True):
        """Set the mode; with partial BN all batch norms but the first stay as in a test."""
        super().train(mode)
        if self.partial_bn:
            for norm in _batch_norms(self)[1:]:
                norm.eval()
        return self

    def frame_logits(self, x: Tensor) -> Tensor:
        """Map `[N, T, C, H, W]`, RGB, normalised, to logits of each frame `[N, T', num_classes]`.

        T' is T, or half of it after temporal pooling.
        """
        check_clips(x, self.num_segments)
        frames = self.image_logits(x.flatten(0, 1))  # [N*T, C, H, W] -> [N*T', K]
        return frames.unflatten(0, (x.shape[0], -1))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[N, T, C, H, W]` to logits `[N, num_classes]`: consensus is the mean over frames."""
        return self.frame_logits(x).mean(1)


def _batch_norms(model: nn.Module) -> list[nn.Module]:
    """List the batch norms of the image network: the published non-local ones always learn."""
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and ".non_local." not in name
    ]


def freeze_batch_norms(model: nn.Module) -> None:
    """Freeze all batch norms but the first (MMAction2 and MIT, partial BN)."""
    model.partial_bn = True
    for norm in _batch_norms(model)[1:]:
        norm.requires_grad_(False)
