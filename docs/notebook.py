"""Makes a notebook from a page: its Python blocks become code cells, everything between them becomes text cells.

A notebook is JSON, so nothing of Jupyter is needed. No outputs are stored. `docs/generate.py` writes the notebooks.
"""

from __future__ import annotations

import json
from typing import Any

from preflab.lessons.page import cells_of


def notebook(page: str) -> str:
    """The text of the notebook (nbformat 4.5); equal pages give equal notebooks."""
    content = {
        "cells": [_cell(number, kind, text) for number, (kind, text) in enumerate(cells_of(page))],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _cell(number: int, kind: str, text: str) -> dict[str, Any]:
    cell: dict[str, Any] = {
        "cell_type": kind,
        "id": f"cell-{number}",
        "metadata": {},
        "source": text.splitlines(keepends=True),
    }
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})
