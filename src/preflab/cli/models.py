"""`check`, `chat` and `export model`: measure a model, talk to it, write it as a Hugging Face folder."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli.dial_runs import AverageOption, Runs, write_setting
from preflab.cli.memory import USUAL_LENGTH, MemoryQuestion, check_memory
from preflab.cli.model_places import model_place, unknown_stage
from preflab.cli.publishing import HubOption, PrivateOption, card_text, check_target, push_folder, write_card
from preflab.cli.speaking import (
    DEFAULT_RECIPE,
    JsonOption,
    RecipeOption,
    SetOption,
    WorkspaceOption,
    command,
    padded,
    speaking,
)
from preflab.errors import PreflabError
from preflab.words import count

if TYPE_CHECKING:
    from preflab.models.check_rows import CheckRow
    from preflab.records import Message, Prompt
    from preflab.report.card_dial import Dialled

ModelArgument = Annotated[str, typer.Argument(help="A stage of the recipe, a folder, or a Hub id.", metavar="MODEL")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("check", help=check.__doc__, short_help="Measure on your model what preflab relies on.")(check)
    app.command("chat", help=chat.__doc__, short_help="Talk to a model in the terminal.")(chat)


def add_export_to(export: typer.Typer) -> None:
    """Register `export model`."""
    export.command("model", help=export_model.__doc__, short_help="Write a model as a plain Hugging Face folder.")(
        export_model
    )


def export_model(
    model: ModelArgument,
    folder: Annotated[Path, typer.Argument(help="Folder to write; new or empty.")],
    base: Annotated[
        str | None,
        typer.Option("--base", help="For an adapter: its base model.", show_default="the one its config names"),
    ] = None,
    dial: Annotated[
        float | None,
        typer.Option("--dial", help="Write a setting of a run's dial: 0 is its reference, 1 the run, at most 1.5."),
    ] = None,
    average: AverageOption = None,
    to_hub: HubOption = None,
    private: PrivateOption = False,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model as a plain Hugging Face folder: adapters merged, a reward model as a sequence classifier.

    An adapter or a reward model is opened again after the export and compared with the original; a complete model is
    copied. A model card, README.md, says how the model was made, from which data, what was measured and what was not.
    --to-hub pushes the folder with your token. --dial writes a model between a run and its reference, see
    `preflab dial`.
    """
    with speaking(as_json) as speaker:
        target = check_target(to_hub, private)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise PreflabError(f"{folder} is not empty", "a new or empty folder", "name another")
        place = Path(model_place(model, recipe, set_ or [], workspace))
        if not place.exists():
            raise unknown_stage(model, recipe)
        dialled: Dialled | None = None
        difference: float | None
        if average and dial is None:
            raise PreflabError("--average without --dial", "a setting of the dial", "add --dial 1 for the average")
        if base is not None and dial is not None:
            raise PreflabError(
                "--base with --dial",
                "one of them: the dial's 0 is the model that the run started from",
                "leave out --base",
            )
        if dial is not None:
            runs = Runs(recipe, set_ or [], workspace)
            dialled, place, difference = write_setting(runs, model, average or [], dial, folder)
        else:
            difference = _export(place, folder, base)
        if difference is None:
            speaker.say("copied as it is: its adapters were merged when the stage finished")
        else:
            speaker.say(f"largest difference from the original model: {difference:.1e}")
        opener = _opening_class(folder)
        brings_code = ", trust_remote_code=True" if list(folder.glob("*.py")) else ""
        opened = f"transformers.{opener}.from_pretrained({str(folder)!r}{brings_code})"
        write_card(folder, card_text(place, folder, opener, base, target.repo_id if target else None, dialled))
        address = push_folder(folder, target, model) if target is not None else None
        if address:
            speaker.say(f"pushed: {address}")
        speaker.last(folder, f"open it with {opened}", opener=opener, difference=difference, pushed=address)


