"""Fold batch norms into the convolutions in front of them, for inference."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .nonlocal_block import NonLocalBlock

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norms(model: nn.Module) -> None:
    """Multiply every batch norm of `model` into the convolution in front of it, in place."""
    for parent in list(model.modules()):
        for conv, norm in _find_pairs(parent):
            setattr(parent, conv, fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, norm)))
            setattr(parent, norm, nn.Identity())


def _find_pairs(parent: nn.Module) -> list[tuple[str, str]]:
    """Name the children that are a convolution and the batch norm behind it."""
    children = dict(parent.named_children())
    names = list(children)
    if isinstance(parent, nn.Sequential):
        pairs = list(zip(names, names[1:], strict=False))
    elif isinstance(parent, NonLocalBlock):
        pairs = [("conv_out", "bn")]
    else:
        pairs = [(name, name.replace("conv", "bn")) for name in names if name.startswith("conv")]
    return [
        (conv, norm) for conv, norm in pairs
        if isinstance(children[conv], CONVOLUTIONS) and isinstance(children.get(norm), BATCH_NORMS)
    ]  # fmt: skip
