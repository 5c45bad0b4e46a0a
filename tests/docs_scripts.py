"""The programs of docs/ as modules, for the tests of what they write."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def docs_script(repository: Path, name: str) -> ModuleType:
    """`docs/<name>.py` as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", repository / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
