"""The engine of papermill, which papermill loads at its start by an entry point.

`papermill notebooks/train.ipynb -p cfg sthv1 > OUT.ipynb` writes to standard output, whose name
`-` papermill takes for a file without an extension: its warning of that is left out.

A scheduler's signals end papermill as Ctrl-C does, with the kernel stopped in order: a training has
some seconds to save its step. They would kill papermill at once, and then the kernel.
"""

import signal
import sys
import warnings
from pathlib import Path
from typing import Any, NoReturn

from papermill.engines import NBClientEngine

TRY_AGAIN = 75  # exit status, as of the other commands


def _end(number: int, _: Any) -> NoReturn:
    raise SystemExit(TRY_AGAIN)


warnings.filterwarnings("ignore", "the file is not specified with any extension : -$", UserWarning)
if "papermill" in (Path(word).name for word in sys.orig_argv[:4]):  # its command, not an import
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _end)

Engine = NBClientEngine  # also by name: papermill --engine tsmlib
