"""`simulate`: pool samples of finished runs, and write the simulator's page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli.run_places import find_run
from preflab.cli.running import announce
from preflab.cli.speaking import (
    DEFAULT_RECIPE,
    JsonOption,
    RecipeOption,
    Speaker,
    WorkspaceOption,
    print_table,
    shown_path,
    speaking,
)
from preflab.errors import PreflabError, nearest

if TYPE_CHECKING:
    from preflab.pipeline.finished import Finished
    from preflab.recipe import Recipe
    from preflab.stages.base import StageContext

STAGE = "simulate"
GIVEN = "given"
"""Name of the data that --prompts names by its file."""


def add_to(app: typer.Typer) -> None:
    """Register the command of this file."""
    app.command("simulate", help=simulate.__doc__, short_help="Write the simulator of what a KL penalty buys.")(
        simulate
    )


def simulate(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Folders of finished runs, or names of stages, of trained policies."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Another file for the page too.", show_default="simulator.html")
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts", help="Data of the recipe, or a file.", show_default="those of its evaluation, else of the run"
        ),
    ] = None,
    num_prompts: Annotated[int | None, typer.Option("--num-prompts", min=1, help="Prompts.", show_default="50")] = None,
    num_completions: Annotated[
        int | None,
        typer.Option("--num-completions", min=1, help="Completions per prompt and policy.", show_default="16"),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Serve the page on this machine, where it can write new text too.")
    ] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of --live; 0 takes a free one.")] = 8410,
    recipe: RecipeOption = DEFAULT_RECIPE,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pool samples of finished runs and of their reference, and write one HTML file that opens offline.

    It shows what the policy would write at any KL penalty and with other weights of the reward: best with several runs
    of different kl_coef. Reference, reward and criteria are those of the first run and its recipe. With the same
    arguments the pool is made once. With --live the page also writes new text, from the reference and a run mixed in
    the logits, until Ctrl-C.
    """
    from preflab.files import write_text
    from preflab.pipeline.finished import context_on, finished_runs, run_on
    from preflab.stages.common.pooled_policies import check_single_answers, common_settings

    if live and as_json:
        raise PreflabError("--live with --json", "one of them: the page is served until Ctrl-C", "leave --json out")
    with speaking(as_json) as speaker:
        finished = finished_runs([find_run(run, recipe, workspace, finished=True) for run in runs])
        _check_policies(finished)
        for run_name in finished.names:
            check_single_answers(run_name, finished.steps[run_name].settings)
        changed, name = _with_prompts(finished.recipe, prompts or _default_prompts(finished))
        given: dict[str, Any] = {"num_prompts": num_prompts, "num_completions": num_completions}
        settings = _settings(finished, name, {key: value for key, value in given.items() if value is not None})
        common_settings(settings, {name: finished.steps[name].settings for name in finished.names})
        line = run_on(finished, STAGE, settings, recipe=changed, watch=announce)
        if out is not None:
            write_text(out, (line.folder / "simulator.html").read_text(encoding="utf-8"))
        print_table(speaker, [line])
        if live:
            with context_on(finished, STAGE, settings, line.folder, recipe=changed) as ctx:
                _serve(ctx, port, speaker)
            return
        page = out or Path(line.link)
        speaker.last(page, f"open {shown_path(page)} in a browser", pool=str(line.folder / "pool.parquet"))


def _serve(ctx: StageContext, port: int, speaker: Speaker) -> None:
    """Serve the page of a finished stage, with a source of new text, until interrupted.

    Raises:
        PreflabError: no run can be mixed with the reference, or the port is taken.
    """
    import secrets

    from preflab.explain.pool import read_pool
    from preflab.explain.simulator_data import simulator_data
    from preflab.explain.simulator_page import simulator_page
    from preflab.stages.common.live_text import live_text
    from preflab.stages.common.pooled import ask
    from preflab.web.live import PATH, serve_live

    key = secrets.token_urlsafe(24)
    source = live_text(ask(ctx))
    pool = read_pool(ctx.folder / "pool.parquet")
    page = simulator_page(simulator_data(pool, live=source.page_facts(PATH, key)))

    def ready(address: str) -> None:
        speaker.last(None, f"open {address} in a browser; Ctrl-C ends it")
        speaker.stdout.flush()

    serve_live(page, source, key, port, ready)


def _check_policies(found: Finished) -> None:
    """Check that every run trained a policy.

    Raises:
        PreflabError: one did not.
    """
    from preflab.settings.recipe import STAGE_SETTINGS

    for name in found.names:
        kind = found.steps[name].kind
        if STAGE_SETTINGS[kind].makes != "model":
            raise PreflabError(
                f"{name}: a run of kind {kind}, which trains no policy",
                "runs of kind ppo, grpo, online_dpo, dpo or sft",
                f"leave {name} out",
            )


def _evaluations(recipe: Recipe) -> Sequence[Any]:
    return [stage for name, stage in recipe.stages.items() if recipe.kind(name) == "evaluate"]


def _default_prompts(found: Finished) -> str:
    """The prompts of the recipe's evaluation, else the held-out prompts of the first run, else its prompts."""
    settings = found.steps[found.names[0]].settings
    evaluated = [str(stage.prompts) for stage in _evaluations(found.recipe)]
    named = [*evaluated, settings.get("held_out_prompts"), settings.get("prompts")]
    for name in named:
        if name:
            return str(name)
    raise PreflabError(
        f"{found.names[0]} was trained without prompts, and its recipe has no evaluation",
        "the prompts that the policies answer",
        "name them with --prompts",
    )


def _with_prompts(recipe: Recipe, prompts: str) -> tuple[Recipe, str]:
    """The recipe in which the prompts are data, and their name in it."""
    from preflab.recipe.references import check_data_name
    from preflab.settings.recipe import DataSettings

    if prompts.partition(".")[0] in recipe.data:
        check_data_name(recipe.settings, prompts, recipe.path, "--prompts")
        return recipe, prompts
    if not Path(prompts).exists():
        near = nearest(prompts, list(recipe.data))
        raise PreflabError(
            f"--prompts {prompts}: neither data of {recipe.path.name} nor a file",
            f"near it: {near}" if near else f"one of {', '.join(recipe.data)}, or a file",
            "correct the name",
        )
    data = {**recipe.data, GIVEN: DataSettings(path=str(Path(prompts).resolve()))}
    return dataclasses.replace(recipe, settings=recipe.settings.model_copy(update={"data": data})), GIVEN


def _settings(found: Finished, prompts: str, given: dict[str, Any]) -> Any:
    from preflab.settings.simulate import SimulateSettings

    judges: dict[str, str] = {}
    for stage in _evaluations(found.recipe):
        judges = {**stage.judges, **judges}
    return SimulateSettings(policies=tuple(found.names), prompts=prompts, judges=judges, **given)
