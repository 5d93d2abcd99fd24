"""The command that plays a camera or a video through a one-way network.

Packages are imported inside the functions: help and misspelt options need no torch.
"""

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ..configs import ConfigError
from ..paths import display_path
from ..progress import Terminal, show_in
from ..text import to_terminal
from .files import check_different_files


@dataclass(frozen=True)
class Reading:
    """How frames are taken from the source.

    Attributes:
        frame_step: every FRAME_STEP-th frame enters (default: as the weights say, else every one;
            2 with --smooth demo).
        paced: play a file, or a recording in a pipe, at its own frame rate, like a camera.
        timeout: seconds without a frame after which a camera, address or pipe has stalled.
    """

    frame_step: int | None = None
    paced: bool = False
    timeout: float = 10.0


@dataclass(frozen=True)
class Outputs:
    """Where answers go, beside the terminal.

    Attributes:
        csv: table to write, one row per answer.
        video: file.mp4 to write, with the answers drawn into the frames.
        window: show the frames with their answers in a window.
    """

    csv: Path | None = None
    video: Path | None = None
    window: bool = False


Source = Annotated[str, Parameter(allow_leading_hyphen=True)]  # `-` is stdin
Row = Annotated[str | None, Parameter(name=("--row", "--cfg"))]


def online(
    *,
    source: Source,
    weights: str | None = None,
    row: Row = None,
    smooth: int | Literal["demo"] | None = None,
    frames: int | None = None,
    reading: Annotated[Reading | None, Parameter(name="*")] = None,
    outputs: Annotated[Outputs | None, Parameter(name="*")] = None,
) -> None:
    """Recognise actions in a camera or a video as it plays: one frame in, one answer out.

    Frames of a camera are dropped rather than answered late. Ctrl-C ends.

    Args:
        source: a file, the number of a camera (0), an address, a named pipe, or - for stdin.
        weights: file of weights of a one-way network (default: of the newest run).
        row: row or YAML file, where the weights do not say of what they are.
        smooth: frames over which logits are averaged (default: as many as a clip had in training),
            or demo: the rules of the published demo, for its weights and --frame-step 2.
        frames: number of answers after which it ends.
    """
    reading, outputs = reading or Reading(), outputs or Outputs()
    for name, value in (("smooth", smooth), ("frames", frames)):
        if isinstance(value, int) and value < 1:
            raise ConfigError(f"--{name} {value} must be at least 1")
    read = {"--source": source, "--weights": weights, "--row": row}
    check_different_files({**read, "--csv": outputs.csv, "--video": outputs.video})
    from ..online.networks import load_network
    from ..online.play import Tally, play
    from ..online.smoothing import DEMO_LENGTH, DEMO_STRIDE, DemoSmoothing, RunningMean
    from ..online.sources import find_input, open_source

    logging.getLogger("tsmlib").setLevel(logging.INFO)
    find_input(source)  # a source that is not there ends it here
    network = load_network(weights, row)
    step = DEMO_STRIDE if smooth == "demo" else network.frame_step
    step = step if reading.frame_step is None else reading.frame_step
    opened = open_source(source, paced=reading.paced, frame_step=step, timeout=reading.timeout)
    rules = DemoSmoothing(network.names) if smooth == "demo" else None
    length = DEMO_LENGTH if smooth == "demo" else smooth
    smoothing = RunningMean(length) if length else None
    tally = Tally()
    with ExitStack() as stack:
        writers = [stack.enter_context(closing(w)) for w in _writers(outputs, opened.close)]
        stack.callback(lambda: tally.latencies and print(tally))
        show = stack.enter_context(_answers_in(Terminal()))
        stack.enter_context(_ended_by_signals(opened.close))
        with opened:
            for answer in islice(play(network, opened, smoothing, rules), frames):
                tally.add(answer)
                for writer in writers:
                    writer.write(answer)
                show(answer)
    if not tally.latencies:  # hence nothing is written
        print(tally)
        return
    for file in filter(None, (outputs.csv, outputs.video)):
        print(f"written to {display_path(file)}")


def _writers(outputs: Outputs, close_source: Callable[[], None]) -> Iterator[Any]:
    """Open what answers are written to."""
    from ..online.writers import CsvWriter, VideoWriter

    if outputs.csv:
        yield CsvWriter(outputs.csv)
    if outputs.video:
        yield VideoWriter(outputs.video)
    if outputs.window:
        from ..online.window import Window

        yield Window(close_source)


@contextmanager
def _answers_in(terminal: Terminal) -> Iterator[Callable[[Any], None]]:
    """Show answers in a terminal's status, or one line for each second of the source elsewhere."""
    live, last = sys.stderr.isatty(), -1

    def show(answer: Any) -> None:
        nonlocal last
        text = (
            f"{answer.name}  {100 * answer.probability:.0f} %  ({answer.latency:.0f} ms, "
            f"{answer.dropped} dropped)"
        )
        if live:
            terminal.status(text)
        elif int(answer.time) > last:
            last = int(answer.time)
            print(to_terminal(f"{answer.time:7.1f} s  {text}"), flush=True)

    show_in(terminal)
    try:
        yield show
    finally:
        terminal.status("")
        show_in(None)


@contextmanager
def _ended_by_signals(close: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C and `kill` close the source, so that files end whole; a second one interrupts."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def end(number: int, frame: Any) -> None:
        signal.signal(number, before[number])
        close()

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
