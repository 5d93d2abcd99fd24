"""The one command: `python -m tsmlib COMMAND ...`, and `tsm COMMAND ...` once installed.

    tsm train sthv1 --set epochs=3 --seed 1
    tsm train sthv1 --data real --devices 8

Each command is a function in commands/: its signature and docstring are its options and its help.
"""

import logging
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group, Parameter, UnusedCliTokensError

from .commands import data, detection, notebooks, online, predict, records, rows, speed, studies
from .engine.interruption import Interrupted, raised_signals
from .engine.ranks import global_rank
from .progress import LogHandler, Sink, show_in
from .text import to_terminal

HELP = """Train, test and study TSM, the Temporal Shift Module.

ROW is the name of a published row (see `tsm list`) or a YAML file of your own."""

# In the order of the help.
COMMANDS = {
    "One row": (rows.train, rows.evaluate, rows.export, rows.list_rows),
    "Videos": (predict.predict, predict.features),
    "Streams": (online.online,),
    "Object detection": (detection.detect, detection.train_detector, detection.evaluate_detector),
    "Published results": (studies.reproduce, studies.verify),
    "Speed": (speed.bench, speed.profile, speed.sizing, speed.options),
    "Notebooks": (notebooks.notebook,),
}
SETS = {
    "data": (
        "Prepare a row's data.",
        (data.lists, data.extract, data.check, data.shard, data.pushups),
    ),
    "study": ("Run studies, or all published rows.", (studies.run, studies.rows)),
    "report": (
        "Show and publish records of runs.",
        (records.last, records.publish, records.summary),
    ),
}


def make_app() -> App:
    """Build the command line from the functions in commands/."""
    flags = Parameter(consume_multiple=True, negative_iterable=())
    style = {"help_format": "markdown", "version_flags": [], "default_parameter": flags}
    app = App(name="tsm", help=HELP, suppress_keyboard_interrupt=False, **style)
    for title, functions in COMMANDS.items():
        panel = Group.create_ordered(title)
        for function in functions:
            name = function.__name__.removesuffix("_rows").replace("_", "-")
            app.command(function, name=name, group=panel, sort_key=functions.index(function))
    panel = Group.create_ordered("Sets of commands")
    for name, (meaning, functions) in SETS.items():
        commands = App(name=name, help=meaning, group=panel, **style)
        for function in functions:
            commands.command(function, sort_key=functions.index(function))
        app.command(commands)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    A mistake on the command line and an error of this package are one sentence and status 1. Any
    other error is a defect and keeps its traceback.
    """
    logging.basicConfig(format="%(message)s", handlers=[LogHandler()])
    log = logging.getLogger("tsmlib")
    level = log.level  # some commands show more of their messages
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if global_rank() > 0:  # of a run of several processes the first one speaks
            show_in(Sink())
        app = make_app()
        with raised_signals():
            status = app(words, exit_on_error=False, print_error=False,
                         result_action="return_value")  # fmt: skip
        return status or 0
    except Interrupted as stop:
        if global_rank() == 0:
            print(stop, file=sys.stderr)
        return stop.status
    except UnusedCliTokensError as error:
        words = to_terminal(" ".join(error.unused_tokens))
        print(f"not expected: {words}; see --help", file=sys.stderr)
    except CycloptsError as error:
        print(f"{to_terminal(' '.join(str(error).split()))} See --help.", file=sys.stderr)
    except (RuntimeError, ValueError) as error:
        if not type(error).__module__.startswith("tsmlib."):
            raise
        print(to_terminal(str(error)), file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        log.setLevel(level)
    return 1


if __name__ == "__main__":
    sys.exit(main())
