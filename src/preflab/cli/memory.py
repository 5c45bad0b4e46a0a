"""`check --memory`: the predicted peak memory of stages, before anything is loaded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.cli.model_places import model_place
from preflab.cli.speaking import Speaker, command, padded, shown_path
from preflab.errors import PreflabError, nearest

if TYPE_CHECKING:
    from preflab.memory.arithmetic import Estimate
    from preflab.memory.model_sizes import ModelSizes
    from preflab.memory.of_recipe import Prediction
    from preflab.memory.remedies import Remedy
    from preflab.recipe import Recipe

COLUMNS = ("base", "weights", "optimiser", "gradients", "activations", "head", "cache", "writing")
"""Parts of an estimate in the order of the table."""
HEADINGS = ("base", "weights", "states", "grads", "activ.", "head", "cache", "write")
"""Their headings: short, so that a table fits a terminal of 80 columns where stages have short names."""
PAGE = "docs/how-to/precision-and-devices.md"
"""The page that says what the columns are."""
RECIPES = (".yaml", ".yml")
USUAL_LENGTH = 512
"""Tokens of the longest prompt and of the data's longest completion, unless they are given."""


@dataclass(frozen=True)
class MemoryQuestion:
    """The arguments of a prediction, as typed."""

    ref: str | None
    """A recipe, a stage of the recipe, or a model; None: the recipe."""
    recipe: Path
    overrides: list[str]
    workspace: Path | None
    kinds: tuple[str, ...]
    """Kinds of stages for a model; (): all."""
    available: float | None
    """GiB; None: the free memory here."""
    prompt_tokens: int
    completion_tokens: int
    precision: str | None
    """For a model: float32, bfloat16, float16 or auto; a recipe says its own."""

    @property
    def half(self) -> bool:
        """Whether a model's stages compute in 16 bits."""
        from preflab.models.precision import half_precision, resolved

        return half_precision(resolved(self.precision or "float32")) is not None


def check_memory(speaker: Speaker, asked: MemoryQuestion) -> bool:
    """Print the predicted memory of the stages; returns whether all fit into the free memory of this machine.

    Raises:
        PreflabError: no such recipe, stage or model, or an unknown kind of stage.
    """
    import torch

    from preflab.memory.free import GIB, USED, free_device_memory, free_memory, gib
    from preflab.words import percent

    gpu = torch.cuda.is_available()
    here = free_device_memory() if gpu else free_memory()
    free = here if asked.available is None else round(asked.available * GIB)
    predictions, left_out = _predictions(asked, free, gpu)
    if predictions:
        _print_table(speaker, predictions)
    where = "given" if asked.available is not None else "free on the GPU" if gpu else "free here"
    speaker.say(f"GiB; columns: {PAGE}; a GPU's base is assumed")
    speaker.say(f"{gib(free)} {where}, of which {percent(USED)} may be used")
    for name, why in left_out.items():
        speaker.say(f"{name}: {why}")
    for missing, names in _not_counted(predictions).items():
        speaker.say(f"not counted for {' and '.join(names)}: {missing}")
    fitting = [_say_fit(speaker, each, free, gpu) for each in predictions]
    fits = all(fitting)
    speaker.content["free_bytes"], speaker.content["device"] = free, "gpu" if gpu else "cpu"
    speaker.content["stages"] = [_as_json(each, fit) for each, fit in zip(predictions, fitting, strict=True)]
    speaker.content["left_out"] = left_out
    speaker.last(None, _following(asked, fits), fits=fits)
    return fits


def _not_counted(predictions: list[Prediction]) -> dict[str, list[str]]:
    """Parts that predictions leave out, in words → the stages whose models have them."""
    stages: dict[str, list[str]] = {}
    for each in predictions:
        for missing in each.not_counted:
            stages.setdefault(missing, []).append(each.stage)
    return stages


def _following(asked: MemoryQuestion, fits: bool) -> str:
    """The line after the table: the command that runs the recipe, or that writes one for the model."""
    if not fits:
        return "change a stage as above, by several changes together if one is not enough"
    if asked.ref is None or _is_recipe(asked.ref):
        return command("run", asked.ref) if asked.ref else command("run", recipe=asked.recipe)
    if _is_stage(asked):
        return command("run", "--until", asked.ref, recipe=asked.recipe)
    return command("init", "--model", asked.ref, "--data", "FILE")


def _is_recipe(ref: str) -> bool:
    return Path(ref).suffix in RECIPES