def _export(place: Path, folder: Path, base: str | None) -> float | None:
    """Write the folder; returns the largest difference between its outputs and the original's, None for a copy."""
    from preflab.files import new_folder, read_json

    if (place / "reward_model.json").is_file():
        from preflab.models.export import export_reward
        from preflab.rewards.score import load_reward_model

        return export_reward(load_reward_model(place)[0], folder)
    if (place / "adapter_config.json").is_file():
        from preflab.models.export import export_policy

        named = base or read_json(place / "adapter_config.json").get("base_model_name_or_path")
        if not named:
            raise PreflabError(f"{place}: an adapter without the name of its base", "a base model", "add --base MODEL")
        return export_policy(named, place, folder)
    if not (place / "config.json").is_file():
        raise PreflabError(
            f"{place}: no model in it",
            "a folder with config.json, adapter_config.json or reward_model.json",
            "name a finished stage, or a model's folder",
        )
    with new_folder(folder) as beside:
        # An implicit reward needs the reference model, whose path only the workspace knows.
        shutil.copytree(place, beside, dirs_exist_ok=True, ignore=shutil.ignore_patterns("implicit_reward.json"))
    return None


def _opening_class(folder: Path) -> str:
    """The name of the transformers class that opens an exported folder."""
    from preflab.models.kinds import classifies, opener_of
    from preflab.models.loading import read_config

    config = read_config(folder)
    if classifies(config):
        return "AutoModelForSequenceClassification"
    return opener_of(config) or "AutoModel"


PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        help="Number format of the forward passes: float32, bfloat16, float16 or auto.",
        show_default="float32",
    ),
]


def check(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A stage of the recipe, a folder, or a Hub id; with --memory also a recipe file.",
            metavar="MODEL",
            show_default="with --memory: the recipe",
        ),
    ] = None,
    precision: PrecisionOption = None,
    dtype: Annotated[str | None, typer.Option("--dtype", hidden=True, help="Old name of --precision.")] = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Predict the peak memory of stages instead; nothing is loaded.")
    ] = False,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            metavar="KIND",
            help="With --memory and a model: a kind of stage, such as ppo.",
            show_default="all kinds",
        ),
    ] = None,
    available: Annotated[
        float | None,
        typer.Option("--available", min=0.1, help="With --memory: GiB to fit into.", show_default="free memory here"),
    ] = None,
    prompt_tokens: Annotated[
        int | None,
        typer.Option("--prompt-tokens", min=1, help="With --memory: tokens of the longest prompt; else 512."),
    ] = None,
    completion_tokens: Annotated[
        int | None,
        typer.Option(
            "--completion-tokens",
            min=1,
            help="With --memory: tokens of the data's longest completion; else 512.",
        ),
    ] = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure on your own model whether preflab's assumptions hold, by how much, and what to do where they do not.

    Exit code 0 if all hold, 1 if one does not. With --memory nothing is loaded: the peak memory of a recipe's stages,
    or of kinds of stages on a model, is predicted from configurations, for a CPU and a GPU; exit code 1 if a stage does
    not fit into the free memory here.
    """
    if memory:
        _check_memory(
            MemoryQuestion(
                ref=model,
                recipe=recipe,
                overrides=set_ or [],
                workspace=workspace,
                kinds=tuple(stage or ()),
                available=available,
                prompt_tokens=prompt_tokens or USUAL_LENGTH,
                completion_tokens=completion_tokens or USUAL_LENGTH,
                precision=precision,
            ),
            as_json,
        )
        return
    with speaking(as_json) as speaker:
        if model is None:
            raise PreflabError(
                "no MODEL", "a stage of the recipe, a folder, or a Hub id", "name a model, or add --memory"
            )
        of_memory = {
            "--stage": stage,
            "--available": available,
            "--prompt-tokens": prompt_tokens,
            "--completion-tokens": completion_tokens,
        }
        if given := [option for option, value in of_memory.items() if value]:
            raise PreflabError(f"{' and '.join(given)} without --memory", "a prediction of memory", "add --memory")
        if dtype is not None:
            print("--dtype is now called --precision; it is read as --precision", file=sys.stderr)
            if precision not in (None, dtype):
                raise PreflabError(f"--dtype {dtype} and --precision {precision}", "one of them", "remove --dtype")
        place = model_place(model, recipe, set_ or [], workspace)
        from preflab.models.check import check_model
        from preflab.models.precision import resolved
        from preflab.sampling.engine import TransformersEngine

        rows = check_model(place, TransformersEngine, dtype=resolved(precision or dtype or "float32"))
        lines = [("check", "", "measured", "allowed"), *(_table_row(row) for row in rows)]
        for line, row in zip(padded(lines), [None, *rows], strict=True):
            speaker.say(line)
            if row is not None and row.advice:
                speaker.say(f"    {row.advice}")
        wrong = [row.name for row in rows if not row.holds]
        following = f"correct {', '.join(wrong)} before training" if wrong else command("chat", model)
        speaker.last(place, following, holds=not wrong, checks=[dataclasses.asdict(row) for row in rows])
    if wrong:
        raise typer.Exit(1)


def _check_memory(asked: MemoryQuestion, as_json: bool) -> None:
    """Predict memory; exit code 1 if a stage does not fit."""
    with speaking(as_json) as speaker:
        fits = check_memory(speaker, asked)
    if not fits:
        raise typer.Exit(1)


def _table_row(row: CheckRow) -> tuple[str, str, str, str]:
    return row.name, "holds" if row.holds else "WRONG", row.measured, row.allowed


def chat(
    model: ModelArgument,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Answer this and exit; without it, lines are read from stdin.")
    ] = None,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="0 takes the likeliest token.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer, in tokens.")] = 128,
    seed: Annotated[int, typer.Option("--seed", help="Equal seeds give equal answers.")] = 0,
    precision: PrecisionOption = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Talk to a model; with a chat template it sees the conversation so far, without one only the current line.

    An empty line or Ctrl-D ends the chat.
    """
    with speaking(as_json) as speaker:
        place = model_place(model, recipe, set_ or [], workspace)
        talker = Talker(place, temperature, max_new_tokens, seed, precision or "float32")
        turns = []
        for line in [prompt] if prompt is not None else _read_lines():
            answer = talker.answer(line)
            speaker.say(answer)
            turns.append({"prompt": line, "completion": answer})
        speaker.content["turns"] = turns
        speaker.content |= {"result": str(talker.place), "next": None}


