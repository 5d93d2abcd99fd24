"""The known pitfalls of implementing TSM, each a toggle of one evaluation.

All were met in other implementations, or in this one while it was written. A toggle exchanges one
function of the evaluation, in this process and for a while. `input_pitfalls` change the clips or
their pixels, `network_pitfalls` the network, its classes and the average of its views.
"""

from ..configs import Config
from .input_pitfalls import DECODERS, FRAMES, PIXELS, STARTS, VIEWS_INTERLEAVED
from .network_pitfalls import NETWORK, SHIFTS, batch_norm_pitfall, label_pitfall, view_pitfall
from .toggles import Pitfall


def list_pitfalls(cfg: Config, layouts: set[str], many_views: bool = True) -> list[Pitfall]:
    """List the pitfalls that the evaluation of a row can run into.

    Args:
        cfg: the row.
        layouts: how the videos are stored: `rawframes`, `video` or both.
        many_views: whether a protocol with several views is at hand.
    """
    uniform = cfg.eval_sampling == "uniform"
    return [
        *(pitfall for layout in sorted(layouts) for pitfall in DECODERS[layout]),
        *PIXELS,
        *(FRAMES if uniform else [pitfall for pitfall in FRAMES if pitfall != STARTS]),
        *(SHIFTS if cfg.is_shift else ()),
        *NETWORK,
        *(batch_norm_pitfall(n) for n in dict.fromkeys((cfg.videos_per_device, 1))),
        label_pitfall(cfg),
        *((view_pitfall(cfg), VIEWS_INTERLEAVED) if many_views else ()),
    ]
