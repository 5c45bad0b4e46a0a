"""The wheel as it would be published, and an empty environment with it; nothing is downloaded."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest


def build_wheel(repository: Path, folder: Path) -> Path:
    """Builds the wheel into a folder; skips where hatchling is missing."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w"]
    built = subprocess.run([*command, str(folder), str(repository)], capture_output=True, text=True, check=False)
    if "hatchling" in built.stderr and built.returncode:
        pytest.skip("hatchling, which builds the wheel, is not installed")
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


def install_wheel(wheel: Path, folder: Path) -> Path:
    """An environment with the wheel, installed by pip, and its dependencies from here; returns its bin folder.

    The dependencies' folders are added as plain paths: .pth files in there, an editable preflab's among them, are not
    followed.
    """
    venv.create(folder, with_pip=False)
    programs = folder / "bin"
    command = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*command, "-q", str(wheel)], check=True, capture_output=True, env=clean_environment())
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(others), encoding="utf-8")
    return programs


def clean_environment() -> dict[str, str]:
    """This process's environment without what points Python at the source."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
