"""`constitution`: show principles; criticise, revise and compare the answers of a file by them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.cli.speaking import JsonOption, shown_path, speaking
from preflab.errors import PreflabError
from preflab.words import count

if TYPE_CHECKING:
    from preflab.constitution.principles import Constitution
    from preflab.stages.common.data import Row

ModelOption = Annotated[str, typer.Option("--model", help="A folder or Hub id.", metavar="MODEL")]
FileArgument = Annotated[Path, typer.Argument(help="Rows with `prompt` (JSONL, CSV or Parquet).", metavar="FILE")]
PrinciplesOption = Annotated[
    Path | None, typer.Option("--constitution", help="YAML file of principles.", show_default="preflab's own")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="File to write.", show_default="beside FILE")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of the drawn principles and of sampling.")]
TokensOption = Annotated[int, typer.Option("--max-new-tokens", help="Longest text the model may write.")]
ExamplesOption = Annotated[
    int, typer.Option("--examples", help="Number of worked examples shown first, for small models.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    group = typer.Typer(help="Principles instead of labels: criticise, revise, compare.", no_args_is_help=True)
    group.command("show", help=show.__doc__)(show)
    group.command("critique", help=critique.__doc__)(critique)
    group.command("revise", help=revise.__doc__)(revise)
    group.command("prefer", help=prefer.__doc__)(prefer)
    app.add_typer(group, name="constitution")


def show(
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file, for editing.")] = None,
) -> None:
    """Print preflab's own constitution, a file to start from."""
    from importlib.resources import files

    text = (files("preflab.constitution") / "default.yaml").read_text(encoding="utf-8")
    with speaking(False) as speaker:
        if out is None:
            speaker.say(text.rstrip())
            return
        if out.exists():
            raise PreflabError(f"{out} exists already", "a new file", "choose another name")
        from preflab.files import write_text

        write_text(out, text)
        speaker.last(out, f"edit {shown_path(out)}, then name it in a recipe: `constitution: {out.name}`")


def critique(
    file: FileArgument,
    model: ModelOption,
    constitution: PrinciplesOption = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    max_new_tokens: TokensOption = 128,
    examples: ExamplesOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Criticise answers by drawn principles: rows with `prompt` and `completion` get `principle` and `critique`."""
    from preflab.constitution.revising import criticise

    with speaking(as_json) as speaker:
        principles = _read_principles(constitution, examples)
        rows = _read_rows(file, ("prompt", "completion"))
        drawn = criticise(
            principles, _prompts(rows), [row["completion"] for row in rows], _load_writer(model, max_new_tokens, seed),
            num_examples=examples, seed=seed,
        )  # fmt: skip
        made = [
            {**row, "principle": principle.name, "critique": text}
            for row, (principle, text) in zip(rows, drawn, strict=True)
        ]
        _write_rows(speaker, made, out or file.with_name(f"{file.stem}.critiques.jsonl"), "critiques")


def revise(
    file: FileArgument,
    model: ModelOption,
    constitution: PrinciplesOption = None,
    out: OutOption = None,
    rounds: Annotated[int, typer.Option("--rounds", help="Rounds of critique and revision per answer.", min=1)] = 1,
    seed: SeedOption = 0,
    max_new_tokens: TokensOption = 128,
    examples: ExamplesOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Answer prompts, criticise and revise the answers: rows get `answer`, `steps`, the last text as `completion`."""
    from preflab.constitution.revising import revise as revise_all

    with speaking(as_json) as speaker:
        principles = _read_principles(constitution, examples)
        rows = _read_rows(file, ("prompt",))
        write = _load_writer(model, max_new_tokens, seed)
        revised = revise_all(principles, _prompts(rows), write, num_rounds=rounds, num_examples=examples, seed=seed)
        made = [
            {
                **row,
                "answer": one.answer,
                "steps": [
                    {"principle": s.principle, "critique": s.critique, "revision": s.revision} for s in one.steps
                ],
                "completion": one.last,
                "finish_reason": one.last_finish_reason,
            }
            for row, one in zip(rows, revised, strict=True)
        ]
        _write_rows(speaker, made, out or file.with_name(f"{file.stem}.revised.jsonl"), "revised answers")


def prefer(
    file: FileArgument,
    model: Annotated[str | None, typer.Option("--model", help="A local judge: a folder or Hub id.")] = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="An OpenAI-compatible server instead.")] = None,
    judge: Annotated[
        str | None, typer.Option("--judge", help="With --base-url: the model's name on that server.")
    ] = None,
    constitution: PrinciplesOption = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare completions by drawn principles: rows with `prompt` and `completions` get `ranks` and `reasons`.

    Every pair is asked in both orders; if the two verdicts differ, the pair is a tie.
    """
    from preflab.labelers.ai import judge_ranking
    from preflab.progress import progress

    with speaking(as_json) as speaker:
        principles = _read_principles(constitution, 0)
        rows = _read_rows(file, ("prompt", "completions"))
        loaded = _load_judge(model, base_url, judge, principles)
        made, unread = [], 0
        with progress("prefer", len(rows)) as bar:
            for row, prompt in zip(rows, _prompts(rows), strict=True):
                principle = principles.draw(_comparison_seed(seed, prompt.id))
                ranking = judge_ranking(loaded, principle.comparison, prompt.shown, row["completions"])
                bar.advance(1)
                if ranking is None:
                    unread += 1
                    continue
                made.append({**row, "principle": principle.name, "ranks": list(ranking[0]), "reasons": ranking[1]})
        if unread and not made:
            raise PreflabError(
                f"{file}: no verdict could be read from the judge's answers to {count(unread, 'row')}",
                "a last line such as `VERDICT: A`",
                "use a judge that follows instructions, or a local one, whose verdicts are read from likelihoods",
            )
        if unread:
            speaker.say(f"{count(unread, 'row')} left out: the judge's answer had no readable verdict")
        _write_rows(speaker, made, out or file.with_name(f"{file.stem}.preferred.jsonl"), "rankings")


def _read_principles(path: Path | None, examples: int) -> Constitution:
    from preflab.constitution.principles import read_constitution

    constitution = read_constitution(path)
    if examples > len(constitution.examples):
        raise PreflabError(
            f"--examples {examples}, but the constitution has {len(constitution.examples)}",
            f"at most {len(constitution.examples)}",
        )
    return constitution


def _read_rows(file: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of the file, each with these columns.

    Raises:
        PreflabError: a column is missing, `completion` is not a text, or `completions` is not a list of two texts or
            more; the error names the line.
    """
    from preflab.stages.common.data import read_rows

    rows = read_rows(file)
    for row in rows:
        for name in columns:
            value = row.column(name)
            if name == "completion" and not isinstance(value, str):
                raise PreflabError(f"{row.source}: the completion is not a text", "a text", "correct the row")
            if name == "completions" and not (
                isinstance(value, list) and len(value) > 1 and all(isinstance(text, str) for text in value)
            ):
                raise PreflabError(f"{row.source}: `completions` holds {value!r}", "a list of two texts or more")
    return rows


