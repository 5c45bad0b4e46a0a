"""Stage `ilql`: implicit language Q-learning on stored completions, then completions by the re-weighted reference.

Files in the run folder:

rewards.jsonl     one row per completion that is learned from: {"completion", "reward"}
values/           the value role with its head, and the Q head (`models.action_values`)
completions.json  ids of the completions that the policy wrote, in the order of the prompts
sampled.jsonl     as of stage `sample`

There is no `model/`: π_ref · exp(beta · (Q − V)) needs two models at every token.
"""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.recipe import Recipe
from preflab.settings.ilql import IlqlSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.stage_facts import StageFacts
from preflab.stages.sample import SAMPLED, Writer
from preflab.words import count, three_digits

if TYPE_CHECKING:
    from torch import Tensor

    from preflab.conversations.renderer import Renderer
    from preflab.models.trunk import Role, Trunk
    from preflab.records import Completion, Prompt
    from preflab.rewards.combine import WeightedSum
    from preflab.rewards.sources import PolicySide
    from preflab.training.batches import TokenSequence
    from preflab.training.too_long import LongRows

VERSION = 1
distributed = True

REWARDS, VALUES = "rewards.jsonl", "values"


def run(ctx: StageContext) -> StageResult:
    """Learn Q and V, save them in `values/`, sample the re-weighted reference, and measure its KL to the reference."""
    from preflab.training.processes import finish_trackers

    asked = _Asked.of(ctx)
    opened = _open(asked)
    _learn(asked, opened)
    result = StageResult("")
    if asked.accelerator.is_main_process:
        result = _write(asked, opened, ctx)
    asked.accelerator.wait_for_everyone()
    finish_trackers(asked.accelerator)
    return result


def check(recipe: Recipe, settings: IlqlSettings) -> None:
    """Refuse an engine that decodes with one model only.

    Raises:
        PreflabError: `device.engine` is not preflab's own decode loop.
    """
    if recipe.device.engine != "transformers":
        raise PreflabError(
            f"stage kind ilql with device.engine {recipe.device.engine}",
            "transformers, the engine that can feed two models at once",
            "set device.engine to transformers",
        )


@dataclass(frozen=True)
class _Asked:
    """The checked inputs of the stage, before a model is opened."""

    settings: IlqlSettings
    stage: StageFacts
    base: Path | str
    """The reference, from which Q and V start."""
    pairs: list[tuple[Prompt, Completion]]
    """The completions to learn from."""
    prompts: list[Prompt]
    """The prompts that the policy completes."""
    make_scorer: Callable[[PolicySide], WeightedSum]
    accelerator: Any

    @classmethod
    def of(cls, ctx: StageContext) -> _Asked:
        """Read completions and prompts, locate the model, and start the accelerator.

        Raises:
            PreflabError: there are no completions, prompts cannot be read, or a tracker is not installed.
        """
        from preflab.stages.common.learning import accelerator_for
        from preflab.stages.common.recipe_rewards import scorer_maker

        settings: IlqlSettings = ctx.settings
        pairs = ctx.prompted_completions(settings.completions)
        if not pairs:
            raise PreflabError(
                f"stage {ctx.name}: {settings.completions} has no completions", "at least one", "run that stage first"
            )
        return cls(
            settings=settings,
            stage=StageFacts.of(ctx),
            base=ctx.model_folder(settings.model),
            pairs=pairs,
            prompts=ctx.prompts(settings.prompts),
            make_scorer=scorer_maker(ctx, tokens_per_batch=settings.optimiser.tokens_per_micro_batch),
            accelerator=accelerator_for(ctx, settings.run),
        )


@dataclass(frozen=True)
class _Opened:
    """The model with its value role and Q head, and the completions to learn from."""

    trunk: Trunk
    renderer: Renderer
    base_hash: str
    rows: list[tuple[Completion, TokenSequence, Prompt]]
    long: LongRows
    lengths: dict[str, float]


