"""A tiny language model for a lesson: stage `tiny` on the lesson's own texts, in seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from preflab import pipeline
from preflab.files import write_text
from preflab.library.models import Model
from preflab.recipe import load_recipe

SMALL = {"num_layers": 2, "hidden_size": 64, "num_heads": 2, "context": 64, "num_steps": 200}


def train_tiny(texts: Sequence[str], folder: Path | str, *, seed: int = 0, **settings: Any) -> Model:
    """A Llama of two layers that learned to continue these texts; its vocabulary is their words.

    Called again with the same arguments it returns at once, as every stage does.

    Args:
        texts: what it learns. Every word and every punctuation mark is a token.
        folder: where its recipe and its run go.
        seed: seed of its weights and of the order of the texts.
        settings: settings of the stage, in place of SMALL.
    """
    recipe = {
        "recipe": 1,
        "seed": seed,
        "device": {"threads": 1, "precision": "float32"},
        "data": {"texts": {"path": "texts.jsonl"}},
        "stages": {"base": {"kind": "tiny", "text": "texts", **SMALL, **settings}},
    }
    place = Path(folder).absolute()
    write_text(place / "texts.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in texts))
    write_text(place / "recipe.yaml", yaml.safe_dump(recipe, sort_keys=False))
    return Model(pipeline.run(load_recipe(place / "recipe.yaml"))[-1].folder / "model")