def _is_stage(asked: MemoryQuestion) -> bool:
    """Whether the recipe has a stage of the name that was typed; a folder of this name comes first."""
    from preflab.recipe import load_recipe

    if asked.ref is None or Path(asked.ref).is_dir() or not asked.recipe.exists():
        return False
    return bool(load_recipe(asked.recipe, asked.overrides).names_of(asked.ref))


def _predictions(asked: MemoryQuestion, free: int, gpu: bool) -> tuple[list[Prediction], dict[str, str]]:
    """The predictions, and why other stages have none."""
    ref = asked.ref
    if ref is None or _is_recipe(ref):
        path = asked.recipe if ref is None else Path(ref)
        _refuse_options_of_models(asked, f"the recipe {shown_path(path)}")
        return _of_recipe(asked, path, free, gpu, None)
    if _is_stage(asked):
        _refuse_options_of_models(asked, f"stage {ref} of {shown_path(asked.recipe)}")
        return _of_recipe(asked, asked.recipe, free, gpu, ref)
    place = str(model_place(ref, asked.recipe, asked.overrides, asked.workspace))
    if asked.overrides:
        raise PreflabError(
            f"--set {asked.overrides[0]} with the model {ref}",
            "settings of a recipe; stages of a model have their defaults",
            "leave out --set, or name a stage of a recipe instead of a model",
        )
    return _of_model(asked, place, free, gpu), {}


def _refuse_options_of_models(asked: MemoryQuestion, what: str) -> None:
    """Refuse options that a recipe's own settings decide.

    Raises:
        PreflabError: --stage or --precision was given.
    """
    if asked.kinds:
        raise PreflabError(
            f"--stage {asked.kinds[0]} with {what}",
            "kinds of stages for a model; a recipe has stages of its own",
            "leave out --stage, or name a model's folder instead",
        )
    if asked.precision is not None:
        raise PreflabError(
            f"--precision {asked.precision} with {what}",
            "a recipe, whose device.precision says it",
            f"write --set device.precision={asked.precision} instead",
        )


def _of_model(asked: MemoryQuestion, ref: str, free: int, gpu: bool) -> list[Prediction]:
    """Predictions for a model: each kind of stage with its default settings, with LoRA and with all weights."""
    from preflab.memory.load import KINDS
    from preflab.memory.model_sizes import ModelSizes
    from preflab.memory.of_recipe import predict
    from preflab.settings.recipe import STAGE_SETTINGS

    for kind in asked.kinds:
        if kind not in KINDS:
            near = nearest(kind, list(KINDS))
            raise PreflabError(
                f"--stage {kind}: no kind of stage whose memory is predicted", f"one of {', '.join(KINDS)}",
                f"did you mean {near}?" if near else "name one of them",
            )  # fmt: skip
    model, lengths = ModelSizes.read(ref), _lengths(asked)
    predictions = []
    for kind in asked.kinds or KINDS:
        for way in _ways(STAGE_SETTINGS[kind]):
            settings = _usual_settings(STAGE_SETTINGS[kind], ref, way)
            name = kind if way is None else f"{kind}, {way}"
            predictions.append(predict(name, kind, settings, model, lengths, half=asked.half, free=free, gpu=gpu))
    return predictions


def _ways(settings: Any) -> tuple[str | None, ...]:
    """`LoRA` and `full` where a kind of stage has both."""
    return ("LoRA", "full") if "lora" in settings.model_fields else (None,)


def _usual_settings(settings: Any, ref: str, way: str | None) -> Any:
    """A stage's settings with its defaults; required names are filled in and have no influence on memory."""
    required = {name: "x" for name, field in settings.model_fields.items() if field.is_required()}
    values: dict[str, Any] = required | {"model": ref}
    if "rewards" in settings.model_fields:
        values["rewards"] = [{"model": "x"}]
    if "prompts" in settings.model_fields:
        values["prompts"] = "x"
    if way is not None:
        values["lora"] = {} if way == "LoRA" else None
    return settings.model_validate(values)


