"""`train` and `train_reward`: write a recipe of one stage and run it, so every loop has a single implementation."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from preflab import pipeline
from preflab.errors import PreflabError, nearest
from preflab.files import read_jsonl, write_text
from preflab.library.models import Model, RewardModel, place_of
from preflab.models.loading import load_tokenizer
from preflab.models.precision import resolved
from preflab.recipe import load_recipe
from preflab.records import Prompt
from preflab.settings.recipe import STAGE_SETTINGS
from preflab.store.exports.trainer_texts import asked_for

logger = logging.getLogger(__name__)

DATA = ("data", "demonstrations", "preferences")
"""The `refers` kinds of a setting that names a stage's training data."""


def train(
    kind: str,
    model: Model | Path | str,
    data: Path | str | Sequence[Any] | None = None,
    *,
    folder: Path | str,
    seed: int = 0,
    precision: str | None = None,
    **settings: Any,
) -> Model:
    """Train a model on data with a stage of kind `sft`, `dpo`, `ppo`, `grpo` or `online_dpo`; returns the new model.

    The stage runs as in a recipe: called again with the same arguments it resumes from its checkpoint, or returns at
    once if it is done. Global seeds and threads are set as by `preflab run`. Alarms of the run are logged as warnings.

    Args:
        kind: the kind of stage.
        model: the model to start from.
        data: a data file or data set as in a recipe, or rows: demonstrations for `sft`; pairs, rankings (from `judge`)
            or thumbs for `dpo`; prompts for the others. None with an `environment` that supplies its own prompts.
        folder: the workspace: runs go to `runs/`, the recipe to `train-KIND.yaml`, rows to `train-KIND.jsonl`.
        seed: seed of the stage.
        precision: as for `load`; None: the model's.
        settings: settings of the stage, by their names in docs/reference/settings.md. Groups are dictionaries
            (`optimiser={"learning_rate": 1e-4}`, `lora=None` for full fine-tuning); `rewards` may hold reward models.

    Raises:
        PreflabError: an unknown kind or setting, no or unreadable data, or an error of the stage.
    """
    made = _run_stage(kind, "model", model, data, Path(folder), seed, precision, settings)
    return Model(*made)


def train_reward(
    model: Model | Path | str,
    data: Path | str | Sequence[Any],
    *,
    folder: Path | str,
    seed: int = 0,
    precision: str | None = None,
    **settings: Any,
) -> RewardModel:
    """Train a reward model on pairs or rankings with stage `reward`; arguments and errors as for `train`."""
    path, used = _run_stage("reward", "reward", model, data, Path(folder), seed, precision, settings)
    return RewardModel(path, used)


def _run_stage(
    kind: str,
    makes: str,
    model: Model | Path | str,
    data: Path | str | Sequence[Any] | None,
    folder: Path,
    seed: int,
    precision: str | None,
    settings: Mapping[str, Any],
) -> tuple[Path, str]:
    """Run a recipe of one stage; returns the folder of the result and the precision used."""
    data_setting = _data_setting(kind, makes)
    if data is None and not settings.get("environment"):
        raise PreflabError(
            f"{kind} without data",
            f"a data file or rows as `{data_setting}`; only an environment can supply prompts",
            "name the data, or set `environment`",
        )
    if isinstance(model, Model):
        ref, precision = place_of(model.path), precision or model.precision
    else:
        ref = place_of(model)
    used = resolved(precision or "float32")
    has_template = getattr(load_tokenizer(ref, writes=False), "chat_template", None) is not None
    plain, asks = _plain(settings), {} if data is None else {data_setting: "data"}
    named = {} if data is None else {"data": {"path": str(_data_file(kind, data, folder)), "as_turns": has_template}}
    recipe = {
        "recipe": 1,
        "seed": seed,
        "device": {"threads": torch.get_num_threads(), "precision": used},
        "data": named,
        "stages": {kind: {"kind": kind, "model": str(ref), **asks, **plain}},
    }
    path = folder.absolute() / f"train-{kind}.yaml"
    write_text(path, "# Written by preflab.train.\n" + yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
    line = pipeline.run(load_recipe(path))[-1]
    for alarm in read_jsonl(line.folder / "alarms.jsonl"):
        logger.warning("%s: alarm at step %d: %s; %s", kind, alarm["step"], alarm["message"], alarm["setting"])
    return line.folder / makes, used


def _data_setting(kind: str, makes: str) -> str:
    """The name of the setting that names the data of this kind of stage."""
    fields = {
        each: [
            name
            for name, field in model.model_fields.items()
            if (field.is_required() or name == "prompts") and _refers(field.json_schema_extra) in DATA
        ]
        for each, model in STAGE_SETTINGS.items()
        if model.makes == makes and "model" in model.model_fields
    }
    known = {each: names[0] for each, names in fields.items() if names}
    if kind not in known:
        near = nearest(kind, list(known))
        raise PreflabError(
            f"no kind of training {kind!r}",
            f"one of {', '.join(known)}" + (f"; near it: {near}" if near else ""),
            "name one of them; a reward model is trained by train_reward",
        )
    return known[kind]


def _refers(extra: object) -> object:
    """The `refers` of a setting, which `settings.base.setting` stores in the field's JSON schema."""
    return extra.get("refers") if isinstance(extra, dict) else None


def _data_file(kind: str, data: Path | str | Sequence[Any], folder: Path) -> Path | str:
    """The data's file: the one named, or a new one written from the rows."""
    if isinstance(data, str | Path):
        return Path(data).absolute() if Path(data).exists() else str(data)
    rows = [row if isinstance(row, Mapping) else _as_row(row) for row in data]
    path = folder.absolute() / f"train-{kind}.jsonl"
    try:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    except TypeError as error:
        raise PreflabError(
            f"a row of the data: {error}", "texts, numbers, lists and objects", "correct the row"
        ) from error
    write_text(path, text)
    return path


def _as_row(prompt: Any) -> dict[str, Any]:
    """A prompt as a row of data."""
    if isinstance(prompt, Prompt):
        return {**prompt.columns, "prompt": asked_for(prompt)}
    return {"prompt": prompt}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in the form of a recipe, with reward models replaced by their folders."""
    rewards = settings.get("rewards")
    sources = [{"model": each} if isinstance(each, RewardModel) else each for each in rewards or ()]
    changed = {} if rewards is None else {"rewards": sources}
    return {name: _as_yaml(value, name) for name, value in {**settings, **changed}.items()}


def _as_yaml(value: Any, name: str) -> Any:
    """A setting's value as a recipe can hold it: models and folders as paths, NumPy numbers as Python numbers."""
    if isinstance(value, Model | RewardModel):
        return str(place_of(value.path))
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, Mapping):
        return {str(key): _as_yaml(each, f"{name}.{key}") for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_yaml(each, name) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise PreflabError(
        f"{name}: {type(value).__name__} {value!r:.60}",
        "a value that a recipe can hold: texts, numbers, lists, groups of settings, models",
        'name a function as {"function": "module:function"}' if callable(value) else "give such a value",
    )
