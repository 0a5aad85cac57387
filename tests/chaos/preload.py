"""Libraries of our own under LD_PRELOAD, compiled where they are used."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def compiled(name: str, home: Path) -> Path:
    """``name.so`` in ``home``, made from ``name.c`` beside this file."""
    library = home / f"{name}.so"
    if not library.exists():
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise FileNotFoundError(f"{name}.c needs a C compiler (Debian: gcc)")
        source = HERE / f"{name}.c"
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
    return library