def _of_recipe(
    asked: MemoryQuestion, path: Path, free: int, gpu: bool, only: str | None
) -> tuple[list[Prediction], dict[str, str]]:
    """Predictions for the stages of a recipe."""
    from preflab import pipeline
    from preflab.memory.load import KINDS
    from preflab.memory.of_recipe import first_model, predict, predictable
    from preflab.recipe import load_recipe
    from preflab.stages.base import computed_precision

    recipe = load_recipe(path, asked.overrides)
    steps = pipeline.plan(recipe, pipeline.workspace_folder(recipe, asked.workspace) / "runs")

    def finished(name: str) -> Path | None:
        return pipeline.output(steps[name]).model if pipeline.state_of(steps[name]) == "done" else None

    half = computed_precision(recipe.device) != "float32"
    named = recipe.names_of(only) if only is not None else tuple(recipe.stages)
    known = predictable({name: recipe.kind(name) for name in named})
    if not known:
        raise PreflabError(
            f"{only or shown_path(path)}: no stage whose memory is predicted",
            f"a stage of kind {', '.join(KINDS)}",
            "name another stage or recipe",
        )
    sizes: dict[str, ModelSizes] = {}
    predictions: list[Prediction] = []
    left_out = {name: f"kind {recipe.kind(name)} is not predicted" for name in named if _is_unknown(recipe, name)}
    for name in known:
        model = first_model(recipe.stages, name, finished)
        if model is None:
            left_out[name] = "its model's sizes are known once the stage that makes it has run"
            continue
        place = _place(recipe, model)
        if str(place) not in sizes:
            sizes[str(place)] = _read(place)
        settings, size = recipe.stages[name], sizes[str(place)]
        predictions.append(
            predict(name, recipe.kind(name), settings, size, _lengths(asked), half=half, free=free, gpu=gpu)
        )
    return predictions, left_out


def _is_unknown(recipe: Recipe, name: str) -> bool:
    """Whether a stage holds models and is of a kind that the arithmetic does not know."""
    from preflab.memory.load import KINDS

    fields = type(recipe.stages[name]).model_fields
    return recipe.kind(name) not in KINDS and (recipe.kind(name) == "tiny" or "model" in fields or "models" in fields)


def _place(recipe: Recipe, model: str | Path) -> Path | str:
    """The folder of a model that a recipe names, else its Hub id."""
    folder = recipe.resolve(str(model))
    return folder if folder.is_dir() else model


def _read(place: Path | str) -> ModelSizes:
    from preflab.memory.model_sizes import ModelSizes

    return ModelSizes.read(place)


def _lengths(asked: MemoryQuestion) -> Any:
    from preflab.memory.load import Lengths

    return Lengths(asked.prompt_tokens, asked.completion_tokens)


def _print_table(speaker: Speaker, predictions: list[Prediction]) -> None:
    rows: list[tuple[str, ...]] = [("stage", "on", *HEADINGS, "peak", "while")]
    for each in predictions:
        rows += [_row(each.stage, "CPU", each.cpu), _row("", "GPU", each.gpu)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0], cells[-1] = row[0].ljust(widths[0]), f" {row[-1]}"
        speaker.say(" ".join(cells))


def _row(stage: str, device: str, estimate: Estimate) -> tuple[str, ...]:
    return stage, device, *(_number(estimate.parts[name]) for name in COLUMNS), _number(estimate.total), estimate.phase


def _number(num_bytes: int) -> str:
    """GiB with two decimals; – for 0."""
    return f"{num_bytes / 2**30:.2f}" if num_bytes else "–"


def _say_fit(speaker: Speaker, each: Prediction, free: int, gpu: bool) -> bool:
    """Print whether a stage fits, and what to change if it does not."""
    from preflab.memory.free import USED, gib

    total = (each.gpu if gpu else each.cpu).total
    if total <= USED * free:
        return True
    speaker.say(f"{each.stage}: needs {gib(total)}, does not fit; alone, each of these would need:")
    changes = each.gpu_remedies if gpu else each.cpu_remedies
    needs = [gib(one.total) + ("" if one.total <= USED * free else ", still too much") for one in changes]
    for line in padded([(one.change, need) for one, need in zip(changes, needs, strict=True)]) if changes else []:
        speaker.say(f"    {line}")
    return False


def _as_json(each: Prediction, fits: bool) -> dict[str, Any]:
    return {
        "stage": each.stage,
        "fits": fits,
        "load": dataclasses.asdict(each.load),
        "cpu": _device_json(each.cpu, each.cpu_remedies),
        "gpu": _device_json(each.gpu, each.gpu_remedies),
        "not_counted": list(each.not_counted),
    }


def _device_json(estimate: Estimate, changes: list[Remedy]) -> dict[str, Any]:
    return {
        "parts": dict(estimate.parts),
        "peak": estimate.total,
        "phase": estimate.phase,
        "changes": [dataclasses.asdict(change) for change in changes],
    }
