"""`dial`: the models between the reference and a run, and beyond, measured without training again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli.dial_runs import AverageOption, Runs, about, dial_folder, named, open_dial, scales, started_from
from preflab.cli.speaking import (
    DEFAULT_RECIPE,
    JsonOption,
    RecipeOption,
    SetOption,
    WorkspaceOption,
    command,
    padded,
    shown_path,
    speaking,
)
from preflab.errors import PreflabError

if TYPE_CHECKING:
    from preflab.explain.dial import Dial
    from preflab.explain.dial_points import Questions
    from preflab.stages.base import StageContext
    from preflab.stages.common.finished_runs import FinishedRun

NUM_TILTED, NUM_TILTED_PROMPTS = 64, 32
"""Completions of the reference per prompt, and prompts, for the best possible curve; as in `evaluate`."""


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("dial", help=dial.__doc__, short_help="Measure the models between a reference and a run.")(dial)


def dial(
    run: Annotated[str, typer.Argument(help="A stage that trained a model, or its run folder.", metavar="RUN")],
    beside: Annotated[
        list[str] | None,
        typer.Argument(
            help="Trained runs to draw beside it, such as those with other KL coefficients.", metavar="[OTHER]..."
        ),
    ] = None,
    average: AverageOption = None,
    at: Annotated[
        str, typer.Option("--at", help="Settings to measure besides 0 and 1, from 0 to 1.5, separated by commas.")
    ] = "0.25,0.5,0.75,1.25,1.5",
    evaluation: Annotated[
        str | None,
        typer.Option(
            "--evaluate",
            metavar="STAGE",
            help="Take prompts and judges from this evaluate stage.",
            show_default="the first that names RUN",
        ),
    ] = None,
    prompts: Annotated[str | None, typer.Option("--prompts", help="Other prompts, such as prompts.held_out.")] = None,
    num_prompts: Annotated[int | None, typer.Option("--num-prompts", min=1, help="Use only so many prompts.")] = None,
    num_completions: Annotated[
        int | None, typer.Option("--num-completions", min=1, help="Completions per prompt and setting.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of dial.html and dial.json.", show_default="dial/RUN")
    ] = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Scale what a run learned from 0 (the reference) over 1 (the run) to 1.5 and measure each setting, untrained.

    Reward, judges, exact KL and distinct-2 on held-out prompts, with intervals over prompts, as a page and dial.json;
    beside them the OTHER runs and the best possible curve. `preflab export model RUN FOLDER --dial 0.7` writes a
    setting. With LoRA the adapter is scaled, with full fine-tuning the change of all weights.
    """
    from preflab.files import write_json, write_text
    from preflab.report.dial import dial_page
    from preflab.stages.common.dialled import Wishes

    with speaking(as_json) as speaker:
        settings = read_settings(at)
        runs = Runs(recipe, set_ or [], workspace)
        first, averaged = runs.find(run), [runs.find(each) for each in average or []]
        others = [runs.find(each) for each in beside or []]
        wishes = Wishes(evaluation, prompts, num_prompts, num_completions)
        with runs.context(first) as ctx:
            data = _measured(ctx, first, averaged, others, settings, wishes)
        folder = output or dial_folder([first, *averaged])
        write_json(folder / "dial.json", data)
        write_text(folder / "dial.html", dial_page(data))
        for line in padded(_rows(data)):
            speaker.say(line)
        page = folder / "dial.html"
        speaker.last(page, f"open {shown_path(page)} in a browser, then {_export(run, average)}", dial=data)


def read_settings(text: str) -> list[float]:
    """The settings of `--at`.

    Raises:
        PreflabError: one is no number, or outside 0 to 1.5.
    """
    from preflab.explain.dial import check_setting

    settings = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        try:
            settings.append(check_setting(float(word)))
        except ValueError as error:
            raise PreflabError(
                f"--at {text}: {word!r} is no number", "numbers from 0 to 1.5, such as 0.5,0.7", "correct it"
            ) from error
    return settings


def _measured(
    ctx: StageContext,
    run: FinishedRun,
    averaged: Sequence[FinishedRun],
    others: Sequence[FinishedRun],
    settings: Sequence[float],
    wishes: Any,
) -> dict[str, Any]:
    """The content of dial.json."""
    from preflab import __version__
    from preflab.explain import dial_points
    from preflab.models.loading import best_device
    from preflab.stages.common.dialled import ask, check_one_start, with_rewards

    check_one_start(run, others, started_from(ctx))
    asked = ask(ctx, run, [*averaged, *others], wishes)
    turned = open_dial(ctx, run, averaged, dtype=ctx.precision, device=best_device())
    questions = with_rewards(asked, turned)
    measured = dial_points.measure_settings(turned, settings, questions)
    names = named([run, *averaged, *others])
    trained = {name: each for name, each in names.items() if averaged or each is not run}
    figures = dial_points.points(measured, _trained(turned, trained, ctx, questions), seed=questions.seed)
    num = min(NUM_TILTED_PROMPTS, len(questions.prompts))
    curves = dial_points.optimum(turned, questions, num_prompts=num, num_completions=NUM_TILTED)
    return {
        "schema": 1,
        "made_by": f"preflab {__version__}",
        "run": about(run),
        "averaged": list(names)[1 : len(averaged) + 1],
        "averaged_runs": [about(each) for each in averaged],
        "scales": scales([run, *averaged]),
        "reference": str(run.settings["model"]),
        "prompts": {
            "name": asked.settings.prompts,
            "num": len(questions.prompts),
            "num_completions": questions.num_completions,
        },
        "decoding": questions.decoding.model_dump(mode="json"),
        "seed": questions.seed,
        "judges": dict(asked.settings.judges),
        "notes": asked.notes,
        "points": figures["points"],
        "runs": [{**about(trained[one["name"]]), **one} for one in figures["runs"]],
        "optimum": {
            "num_prompts": num,
            "num_completions": NUM_TILTED,
            "curves": dial_points.optimum_json(curves),
        },
    }


def _trained(turned: Dial, runs: dict[str, FinishedRun], ctx: StageContext, questions: Questions) -> dict[str, Any]:
    """Run → measurements of its own model folder."""
    from preflab.explain.dial_points import measure
    from preflab.models.language_model import open_language_model

    measured = {}
    for name, run in runs.items():
        opened = open_language_model(run.output.model, dtype=ctx.precision, device=turned.trunk.device)
        trunk = opened.trunk(("policy",), reference=turned.reference)
        measured[name] = measure(name, opened, trunk, questions)
    return measured


def _rows(data: dict[str, Any]) -> list[tuple[str, ...]]:
    """The table in the terminal: settings and runs with their main measures."""
    from preflab.report.measures import measure_name, measure_order, quantity
    from preflab.words import intervals, number

    known = sorted(data["points"][0]["figures"], key=measure_order)
    names = [name for name in known if name.startswith(("judge/", "reward/"))] + ["kl/exact", "distinct/2"]
    entries = [*data["points"], *data["runs"]]
    labels = [number(one["setting"]) for one in data["points"]] + [one["name"] for one in data["runs"]]
    columns = [intervals([one["figures"].get(name) for one in entries], quantity(name).form) for name in names]
    heads = [measure_name(name).partition(",")[0] for name in names]
    return [("setting", *heads), *zip(labels, *columns, strict=True)]


def _export(run: str, average: Sequence[str] | None) -> str:
    more = [word for each in average or [] for word in ("--average", each)]
    return command("export", "model", run, "FOLDER", "--dial", "0.7", *more)
