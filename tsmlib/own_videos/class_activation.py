"""What a network saw before its classifier: the last feature maps, pooled features, and where.

Class activation maps are those of Zhou et al., Learning Deep Features for Discriminative
Localization (CVPR 2016), equation 2: M_k(x, y) = sum over channels c of w_kc f_c(x, y). The
consensus of TSM averages over frames what global pooling averages over space, so that

    logits = bias + mean of M over frames, height and width = bias + W pooled features.
"""

import torch
from torch import Tensor, nn


@torch.no_grad()
def last_feature_maps(model: nn.Module, clips: Tensor) -> Tensor:
    """Compute the feature maps that a model pools and classifies, in the mode that it is in.

    Args:
        model: of `build_model`.
        clips: float `[N, T, 3, H, W]`, normalised.

    Returns:
        `[N, T', C, h, w]`; T' is T, or less where a network reduces time.
    """
    maps: list[Tensor] = []
    handle = model.last_stage.register_forward_hook(lambda module, args, out: maps.append(out))
    try:
        model(clips)
    finally:
        handle.remove()
    (found,) = maps
    if found.ndim == 5:  # of 3-D networks [N, C, T', h, w]
        return found.transpose(1, 2)
    return found.unflatten(0, (len(clips), -1))


def pool_features(maps: Tensor) -> Tensor:
    """Average `[N, T', C, h, w]` over frames and space: what the classifier sees, `[N, C]`."""
    return maps.mean((1, 3, 4))


def class_activation_maps(model: nn.Module, maps: Tensor, labels: Tensor) -> Tensor:
    """Compute the class activation maps of one class for each clip, without the bias.

    Args:
        model: whose classifier weighs the channels.
        maps: `[N, T', C, h, w]` of `last_feature_maps`.
        labels: classes, int `[N]`.

    Returns:
        `[N, T', h, w]`, in units of a logit: their mean is the logit less the bias.
    """
    return torch.einsum("ntchw,nc->nthw", maps, model.head.weight.detach()[labels])
