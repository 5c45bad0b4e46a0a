"""`demo` runs the whole loop on a tiny model; `init` writes a first recipe."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli.records import ColumnOption, FormatOption, parse_renames
from preflab.cli.running import run_stages, say_next
from preflab.cli.showing import settings_of, text_of, topics
from preflab.cli.speaking import (
    DEFAULT_RECIPE,
    JsonOption,
    RecipeOption,
    SetOption,
    Speaker,
    padded,
    print_table,
    shown_path,
    speaking,
)
from preflab.errors import PreflabError
from preflab.words import difference_text, interval_text

if TYPE_CHECKING:
    from preflab.pipeline import Line


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("demo", help=demo.__doc__, short_help="Run the whole loop on a tiny model, with a report.")(demo)
    app.command("init", help=init.__doc__, short_help="Write a first recipe, or list settings.")(init)


def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where the demo's data, runs and report go.")] = Path(
        "preflab-demo"
    ),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the data and of every stage.")] = 0,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", "-r", help="Another recipe on the demo's data.", show_default="its own")
    ] = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the whole loop on a tiny model trained from scratch, with simulated labelers and a report at the end."""
    from preflab.recipe import load_recipe

    with speaking(as_json) as speaker:
        path = write_demo(folder, seed, recipe)
        lines = run_stages(load_recipe(path, [f"seed={seed}", *(set_ or [])]), None)
        print_table(speaker, lines)
        _before_and_after(speaker, lines)
        say_next(speaker, lines, path, f"`preflab run {shown_path(path)}`")


def write_demo(folder: Path, seed: int, recipe: Path | None) -> Path:
    """Write the demo's data and recipe into a folder; equal seeds give equal files, so a second run skips all stages.

    An edited recipe in the folder is kept as recipe.yaml.former.
    """
    from preflab.demo.data import write_demo_data
    from preflab.files import write_text

    write_demo_data(folder, seed)
    source = recipe if recipe is not None else files("preflab.demo") / "recipe.yaml"
    text = re.sub(r"(?m)^seed: \d+$", f"seed: {seed}", source.read_text(encoding="utf-8"))
    path = folder / "recipe.yaml"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        path.replace(path.with_suffix(".yaml.former"))
    write_text(path, text)
    return path


MAIN = ("judge/", "reward/", "probability/", "kl/")
"""Prefixes of the measures whose differences are printed."""


def _before_and_after(speaker: Speaker, lines: list[Line]) -> None:
    """Print the main differences of the evaluation stages with the report's digits and words."""
    from preflab.report.measures import measure_name, quantity
    from preflab.report.run_folders import Run

    figures: dict[str, Any] = {}
    rows = []
    for line in lines:
        if line.kind == "evaluate" and line.state == "done":
            run = Run.read(line.folder)
            figures |= run.manifest["figures"]
            for entry in run.evaluation["comparisons"]:
                for name in (name for name in entry["differences"] if name.startswith(MAIN)):
                    difference, form = entry["differences"][name], quantity(name).difference
                    texts = interval_text(difference, form), difference_text(difference, form)
                    rows.append((entry["model"], measure_name(name), *texts))
    speaker.content["figures"] = figures
    if rows:
        head = ("model", "measure", "difference (95\u00a0% interval)", "in words")
        for shown in ("", *padded([head, *rows]), ""):
            speaker.say(shown)


def init(
    recipe: RecipeOption = DEFAULT_RECIPE,
    model: Annotated[
        str | None, typer.Option("--model", help="With --data: a model's folder, or its id on the Hub.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="With --model: a file, a folder, or the id of a data set on the Hub.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="dpo, reward, ppo, grpo or sft.", show_default="the usual one for such data"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Split of a folder or data set that has several.", show_default="train"),
    ] = None,
    format: FormatOption = None,
    column: ColumnOption = None,
    memory: Annotated[
        float | None,
        typer.Option(
            "--memory", min=0.1, help="Memory of the machine that will train, in GiB.", show_default="free memory here"
        ),
    ] = None,
    show: Annotated[
        str | None, typer.Option("--show", metavar="KIND", help="List the settings of a stage kind or section, or all.")
    ] = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a first recipe: fitted to a model and data, or a commented one to edit.

    With --model and --data the recipe runs as it is, and every assumption is printed. With --show the command lists
    settings with their defaults, meaning and source instead.
    """
    with speaking(as_json) as speaker:
        if show is not None:
            _list_settings(speaker, show)
            return
        more = {"kind": kind, "split": split, "memory": memory, "format": format, "columns": parse_renames(column)}
        if model is not None or data is not None or any(more.values()):
            _init_from_data(speaker, recipe, set_ or [], model, data, **more)
            return
        if recipe.exists():
            raise PreflabError(
                f"{recipe} exists already",
                "a name that is not taken",
                "name another with --recipe, or move the old one away",
            )
        text = (files("preflab") / "templates" / "recipe.yaml").read_text(encoding="utf-8")
        _write_checked(recipe, text, set_ or [])
        speaker.last(
            recipe,
            "put your prompts into prompts.jsonl, your pairs into pairs.jsonl and your model into the recipe, then "
            f"`preflab run{'' if recipe == DEFAULT_RECIPE else f' {recipe}'}`",
        )


def _init_from_data(
    speaker: Speaker, recipe: Path, overrides: list[str], model: str | None, data: str | None, **more: Any
) -> None:
    """Write a recipe for a model and a file of data, and print its assumptions by topic."""
    if model is None or data is None:
        lacking = "--data FILE" if model is not None else "--model FOLDER" if data is not None else "--model and --data"
        raise PreflabError(f"init without {lacking}", "a model and data to look at, or neither", f"add {lacking}")
    from preflab.starter.first_recipe import Wanted, described, make_first_recipe, write_first_recipe

    made = make_first_recipe(Wanted(model, data, changes=tuple(overrides), **more), recipe)
    written = write_first_recipe(made, recipe, overrides)
    about = ""
    for topic, sentence in made.sentences:
        speaker.say(f"{'' if topic == about else topic:<10} {sentence}")
        about = topic
    speaker.say()
    named = "" if recipe == DEFAULT_RECIPE else f" {shown_path(recipe)}"
    following = (
        f"`preflab check {model}` tests preflab's assumptions on the model, `preflab run{named}` runs the recipe"
    )
    speaker.last(recipe, following, files=[str(path) for path in written], **described(made))


def _write_checked(recipe: Path, text: str, overrides: list[str]) -> None:
    """Write the commented recipe with --set applied; its comments survive only without --set."""
    from preflab.files import write_text

    if overrides:
        import yaml

        from preflab.recipe.overrides import apply_overrides
        from preflab.yaml_files import parse

        text = yaml.safe_dump(apply_overrides(parse(text, str(recipe)), overrides, recipe), sort_keys=False)
    write_text(recipe, text)


def _list_settings(speaker: Speaker, topic: str) -> None:
    listed = list(topics()) if topic == "all" else [topic]
    speaker.content["settings"] = {name: settings_of(name) for name in listed}
    for name in listed:
        for line in text_of(name):
            speaker.say(line)
        speaker.say()
    speaker.content["next"] = "preflab init"
    speaker.say("next: change any of them in the recipe, or with --set stages.NAME.SETTING=VALUE")
