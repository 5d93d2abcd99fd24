"""The engine of papermill, which papermill loads at its start by an entry point.

`papermill notebooks/train.ipynb -p cfg sthv1 > OUT.ipynb` writes to standard output, whose name
`-` papermill takes for a file without an extension: its warning of that is left out.
"""

import warnings

from papermill.engines import NBClientEngine

warnings.filterwarnings("ignore", "the file is not specified with any extension : -$", UserWarning)

Engine = NBClientEngine  # also by name: papermill --engine tsmlib
