"""NVIDIA's compilers from PyPI, in pinned versions: NVRTC (CUDA C++ to PTX) and ptxas (PTX to machine code).

They need no GPU, no driver and no CUDA toolkit; they lie in a virtual environment in the user's cache folder.
"""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

KERNELS = Path(__file__).resolve().parent
PTX = KERNELS.parent / "ptx"
# Kernels of other styles, for the emulator's tests; their PTX lies beside them.
STYLES = KERNELS.parent.parent / "tests/cuda-emulator/tests/styles"
# Both halves of one toolkit release: ptxas must know all that NVRTC can write.
VERSION = "13.5.37"
# The architectures PTX is made for; a driver compiles the nearest one that its GPU can run.
ARCHITECTURES = (75, 80)


def sources():
    """Every kernel file, in order of name."""
    return sorted(KERNELS.glob("*.cu"))


def ptx_path(source, architecture):
    """Where the PTX of a kernel file lies."""
    return (source.parent if source.parent == STYLES else PTX) / f"{source.stem}.sm{architecture}.ptx"


def entries(ptx):
    """Name of each kernel of a PTX text, with the threads of its block (0: not stated)."""
    for name, directives in re.findall(r"^\.visible \.entry (\w+)\([^)]*\)([^{]*)\{", ptx, re.MULTILINE):
        threads = 1
        stated = re.search(r"^\.(?:maxntid|reqntid) ([\d, ]+)", directives, re.MULTILINE)
        for size in stated[1].split(",") if stated else ["0"]:
            threads *= int(size)
        yield name, threads


def folder(package, inside):
    """Path `inside` the toolkit's folder, after installing the pinned package where it is missing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "smoothout" / f"cuda-{VERSION}"
    found = next(home.glob(f"lib/python*/site-packages/nvidia/cu13/{inside}"), None)
    if found:
        return found
    if not (home / "bin" / "pip").exists():
        venv.create(home, with_pip=True)
    pip = [home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", f"{package}=={VERSION}"]
    subprocess.run(pip, check=True, stdout=sys.stderr)
    return next(home.glob(f"lib/python*/site-packages/nvidia/cu13/{inside}"))
