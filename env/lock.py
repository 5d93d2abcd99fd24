"""Resolve the dependencies of pyproject.toml anew and write the lock: `make lock`.

Only asks pip what it would install, and from which files (about two minutes; nothing is installed
but pip itself, in a temporary folder). Resolves for the oldest supported Python, 3.11.0, because a
package's newest release may want a later patch release of 3.11 while the older one serves 3.13 as
well.
"""

import json
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "env" / "requirements-linux-x86_64.txt"
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")
HEADER = """\
# Every package of the environment, pinned. Written by `make lock` (env/lock.py): what pip resolves
# for pyproject.toml with all extras and the torch pair of environment.yml, on Linux x86-64 with
# Python 3.11. The same set serves 3.12 and 3.13. Hashes are of the files for these three.
"""


def wanted() -> list[str]:
    """Direct dependencies of every extra, and the pins of torch and torchvision."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    pins = re.findall(r"torch(?:vision)?==[\w.]+", (ROOT / "environment.yml").read_text())
    return [*project["dependencies"], *(name for extra in extras for name in extra), *pins]


def resolve(requirements: list[str], folder: Path) -> list[str]:
    """The lines `name==version` and `--hash=...` that pip settles on, in alphabetical order.

    A package has a file of its own for each Python, so each of these is asked for its hash.
    """
    venv.create(folder / "venv", with_pip=True)
    pip = [folder / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "-qq", "install"]
    subprocess.run([*pip, "--upgrade", "pip"], check=True)
    hashes: dict[str, set[str]] = {}
    for python in PYTHONS:
        # --dry-run with a report: the resolution without the installation (6 GB).
        target = ["--python-version", python, "--only-binary", ":all:", "--ignore-installed"]
        report = folder / "report.json"
        subprocess.run([*pip, "--dry-run", "--report", report, *target, *requirements], check=True)
        for item in json.loads(report.read_text())["install"]:
            pin = "{name}=={version}".format(**item["metadata"])
            hashes.setdefault(pin, set()).add(item["download_info"]["archive_info"]["hash"])
        requirements = ["--no-deps", *hashes]  # what the oldest settled on
    pins = sorted(hashes, key=lambda pin: pin.lower().split("=="))
    return [
        " \\\n    --hash=".join([pin, *(h.replace("=", ":") for h in sorted(hashes[pin]))])
        for pin in pins
    ]


if __name__ == "__main__":
    if sys.version_info[:2] != (3, 11) or platform.system() + platform.machine() != "Linuxx86_64":
        sys.exit("The lock is made with Python 3.11 on Linux x86-64: make lock PYTHON=python3.11")
    with tempfile.TemporaryDirectory() as folder:
        lines = resolve(wanted(), Path(folder))
    LOCK.write_text(HEADER + "\n".join(lines) + "\n")
    print(f"{LOCK.relative_to(ROOT)}: {len(lines)} packages")
