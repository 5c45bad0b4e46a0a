"""Stage `sample`: writes K completions for every prompt (R3), or plays K dialogues with an environment.

Completions are stored as they are written, so that an interruption loses little. Files in the run folder:

completions.json  ids of all completions, in the order of the prompts; those of one prompt are adjacent
sampled.jsonl     one row per prompt whose completions are in the workspace: {"prompt_id", "completions": [ids],
                  "num_tokens", "num_stopped"}, with an environment also {"num_turns", "reward"} as sums
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.settings.best_of_n import BestOfNSettings
from preflab.settings.ilql import IlqlSettings
from preflab.settings.sampling import SampleSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.stage_facts import StageFacts
from preflab.words import count

if TYPE_CHECKING:
    from preflab.conversations.renderer import Renderer
    from preflab.environments.episodes import EnvironmentEpisodes
    from preflab.models.rotary import RowLengths
    from preflab.records import Completion, Prompt
    from preflab.settings.recipe import EngineName
    from preflab.settings.vllm import VllmSettings
    from preflab.store.workspace import Workspace
    from preflab.training.protocols import Sampler
    from preflab.training.token_limits import TokenLimits
    from preflab.training.too_long import LongRows

VERSION = 2

SAMPLED = "sampled.jsonl"
BATCHES_PER_CHUNK = 4
SamplingSettings = SampleSettings | BestOfNSettings | IlqlSettings
"""Settings of the stages that write completions: `too_long`, `num_completions`, and how tokens are drawn."""


def run(ctx: StageContext) -> StageResult:
    """Sample for prompts without completions; store the records in the workspace and their ids in completions.json."""
    from preflab.files import read_jsonl, write_json

    asked = SamplingAsked.of(ctx)
    folder, prompts = asked.stage.folder, asked.prompts
    done = {row["prompt_id"]: row for row in read_jsonl(folder / SAMPLED)}
    notes, figures = "", dict[str, float | str]()
    if any(prompt.id not in done for prompt in prompts):
        notes, figures = _sample(asked, done, ctx.workspace)
    rows = [done[prompt.id] for prompt in prompts if prompt.id in done]
    write_json(folder / "completions.json", [i for row in rows for i in row["completions"]])
    return _result(rows, asked.settings.num_completions, notes, figures)


@dataclass(frozen=True)
class SamplingAsked:
    """The inputs of a stage that samples from one model, before the model is opened."""

    settings: Any
    stage: StageFacts
    model: Path | str
    prompts: list[Prompt]

    @classmethod
    def of(cls, ctx: StageContext) -> SamplingAsked:
        """Reads the prompts and locates the model.

        Raises:
            PreflabError: prompts cannot be read.
        """
        from preflab.stages.common.episodes import own_prompts

        settings = ctx.settings
        prompts = own_prompts(settings) if settings.prompts is None else ctx.prompts(settings.prompts)
        prompts = prompts[: settings.max_prompts]
        return cls(settings, StageFacts.of(ctx), ctx.model_folder(settings.model), prompts)

    def open_writer(self, settings: SamplingSettings) -> Writer:
        """The model as a writer with these settings."""
        stage = self.stage
        return Writer.load(self.model, settings, stage.seed, stage.precision, stage.engine, stage.server)


def _sample(
    asked: SamplingAsked, done: dict[str, dict[str, Any]], workspace: Workspace
) -> tuple[str, dict[str, float | str]]:
    """Sample for the prompts without a row in `done` and add their rows; returns text for the summary, and figures."""
    writer = asked.open_writer(asked.settings)
    lengths = writer.sample_missing(asked.stage, asked.prompts, done, workspace)
    return writer.long.said + writer.said_of_marks, {**writer.long.figures, **lengths}


def _write_chunk(
    writer: Writer, chunk: Sequence[Prompt], on_done: Callable[[int], None], workspace: Workspace
) -> list[dict[str, Any]]:
    """Sample for a chunk of prompts and store the records; returns one row of sampled.jsonl per prompt."""
    num = writer.settings.num_completions
    if writer.episodes is None:
        completions = writer.write(chunk, on_done)
        workspace.put([*chunk, *completions])
        return [_row(prompt, completions[n * num : (n + 1) * num]) for n, prompt in enumerate(chunk)]
    from preflab.stages.common.dialogues import row_of_dialogues, write_dialogues

    dialogues, read, episodes = write_dialogues(
        writer.episodes, chunk, num=num, seed=writer.seed, model_id=writer.model_id, on_done=on_done
    )
    workspace.put([*chunk, *read, *dialogues])
    places = [slice(n * num, (n + 1) * num) for n in range(len(chunk))]
    return [
        {**_row(prompt, dialogues[place]), **row_of_dialogues(episodes[place])}
        for prompt, place in zip(chunk, places, strict=True)
    ]


@dataclass
class Writer:
    """A loaded model that turns prompts into completion records."""

    engine: Sampler
    row_lengths: RowLengths
    renderer: Renderer
    model_id: str
    limits: TokenLimits
    settings: SamplingSettings
    seed: int
    long: LongRows
    ids: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Prompt id → token ids, for the prompts that fit."""
    episodes: EnvironmentEpisodes | None = None
    """Plays dialogues; None: a completion is one turn."""
    num_without_marks: int = 0
    """Number of completions whose text lacks special tokens that were sampled."""

    @classmethod
    def load(
        cls,
        ref: Path | str,
        settings: SamplingSettings,
        seed: int,
        dtype: str,
        engine: EngineName = "transformers",
        server: VllmSettings | None = None,
    ) -> Writer:
        """Loads the model in a folder or with a Hub id as a writer."""
        from preflab.models.facts import weights_hash
        from preflab.models.language_model import open_language_model
        from preflab.models.loading import best_device
        from preflab.models.rotary import RowLengths
        from preflab.sampling.engines import EngineSource, make_engine
        from preflab.settings.vllm import VllmSettings
        from preflab.training.too_long import LongRows

        opened = open_language_model(ref, dtype=dtype, device=best_device())
        renderer = opened.renderer(settings.stop_token_ids)
        server = server or VllmSettings()
        source = EngineSource(opened.model, opened.tokenizer, renderer.stop_token_ids, server=server)
        sampler = make_engine(source, engine)
        model_id = weights_hash(ref if Path(ref).is_dir() else opened.model)
        long = LongRows(opened.limits(), settings.too_long, room=settings.max_new_tokens)
        writer = cls(sampler, RowLengths([opened.model]), renderer, model_id, opened.limits(), settings, seed, long)
        if isinstance(settings, SampleSettings) and settings.environment is not None:
            from preflab.stages.common.dialogues import dialogue_episodes

            writer.episodes = dialogue_episodes(settings, renderer, sampler, opened.limits())
        return writer

    def fit(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """The prompts that leave room for a completion; longer ones are refused, cut or left out, as the settings say.

        Raises:
            PreflabError: a prompt is too long and the settings refuse it, or no prompt is left.
        """
        from preflab.conversations.fitting_prompts import fitting_prompts, unread_prompts

        fit = fitting_prompts if self.episodes is None else unread_prompts
        fitting = fit(
            self.renderer,
            prompts,
            max_new_tokens=self.settings.max_new_tokens,
            limits=self.limits,
            too_long=self.settings.too_long,
        )
        self.long = fitting.long
        self.ids |= {prompt.id: ids for prompt, ids in fitting.prompts}
        return [prompt for prompt, _ in fitting.prompts]

    def fix_longest(self) -> dict[str, float]:
        """Fix rotary frequencies that depend on the length for all prompts that fit; see `fix_row_lengths`."""
        from preflab.stages.common.row_lengths import fix_row_lengths

        num_new = self.settings.max_new_tokens
        rows = self.ids.values() if self.episodes is None else [range(self.episodes.max_tokens - num_new)]
        return fix_row_lengths(self.row_lengths, rows, num_new)

    def sample_missing(
        self, stage: StageFacts, prompts: Sequence[Prompt], done: dict[str, dict[str, Any]], workspace: Workspace
    ) -> dict[str, float]:
        """Sample for the prompts without a row in `done`; store the completions and add rows to sampled.jsonl.

        Returns:
            The figure `longest_row`, if rotary frequencies depend on the length; else {}.
        """
        from preflab.files import append_jsonl
        from preflab.progress import progress

        num = self.settings.num_completions
        missing = [prompt for prompt in self.fit(prompts) if prompt.id not in done]
        lengths = self.fix_longest()
        with progress(stage.name, len(prompts) * num, (len(prompts) - len(missing)) * num) as bar:
            for chunk in chunks_of(missing, self.settings):
                for prompt, row in zip(chunk, _write_chunk(self, chunk, bar.advance, workspace), strict=True):
                    append_jsonl(stage.folder / SAMPLED, row)
                    done[prompt.id] = row
        self.engine.release()
        return lengths

    @property
    def said_of_marks(self) -> str:
        """Text for the summary if texts of completions lack special tokens, e.g. thinking marks; else ""."""
        num = self.num_without_marks
        return (
            f"; {count(num, 'text lacks', 'texts lack')} special tokens that cannot be read back from text"
            if num
            else ""
        )

    def write(self, prompts: Sequence[Prompt], on_done: Callable[[int], None]) -> list[Completion]:
        """K adjacent completions per prompt; a seed depends only on the writer's seed, the prompt and the index."""
        from preflab.records import Completion
        from preflab.sampling.randomness import request_seed
        from preflab.training.protocols import SampleRequest

        wanted = [(prompt, index) for prompt in prompts for index in range(self.settings.num_completions)]
        requests = [SampleRequest(self.ids[p.id], request_seed(self.seed, p.id, index)) for p, index in wanted]
        sampled = self.engine.sample(requests, self.settings, on_done=on_done)
        self.num_without_marks += sum(self.renderer.loses_marks(one.token_ids) for one in sampled)
        return [
            Completion.make(
                prompt.id,
                self.renderer.text(prompt, one.token_ids),
                self.model_id,
                request.seed,
                index,
                finish_reason=one.finish_reason,
                token_ids=one.token_ids,
                logps=one.logps,
                temperature=self.settings.temperature,
            )
            for (prompt, index), request, one in zip(wanted, requests, sampled, strict=True)
        ]


def chunks_of(prompts: Sequence[Prompt], settings: SamplingSettings) -> list[Sequence[Prompt]]:
    """Splits prompts into chunks that are sampled and stored together, each a few full batches."""
    size = max(1, BATCHES_PER_CHUNK * settings.max_batch_rows // settings.num_completions)
    return [prompts[i : i + size] for i in range(0, len(prompts), size)]


def _row(prompt: Prompt, completions: Sequence[Completion]) -> dict[str, Any]:
    return {
        "prompt_id": prompt.id,
        "completions": [completion.id for completion in completions],
        "num_tokens": sum(len(completion.token_ids) for completion in completions),
        "num_stopped": sum(completion.finish_reason == "stop" for completion in completions),
    }


def _result(
    rows: Sequence[dict[str, Any]], num_completions: int, notes: str, further: Mapping[str, float | str]
) -> StageResult:
    num = len(rows) * num_completions
    figures: dict[str, float | str] = {
        "num_prompts": len(rows),
        "num_completions": num,
        "tokens_mean": sum(row["num_tokens"] for row in rows) / num,
        "stopped_share": sum(row["num_stopped"] for row in rows) / num,
        **{f"{name}_mean": sum(row[name] for row in rows) / num for name in ("num_turns", "reward") if name in rows[0]},
        **further,
    }
    what = "dialogue" if "num_turns" in rows[0] else "completion"
    return StageResult(f"{count(len(rows), 'prompt')} × {count(num_completions, what)}{notes}", figures)
