"""Named tensors on disk, as safetensors: unlike a pickle, such a file cannot run code when it is loaded."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from preflab.errors import PreflabError


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors. Of tensors that share storage only the first is written (safetensors refuses sharing).

    Raises:
        OSError: the disk is full or the folder cannot be written to; `files.new_folder` turns it into a `PreflabError`.
    """
    from safetensors.torch import save_file

    seen: set[int] = set()
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.numel() and tensor.data_ptr() in seen:
            continue
        seen.add(tensor.data_ptr())
        kept[name] = tensor.detach().cpu().contiguous()
    with system_errors(path):
        save_file(kept, path)


@contextmanager
def system_errors(path: Path) -> Iterator[None]:
    """Turn safetensors' write errors into `OSError`; the library gives the system's error number only in its message.

    Raises:
        OSError: safetensors could not write the file.
    """
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        full = "os error 28" in str(error) or "No space" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(path)) from error


def tensor_names(path: Path) -> tuple[str, ...]:
    """Names of the tensors in a safetensors file, without reading them.

    Raises:
        PreflabError: the file is missing or corrupted.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            return tuple(opened.keys())
    except (FileNotFoundError, SafetensorError) as error:
        raise PreflabError(
            f"{path}: {error}", "a whole safetensors file", "restore it, or run that stage again with --fresh"
        ) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, by name.

    Raises:
        PreflabError: the file is missing or corrupted.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise PreflabError(
            f"{path}: {error}", "a whole safetensors file", "restore it, or run that stage again with --fresh"
        ) from error
