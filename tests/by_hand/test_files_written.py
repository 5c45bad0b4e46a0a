"""Modes of the files in a new folder: readable by others as far as the user's umask allows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from preflab.files import new_folder


@pytest.fixture(params=[(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)], ids=["022", "077", "002"])
def expected_mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """0666 less the umask, which is set for the test."""
    umask, mode = request.param
    former = os.umask(umask)
    yield mode
    os.umask(former)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_private_file_of_a_library_gets_the_usual_mode(tmp_path: Path, expected_mode: int) -> None:
    with new_folder(tmp_path / "model") as beside:
        (beside / "inner").mkdir()
        for path in (beside / "model.safetensors", beside / "inner" / "head.safetensors"):
            path.touch(mode=0o600)
    assert mode_of(tmp_path / "model" / "model.safetensors") == expected_mode
    assert mode_of(tmp_path / "model" / "inner" / "head.safetensors") == expected_mode


def test_wider_mode_of_a_copied_file_is_kept(tmp_path: Path, expected_mode: int) -> None:
    with new_folder(tmp_path / "model") as beside:
        (beside / "run.sh").touch()
        (beside / "run.sh").chmod(0o755)
    assert mode_of(tmp_path / "model" / "run.sh") == 0o755 | expected_mode
