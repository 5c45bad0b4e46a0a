"""What every test shares: one thread, fixed seeds, no network, and where optional things lie.

Tests that need something this machine may lack take a fixture from here, which skips with the reason.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import random
import re
import shutil
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

# `-m gpu` asks for a GPU; other tests do not see one. Processes of pytest-xdist are told by the environment.
if any(before == "-m" and re.search(r"(?<!not )\bgpu\b", word) for before, word in pairwise(sys.argv)):
    os.environ.setdefault("PREFLAB_TEST_DEVICE", "cuda")
HIDDEN = {} if os.environ.get("PREFLAB_TEST_DEVICE", "").startswith("cuda") else {"CUDA_VISIBLE_DEVICES": ""}

# Before torch, tokenizers or the Hub are imported by any test.
for name, value in {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_MODE": "disabled",
    **HIDDEN,
}.items():
    os.environ.setdefault(name, value)

import numpy as np
import pytest
import torch

from postgres_server import postgres_server, server_folder

REPOSITORY = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays: the garbage collector need not walk through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Every test starts from the same random state and leaves torch's global switches as it found them."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    yield
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session", autouse=True)
def quick_storage() -> Iterator[None]:
    """Hundreds of tests begin with an empty workspace: its tables are made by migrations once per process.

    Neither commits nor files wait for the disk, which only a loss of power would show.
    """
    from preflab.store import database, migrate
    from remembered_tables import repeating

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "_upgrade", repeating(migrate._upgrade))
        patch.setattr(database, "SQLITE_PRAGMAS", ("synchronous=OFF", *database.SQLITE_PRAGMAS[1:]))
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and models: $PREFLAB_SHARED, or `shared` beside the checkout."""
    folder = Path(os.environ.get("PREFLAB_SHARED") or REPOSITORY.parent / "shared")
    if not folder.is_dir():
        pytest.skip("the folder with real data is missing: lay `shared` beside the checkout or set PREFLAB_SHARED")
    return folder


@pytest.fixture(scope="session")
def stories_model(shared: Path) -> Path:
    """The folder of stories260K, a real pretrained Llama with 260 thousand parameters."""
    folder = shared / "models" / "stories260K"
    if not (folder / "config.json").is_file():
        pytest.skip("models/stories260K is missing from the folder with real data")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium executable: $PREFLAB_CHROMIUM or the first on the PATH."""
    names = [os.environ.get("PREFLAB_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium was found: install Debian's package chromium or set PREFLAB_CHROMIUM")
    return found


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of an empty PostgreSQL database that lives as long as the test session."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed: make install EXTRAS=dev,examples,postgres")
    programs = server_folder()
    if programs is None:
        pytest.skip("no PostgreSQL server was found: install Debian's package postgresql")
    with postgres_server(programs) as url:
        yield url
