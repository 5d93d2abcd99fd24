"""What `tsmlib.models` imports: torch and torchvision, but no tables, decoders or plots."""

import subprocess
import sys

FOREIGN = ("pandas", "av", "cv2", "decord", "simplejpeg", "lightning_fabric", "matplotlib", "scipy")
CODE = f"""
import importlib, pkgutil, sys
import tsmlib.models
for module in pkgutil.iter_modules(tsmlib.models.__path__, "tsmlib.models."):
    importlib.import_module(module.name)
print([name for name in {FOREIGN} if name in sys.modules])
rooms = ("data", "engine", "results", "online", "study", "speed", "parity", "report")
print([name for name in sys.modules if name.startswith(tuple(f"tsmlib.{{r}}" for r in rooms))])
"""


def test_models_import_neither_tables_nor_decoders():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
