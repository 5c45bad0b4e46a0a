"""`constitution`: principles shown, answers criticised, revised and compared by them, on rows of a file."""

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
    from preflab.stages.data import Row

ModelOption = Annotated[str, typer.Option("--model", help="A folder or Hub id.", metavar="MODEL")]
FileArgument = Annotated[Path, typer.Argument(help="Rows with `prompt` (JSONL, CSV or Parquet).", metavar="FILE")]
PrinciplesOption = Annotated[
    Path | None, typer.Option("--constitution", help="YAML file of principles.", show_default="preflab's own")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Where to.", show_default="beside FILE")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of the principles drawn and of what is written.")]
TokensOption = Annotated[int, typer.Option("--max-new-tokens", help="Longest text the model may write.")]
ExamplesOption = Annotated[int, typer.Option("--examples", help="Examples shown first, for small models.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    group = typer.Typer(help="Principles instead of labels: criticise, revise, compare.", no_args_is_help=True)
    group.command("show", help=show.__doc__)(show)
    group.command("critique", help=critique.__doc__)(critique)
    group.command("revise", help=revise.__doc__)(revise)
    group.command("prefer", help=prefer.__doc__)(prefer)
    app.add_typer(group, name="constitution")


def show(
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file, to be edited.")] = None,
) -> None:
    """Print preflab's own constitution: a file to begin with."""
    from importlib.resources import files

    text = (files("preflab.constitution") / "default.yaml").read_text(encoding="utf-8")
    with speaking(False) as speaker:
        if out is None:
            speaker.say(text.rstrip())
            return
        if out.exists():
            raise PreflabError(f"{out}: is there already", "a new file", "choose another name")
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
    from preflab.constitution.revising import criticised

    with speaking(as_json) as speaker:
        found = _principles(constitution, examples)
        rows = _rows(file, ("prompt", "completion"))
        drawn = criticised(
            found, _prompts(rows), [row["completion"] for row in rows], _writer(model, max_new_tokens, seed),
            num_examples=examples, seed=seed,
        )  # fmt: skip
        made = [
            {**row, "principle": principle.name, "critique": text}
            for row, (principle, text) in zip(rows, drawn, strict=True)
        ]
        _leave(speaker, made, out or file.with_name(f"{file.stem}.critiques.jsonl"), "critiques")


def revise(
    file: FileArgument,
    model: ModelOption,
    constitution: PrinciplesOption = None,
    out: OutOption = None,
    rounds: Annotated[int, typer.Option("--rounds", help="Critiques and revisions of every answer.", min=1)] = 1,
    seed: SeedOption = 0,
    max_new_tokens: TokensOption = 128,
    examples: ExamplesOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Answer prompts, criticise and revise the answers: rows with `answer`, `steps` and the last as `completion`."""
    from preflab.constitution.revising import revise as revise_all

    with speaking(as_json) as speaker:
        found = _principles(constitution, examples)
        rows = _rows(file, ("prompt",))
        write = _writer(model, max_new_tokens, seed)
        revised = revise_all(found, _prompts(rows), write, num_rounds=rounds, num_examples=examples, seed=seed)
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
        _leave(speaker, made, out or file.with_name(f"{file.stem}.revised.jsonl"), "revised answers")


def prefer(
    file: FileArgument,
    model: Annotated[str | None, typer.Option("--model", help="A local judge: a folder or Hub id.")] = None,
    base_url: Annotated[str | None, typer.Option("--base-url", help="An OpenAI-compatible server instead.")] = None,
    judge: Annotated[
        str | None, typer.Option("--judge", help="With --base-url: the model as it is called there.")
    ] = None,
    constitution: PrinciplesOption = None,
    out: OutOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare completions by drawn principles: rows with `prompt` and `completions` get `ranks` and `reasons`.

    Every pair is asked about in both orders; what depends on the order is a tie.
    """
    from preflab.labelers.ai import judge_ranking
    from preflab.progress import progress

    with speaking(as_json) as speaker:
        found = _principles(constitution, 0)
        rows = _rows(file, ("prompt", "completions"))
        asked = _judge(model, base_url, judge, found)
        made, unread = [], 0
        with progress("prefer", len(rows)) as bar:
            for row, prompt in zip(rows, _prompts(rows), strict=True):
                principle = found.draw(_seed(seed, prompt.id))
                ranking = judge_ranking(asked, principle.comparison, prompt.shown, row["completions"])
                bar.advance(1)
                if ranking is None:
                    unread += 1
                    continue
                made.append({**row, "principle": principle.name, "ranks": list(ranking[0]), "reasons": ranking[1]})
        if unread and not made:
            raise PreflabError(
                f"{file}: none of {count(unread, 'row')} could be compared: no answer of the judge could be read",
                "a last line such as `VERDICT: A`",
                "take a judge that follows instructions, or a local one, which is asked by likelihood",
            )
        if unread:
            speaker.say(f"{count(unread, 'row')} left out: the judge could not be read")
        _leave(speaker, made, out or file.with_name(f"{file.stem}.preferred.jsonl"), "rankings")


def _principles(path: Path | None, examples: int) -> Constitution:
    from preflab.constitution.principles import read_constitution

    constitution = read_constitution(path)
    if examples > len(constitution.examples):
        raise PreflabError(
            f"--examples {examples}, and the constitution has {len(constitution.examples)}",
            "at most as many as there are",
        )
    return constitution


def _rows(file: Path, columns: Sequence[str]) -> list[Row]:
    """The rows, each with these columns.

    Raises:
        PreflabError: by line, what is missing or no text, no list of at least two texts.
    """
    from preflab.stages.data import read_rows

    rows = read_rows(file)
    for row in rows:
        for name in columns:
            value = row.column(name)
            if name == "completion" and not isinstance(value, str):
                raise PreflabError(f"{row.source}: the completion is no text", "a text", "mend the row")
            if name == "completions" and not (
                isinstance(value, list) and len(value) > 1 and all(isinstance(text, str) for text in value)
            ):
                raise PreflabError(f"{row.source}: `completions` holds {value!r}", "a list of two texts or more")
    return rows


def _prompts(rows: Sequence[Row]) -> list[Any]:
    from preflab.stages.data import prompt_of

    return [prompt_of(row, without=("completion", "completions")) for row in rows]


def _writer(model: str, max_new_tokens: int, seed: int) -> Any:
    """A model that writes texts for prompts, with a progress bar for each kind of text."""
    from preflab.constitution.revising import Written
    from preflab.models.packages import resolve_package
    from preflab.progress import progress
    from preflab.settings.sampling import SampleSettings
    from preflab.stages.requests import writing
    from preflab.stages.sample import Writer

    settings = SampleSettings(model=model, prompts="-", num_completions=1, max_new_tokens=max_new_tokens)
    writer = Writer.load(resolve_package(model), settings, seed, "float32")

    def write(what: str, prompts: Sequence[Any]) -> list[Written]:
        with progress(what, len(prompts)) as bar:
            return writing(writer, seed, bar.advance)(what, prompts)

    return write


def _judge(model: str | None, base_url: str | None, name: str | None, constitution: Constitution) -> Any:
    from preflab.labelers.sources import make_judge
    from preflab.settings.ai import EndpointSettings, JudgeSource
    from preflab.stages.ai_judge import wording_of

    if (model is None) == (base_url is None) or (base_url is None) != (name is None):
        raise PreflabError(
            "no judge, or two of them", "--model FOLDER, or --base-url URL with --judge NAME", "give one of the two"
        )
    if base_url is not None:
        return make_judge(JudgeSource(endpoint=EndpointSettings(base_url=base_url, model=str(name))), Path)
    return make_judge(JudgeSource(model=model), lambda word: word, wording=wording_of(constitution))


def _seed(seed: int, prompt_id: str) -> int:
    from preflab.seeds import derive_seed

    return derive_seed(seed, "comparison", prompt_id)


def _leave(speaker: Any, rows: Sequence[dict[str, Any]], target: Path, what: str) -> None:
    import json

    from preflab.files import write_text

    write_text(target, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    speaker.say(f"{len(rows)} {what}")
    speaker.last(target, f"look at {shown_path(target)}", num=len(rows))
