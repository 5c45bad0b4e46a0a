"""What our timing jobs share: arguments, the peers' own model, prompts and tokenizer, one RESULT line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def parser(about: str | None) -> argparse.ArgumentParser:
    """The arguments every job takes."""
    made = argparse.ArgumentParser(description=about)
    made.add_argument("--peers", type=Path, required=True, help="folder of the peers' scripts")
    made.add_argument("--root", type=Path, required=True, help="what the peers' setup.sh made")
    made.add_argument("--threads", type=int, default=2)
    return made


def parse(made: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, with torch's threads set."""
    import torch

    args = made.parse_args()
    torch.set_num_threads(args.threads)
    return args


def peers_common(peers: Path) -> ModuleType:
    """The peers' module of prompts and tokenizer, so that both sides eat the same."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("peers_common", peers / "common.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def emit(**result: Any) -> None:
    """The line that benchmarks/running.py reads."""
    print("RESULT " + json.dumps(result), flush=True)
    sys.stdout.flush()
