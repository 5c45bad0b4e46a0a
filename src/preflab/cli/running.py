"""`run`, for a whole recipe, and the commands that run one stage after the stages it needs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli.speaking import (
    DEFAULT_RECIPE,
    JsonOption,
    RecipeOption,
    SetOption,
    Speaker,
    WorkspaceOption,
    command,
    print_table,
    shown_path,
    speaking,
)
from preflab.errors import PreflabError
from preflab.seeds import split_seed
from preflab.words import count, duration

if TYPE_CHECKING:
    from preflab.pipeline import Line, Step
    from preflab.recipe import Recipe

COMMANDS = {
    "sample": "Write K completions for every prompt.",
    "judge": "Have completions judged by labelers: a simulated panel, or people.",
    "ai_judge": "Have completions judged by an AI judge, and measure it against people.",
    "preferences": "Turn judgments into consensus ranks and pairs, and freeze them.",
    "best_of_n": "Keep the best of n completions by a reward.",
    "evaluate": "Compare several models on the same held-out prompts, paired.",
    "revise": "Criticise and revise answers by a constitution.",
    "probe": "Measure sycophancy and over-refusal with probe questions.",
    "report": "Write the report, one HTML file that opens offline.",
}
TRAIN = {
    "sft": "Fine-tune on demonstrations.",
    "reward": "Train a reward model on preferences.",
    "rating": "Train a reward model on ratings.",
    "classifier": "Train a classifier of texts, for a reward or a judge.",
    "dpo": "Learn from preferences directly: DPO and its relatives, KTO.",
    "ppo": "Optimise the policy against the reward.",
    "grpo": "Optimise the policy by comparing completions of one prompt: GRPO, Dr. GRPO, DAPO, RLOO, GSPO.",
    "ilql": "Learn Q and V from stored completions, and sample the reference re-weighted by them.",
    "online_dpo": "DPO on pairs the policy writes while it learns, labelled by the reward.",
}
StageOption = Annotated[
    str | None, typer.Option("--stage", metavar="STAGE", help="Which stage, if the recipe has several of this kind.")
]
FreshOption = Annotated[
    list[str] | None,
    typer.Option("--fresh", metavar="STAGE", help="Run this stage again, and every stage after it. May be repeated."),
]
AgainOption = Annotated[bool, typer.Option("--again", help="Run the stage again although it is done.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("run", help=run.__doc__, short_help="Run the stages of a recipe that are missing or stale.")(run)
    for kind, about in COMMANDS.items():
        app.command(kind.replace("_", "-"), help=about, short_help=_short(about))(_stage_command(kind))
    train = typer.Typer(help="Train a stage of the recipe.", no_args_is_help=True)
    for kind, about in TRAIN.items():
        train.command(kind.replace("_", "-"), help=about)(_stage_command(kind))
    app.add_typer(train, name="train")


def _short(sentence: str) -> str:
    """A sentence up to its first comma or colon."""
    return sentence.rstrip(".").partition(":")[0].partition(",")[0] + "."


def run(
    recipe: Annotated[Path | None, typer.Argument(help="The recipe file.", show_default="recipe.yaml")] = None,
    recipe_option: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    until: Annotated[
        list[str] | None, typer.Option("--until", metavar="STAGE", help="This stage and the stages it needs.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="STAGE", help="This stage alone.")] = None,
    fresh: FreshOption = None,
    dry: Annotated[bool, typer.Option("--dry", help="Show the table and run nothing.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for people's judgments, then go on.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the labelling app meanwhile; implies --wait.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of --serve.")] = 8400,
    as_json: JsonOption = False,
) -> None:
    """Run the stages of a recipe that are missing or stale, in order; finished stages are skipped, interrupted resumed.

    If a stage needs people's judgments the command stops and says which; run it again when they are there, or use
    --wait.
    """
    from preflab import pipeline
    from preflab.cli.labelling import serve_meanwhile
    from preflab.cli.waiting import wait_for_answers
    from preflab.recipe import load_recipe

    path = recipe or recipe_option
    with speaking(as_json) as speaker:
        loaded = load_recipe(path, set_ or [])
        if dry:
            lines = pipeline.show(loaded, workspace)
        else:
            folder = pipeline.workspace_folder(loaded, workspace)
            with serve_meanwhile(folder, port) if serve else contextlib.nullcontext():
                which = {"until": until or [], "only": only or []}
                lines = run_stages(loaded, workspace, **which, fresh=fresh or [])
                if wait or serve:
                    lines = wait_for_answers(folder, lines, lambda: run_stages(loaded, workspace, **which))
        print_table(speaker, lines)
        say_next(speaker, lines, path, _next_command(loaded, lines[-1].name, path))


def _stage_command(kind: str) -> Callable[..., None]:
    def stage(
        recipe: RecipeOption = DEFAULT_RECIPE,
        stage: StageOption = None,
        set_: SetOption = None,
        workspace: WorkspaceOption = None,
        again: AgainOption = False,
        as_json: JsonOption = False,
    ) -> None:
        from preflab.recipe import load_recipe

        with speaking(as_json) as speaker:
            loaded = load_recipe(recipe, set_ or [])
            names = stages_of_kind(loaded, kind, stage)
            lines = run_stages(loaded, workspace, until=names, fresh=names if again else [])
            print_table(speaker, lines)
            say_next(speaker, lines, recipe, _next_command(loaded, names[-1], recipe))

    return stage


def run_stages(recipe: Recipe, workspace: Path | None, **which: Any) -> list[Line]:
    """Run the pipeline, with a line on stderr when a stage starts and when it ends; returns a line per stage."""
    from preflab import pipeline

    return pipeline.run(recipe, workspace=workspace, watch=announce, **which)


def announce(step: Step, line: Line | None) -> None:
    """Print a line on stderr when a stage starts (`line` is None) and when it ends."""
    from preflab.progress import mode

    if mode() == "silent":
        return
    if line is not None:
        print(f"{step.name}: {line.state}, {line.summary} ({duration(line.seconds)})", file=sys.stderr)
    elif mode() == "lines":
        print(f"{step.name}: {_describe_start(step)}", file=sys.stderr, flush=True)


def _describe_start(step: Step) -> str:
    """`started`, or the training step after which the stage resumes."""
    saved = sorted((step.folder / "checkpoint").glob("step-*/state.json"))
    return f"resumes after step {int(saved[-1].parent.name.removeprefix('step-'))}" if saved else "started"


def stages_of_kind(recipe: Recipe, kind: str, named: str | None) -> tuple[str, ...]:
    """The stage of this kind that `named` gives, else the only one; of one that is repeated for seeds, all of them.

    Raises:
        PreflabError: no stage is of this kind or has this name, or there are several and `named` is None.
    """
    names = [name for name in recipe.stages if recipe.kind(name) == kind]
    bases = list(dict.fromkeys(split_seed(name)[0] for name in names))
    if named in (*names, *bases):
        return recipe.names_of(str(named))
    if named is not None:
        raise PreflabError(
            f"{recipe.path.name} has no stage `{named}` of kind {kind}",
            f"known: {', '.join(names) or 'none'}",
            "correct the name after --stage",
        )
    if len(bases) != 1:
        raise PreflabError(
            f"{recipe.path.name} has {count(len(bases), 'stage') if bases else 'no stages'} of kind {kind}"
            + (f": {', '.join(bases)}" if bases else ""),
            "one such stage, or the name of the one to run",
            "add --stage NAME" if bases else f"`preflab init --show {kind}` lists the settings of such a stage",
        )
    return recipe.names_of(bases[0])


def _say_models(speaker: Speaker, lines: list[Line]) -> None:
    """Print where the trained language models are and how to export one with a model card."""
    trained = [line for line in lines if (line.folder / "model" / "config.json").is_file()]
    for line in trained:
        speaker.say(f"model of {line.name}: {shown_path(line.folder / 'model')}")
    if trained:
        name = trained[0].name if len(trained) == 1 else "STAGE"
        speaker.say(f"`preflab export model {name} FOLDER` writes a model with its model card")


def say_next(speaker: Speaker, lines: list[Line], recipe: Path, following: str) -> None:
    """Print the last line: where the result is and what to do next."""
    waiting = [line for line in lines if line.state == "waiting"]
    if waiting:
        ask = _ask_people(waiting[0], recipe) if waiting[0].link else "`preflab import` the labelers' judgments"
        following = f"{ask}, then run the same command again (or use --wait)"
        speaker.last(None, following, waiting=waiting[0].name)
        return
    if any(line.state == "–" for line in lines):
        speaker.last(None, f"`preflab run {shown_path(recipe)}`")
        return
    pages = [line for line in lines if line.kind == "report"]
    if pages:
        page = report_page(pages[-1])
        _say_models(speaker, lines)
        simulators = [shown_path(line.link) for line in lines if line.kind == "simulate" and line.link]
        also = "".join(f", and try {path}" for path in simulators)
        speaker.last(page, f"open {shown_path(page)} in a browser{also}")
    else:
        speaker.last(lines[-1].folder, following)


def _ask_people(line: Line, recipe: Path) -> str:
    """How to get the labels that a stage waits for: how many labelers see its campaign, and how to invite others."""
    from preflab.stages.common.manifest import read_manifest

    figures = read_manifest(line.folder).get("figures", {})
    label, num = command("label", recipe=recipe), int(figures.get("num_people", 0))
    invite = command("campaign", "invite", str(figures.get("campaign", line.name)), recipe=recipe)
    if not num:
        return f"start {label}, invite people with {invite}"
    admitted = f"{count(num, 'labeler sees', 'labelers see')} the campaign there already"
    return f"start {label}; {admitted}, {invite} invites others"


def report_page(line: Line) -> Path:
    """The path of the page that a report stage wrote."""
    return Path(line.link) if line.link else line.folder / "report.html"


def _next_command(recipe: Recipe, name: str, path: Path) -> str:
    """The command of the first stage that reads this one, else a chat with the model it made."""
    for other in recipe.stages:
        if name in recipe.inputs(other) and recipe.kind(other) in {**COMMANDS, **TRAIN}:
            kind = recipe.kind(other)
            several = len({split_seed(each)[0] for each in recipe.stages if recipe.kind(each) == kind}) > 1
            words = ["train", kind] if kind in TRAIN else [kind]
            return command(*words, *(["--stage", split_seed(other)[0]] if several else []), recipe=path)
    if type(recipe.stages[name]).makes == "model":
        return command("chat", name, recipe=path)
    return f"change a setting, then `preflab run {shown_path(path)}`"
