"""A window that shows the frames of a stream with their answers."""

from collections.abc import Callable

import matplotlib.pyplot as plt
from matplotlib import backends

from ..configs import ConfigError
from .drawing import annotate
from .play import Answer


class Window:
    """Shows answers in a window of matplotlib.

    Args:
        closed: called when the user closes it.

    Raises:
        ConfigError: there is no display.
    """

    def __init__(self, closed: Callable[[], None]):
        known = backends.backend_registry.list_builtin(backends.BackendFilter.INTERACTIVE)
        if plt.get_backend().lower() not in known:
            raise ConfigError(
                f"there is no display for a window (matplotlib's backend is {plt.get_backend()}); "
                "leave out --window, and watch with --video FILE"
            )
        self._figure, axes = plt.subplots(num="tsm online", layout="constrained")
        axes.set_axis_off()
        self._axes, self._image = axes, None
        self._figure.canvas.mpl_connect("close_event", lambda event: closed())
        plt.show(block=False)

    def write(self, answer: Answer) -> None:
        """Show the frame of an answer."""
        picture = annotate(answer.picture, answer.name, answer.probability)
        if self._image is None or self._image.get_size() != picture.shape[:2]:
            self._axes.clear()
            self._axes.set_axis_off()
            self._image = self._axes.imshow(picture)
        self._image.set_data(picture)
        self._figure.canvas.draw_idle()
        self._figure.canvas.flush_events()

    def close(self) -> None:
        """Close the window."""
        plt.close(self._figure)