def _open(asked: _Asked) -> _Opened:
    """Open the model and encode the completions.

    Raises:
        PreflabError: the model cannot be opened or cannot have a Q head, or completions are too long for it.
    """
    from preflab.models.action_values import add_q_head
    from preflab.models.language_model import open_language_model
    from preflab.models.precision import weights_dtype
    from preflab.stages.common.row_lengths import fix_row_lengths
    from preflab.training.too_long import LongRows

    settings, stage = asked.settings, asked.stage
    opened = open_language_model(asked.base, dtype=weights_dtype(stage.precision, learns=settings.lora is None))
    renderer = opened.renderer(settings.stop_token_ids)
    long = LongRows(opened.limits(), settings.too_long)
    rows = []
    for prompt, completion in asked.pairs:
        where = prompt.source or prompt.id
        for sequence in long.fitted([renderer.sequence(prompt, completion)], where) or ():
            rows.append((completion, sequence, prompt))
    long.check(len(rows))
    base_hash = opened.base_hash()
    roles: tuple[Role, ...] = ("value",) if settings.lora else ("reference", "value")
    facts: dict[str, Any] = {"seed": stage.seed, "compute": stage.precision, "packing": stage.packing}
    trunk = opened.trunk(roles, lora=settings.lora, **facts)
    add_q_head(trunk.to(asked.accelerator.device))
    ids = [sequence for _, sequence, _ in rows]
    longest = max(len(renderer.prompt_ids(prompt)) for prompt in asked.prompts) + settings.max_new_tokens
    lengths = fix_row_lengths(trunk.row_lengths, [*ids, range(longest)])
    return _Opened(trunk, renderer, base_hash, rows, long, lengths)


def _learn(asked: _Asked, opened: _Opened) -> None:
    """Train Q and V and save them, or load them if they were saved before an interruption."""
    from preflab.models.action_values import load_action_values, save_action_values
    from preflab.policy.ilql import IlqlRun, train_ilql
    from preflab.stages.common.learning import CHECKPOINT
    from preflab.training.row_order import steps_per_epoch

    settings, stage, trunk = asked.settings, asked.stage, opened.trunk
    if (stage.folder / VALUES).is_dir():
        load_action_values(trunk, stage.folder / VALUES, base=opened.base_hash)
        return
    per_epoch = steps_per_epoch(len(opened.rows), settings.num_completions_per_step)
    learned = IlqlRun(
        trunk=trunk,
        settings=settings,
        sequences=[sequence for _, sequence, _ in opened.rows],
        scores=_scores(asked, opened),
        num_steps=settings.num_epochs * per_epoch,
        folder=stage.folder,
        seed=stage.seed,
        name=stage.name,
        accelerator=asked.accelerator,
    )
    train_ilql(learned)
    asked.accelerator.wait_for_everyone()
    if asked.accelerator.is_main_process:
        save_action_values(trunk, stage.folder / VALUES, base=opened.base_hash)
        shutil.rmtree(stage.folder / CHECKPOINT, ignore_errors=True)


def _scores(asked: _Asked, opened: _Opened) -> Tensor:
    """(N,) reward of each completion, read from rewards.jsonl or measured and written there.

    Raises:
        PreflabError: a reward is not a finite number.
    """
    import torch

    from preflab.files import read_jsonl, write_text
    from preflab.rewards.sources import PolicySide
    from preflab.training.protocols import ScoringItem, check_scores

    path, ids = asked.stage.folder / REWARDS, [completion.id for completion, _, _ in opened.rows]
    rows = read_jsonl(path)
    if [row["completion"] for row in rows] == ids:
        return torch.tensor([row["reward"] for row in rows])
    items = [ScoringItem.of(prompt, completion) for completion, _, prompt in opened.rows]
    asked_rows = [(prompt, sequence.prompt_ids) for _, sequence, prompt in opened.rows]
    longest = max(len(sequence.completion_ids) for _, sequence, _ in opened.rows)
    scores = asked.make_scorer(PolicySide(prompts=asked_rows, max_new_tokens=longest)).score(items).total.float().cpu()
    check_scores(scores, items)
    if asked.accelerator.is_main_process:
        lines = [
            json.dumps({"completion": id_, "reward": reward}) + "\n"
            for id_, reward in zip(ids, scores.tolist(), strict=True)
        ]
        write_text(path, "".join(lines))
    return scores