def _prompts(rows: Sequence[Row]) -> list[Any]:
    from preflab.stages.common.data import prompt_of

    return [prompt_of(row, without=("completion", "completions")) for row in rows]


def _load_writer(model: str, max_new_tokens: int, seed: int) -> Any:
    """A function that samples texts for prompts from the model, with a progress bar per kind of text."""
    from preflab.constitution.revising import Written
    from preflab.models.packages import resolve_package
    from preflab.progress import progress
    from preflab.settings.sampling import SampleSettings
    from preflab.stages.common.critique_model import writing
    from preflab.stages.sample import Writer

    settings = SampleSettings(model=model, prompts="-", num_completions=1, max_new_tokens=max_new_tokens)
    writer = Writer.load(resolve_package(model), settings, seed, "float32")

    def write(what: str, prompts: Sequence[Any]) -> list[Written]:
        with progress(what, len(prompts)) as bar:
            return writing(writer, seed, bar.advance)(what, prompts)

    return write


def _load_judge(model: str | None, base_url: str | None, name: str | None, constitution: Constitution) -> Any:
    from preflab.labelers.judge_sources import make_judge
    from preflab.settings.ai import EndpointSettings, JudgeSource
    from preflab.stages.ai_judge import wording_of

    if (model is None) == (base_url is None) or (base_url is None) != (name is None):
        raise PreflabError(
            "no judge, or two judges", "--model FOLDER, or --base-url URL with --judge NAME", "give one of the two"
        )
    if base_url is not None:
        return make_judge(JudgeSource(endpoint=EndpointSettings(base_url=base_url, model=str(name))), Path)
    return make_judge(JudgeSource(model=model), lambda word: word, wording=wording_of(constitution))


def _comparison_seed(seed: int, prompt_id: str) -> int:
    from preflab.seeds import derive_seed

    return derive_seed(seed, "comparison", prompt_id)


def _write_rows(speaker: Any, rows: Sequence[dict[str, Any]], target: Path, what: str) -> None:
    import json

    from preflab.files import write_text

    write_text(target, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    speaker.say(f"{len(rows)} {what}")
    speaker.last(target, f"look at {shown_path(target)}", num=len(rows))