def _read_lines() -> Iterator[str]:
    """The lines of stdin up to an empty one."""
    while True:
        if sys.stdin.isatty():
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline().rstrip("\n")
        if not line.strip():
            return
        yield line


class Talker:
    """A model, and the conversation with it so far."""

    def __init__(
        self, place: Path | str, temperature: float, max_new_tokens: int, seed: int, precision: str = "float32"
    ) -> None:
        from preflab.models.language_model import open_language_model
        from preflab.models.precision import resolved
        from preflab.recipe.checking import checked
        from preflab.sampling.engines import EngineSource, make_engine
        from preflab.settings.sampling import DecodingSettings

        wanted = {"temperature": temperature, "max_new_tokens": max_new_tokens}
        self.decoding = checked(DecodingSettings, wanted, Path("chat"), ())
        self.place, self.seed = place, seed
        opened = open_language_model(place, dtype=resolved(precision))
        self.renderer = opened.renderer()
        self.engine = make_engine(EngineSource(opened.model, opened.tokenizer, self.renderer.stop_token_ids))
        self.limits = opened.limits()
        self.messages: list[Message] = []

    def answer(self, text: str) -> str:
        """Add the user's text to the conversation and return the model's completion."""
        from preflab.records import Message
        from preflab.sampling.randomness import request_seed
        from preflab.training.protocols import SampleRequest

        seed = request_seed(self.seed, len(self.messages), 0)
        self.messages.append(Message("user", text))
        prompt = self._prompt(text)
        request = SampleRequest(self.renderer.prompt_ids(prompt), seed)
        (sampled,) = self.engine.sample([request], self._decoding(len(request.prompt_ids)))
        completion = self.renderer.text(prompt, sampled.token_ids)
        self.messages.append(Message("assistant", completion))
        return completion

    def _decoding(self, num_prompt_tokens: int) -> Any:
        """The decoding settings, with `max_new_tokens` lowered to the room that the prompt leaves in the context."""
        room = self.limits.room(num_prompt_tokens)
        if room < 1:
            raise PreflabError(
                f"the conversation has {count(num_prompt_tokens, 'token')}; the model takes {self.limits.describe()}",
                "room for an answer",
                "start a new conversation: an empty line ends this one",
            )
        return self.decoding.model_copy(update={"max_new_tokens": min(room, self.decoding.max_new_tokens)})

    def _prompt(self, text: str) -> Prompt:
        from preflab.records import Prompt

        if not self.renderer.template.exists:
            return Prompt.make(text=text)
        return Prompt.make(messages=tuple(self.messages))