def _write(asked: _Asked, opened: _Opened, ctx: StageContext) -> StageResult:
    """Sample the policy for prompts without completions, list the completions, and return the stage's result."""
    from preflab.files import read_jsonl, write_json

    folder, workspace = asked.stage.folder, ctx.workspace
    done = {row["prompt_id"]: row for row in read_jsonl(folder / SAMPLED)}
    writer = _writer(asked, opened)
    writer.sample_missing(asked.stage, asked.prompts, done, workspace)
    rows = [done[prompt.id] for prompt in asked.prompts if prompt.id in done]
    ids = [id_ for row in rows for id_ in row["completions"]]
    write_json(folder / "completions.json", ids)
    return _result(asked, opened, writer, workspace.completions(ids))


def _writer(asked: _Asked, opened: _Opened) -> Writer:
    """A writer whose engine samples the reference, re-weighted by Q."""
    from preflab.files import file_hash
    from preflab.models.action_values import Q_HEAD, action_value_model
    from preflab.models.facts import token_limits
    from preflab.models.rotary import RowLengths
    from preflab.sampling.reweighted import ReweightedEngine
    from preflab.training.too_long import LongRows

    settings, trunk = asked.settings, opened.trunk
    reference = trunk.language_model("reference")
    values = action_value_model(trunk)
    engine = ReweightedEngine(
        reference,
        values,
        settings.beta,
        pad_id=trunk.pad_id,
        stop_token_ids=opened.renderer.stop_token_ids,
        tokenizer=trunk.tokenizer,
        role=functools.partial(trunk.role, "reference"),
    )
    limits = token_limits(reference.config)
    long = LongRows(limits, settings.too_long, room=settings.max_new_tokens)
    q = file_hash(asked.stage.folder / VALUES / Q_HEAD)[:12]
    model_id = f"{opened.base_hash} · exp({settings.beta:g} Q {q})"
    lengths = RowLengths([reference, values])
    return Writer(engine, lengths, opened.renderer, model_id, limits, settings, asked.stage.seed, long)


def _result(asked: _Asked, opened: _Opened, writer: Writer, completions: Sequence[Completion]) -> StageResult:
    """The summary and the figures, among them the KL to the reference as the mean log-ratio of the completions."""
    from preflab.files import read_jsonl

    metrics = read_jsonl(asked.stage.folder / "metrics.jsonl")
    rewards = [row["reward"] for row in read_jsonl(asked.stage.folder / REWARDS)]
    figures: dict[str, float | str] = {
        "num_steps": len(metrics),
        "loss_q_last": metrics[-1]["loss/q"],
        "reward_data": sum(rewards) / len(rewards),
        "num_completions": len(completions),
        "tokens_mean": sum(len(one.token_ids) for one in completions) / len(completions),
        **opened.long.figures,
        **opened.lengths,
    }
    told = ""
    if not asked.settings.truncated:
        figures["kl_sampled"] = kl = _sampled_kl(asked, opened, writer, completions)
        told = f", KL {three_digits(kl)} nats"
    learned = f"Q and V of {count(len(rewards), 'completion')}, loss {three_digits(metrics[-1]['loss/q'])}"
    written = f"{count(len(completions), 'completion')} written{told}"
    return StageResult(f"{learned}; {written}{opened.long.said}{writer.said_of_marks}", figures)


def _sampled_kl(asked: _Asked, opened: _Opened, writer: Writer, completions: Sequence[Completion]) -> float:
    """Mean of log π/π_ref over the completions, nats: an unbiased estimate of KL(π ‖ π_ref)."""
    import torch

    from preflab.training.batches import TokenSequence, token_budget_batches

    trunk, budget = opened.trunk, asked.settings.optimiser.tokens_per_micro_batch
    sequences = [TokenSequence(writer.ids[one.prompt_id], one.token_ids) for one in completions]
    ours, reference = sum(sum(one.logps) for one in completions), 0.0
    with torch.no_grad():
        for part in token_budget_batches([len(sequence) for sequence in sequences], budget):
            batch = trunk.collate([sequences[i] for i in part])
            outputs = trunk(batch, ("reference",), temperature=asked.settings.temperature)["reference"]
            reference += float(outputs.logps.double().sum())
    return (ours - reference) / len(completions)
