"""Collects what `preflab dial` measures with: prompts, judges and decoding as `evaluate` does, rewards as in training.

They come from an evaluate stage of the recipe that names the run. Without one, the run's own held-out prompts and its
held-out criterion are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.recipe import Recipe
from preflab.recipe.references import check_data_name
from preflab.settings.evaluation import EvaluateSettings
from preflab.settings.sampling import DecodingSettings
from preflab.stages.base import StageContext
from preflab.stages.common.finished_runs import FinishedRun, context_beside

if TYPE_CHECKING:
    from preflab.explain.dial import Dial
    from preflab.explain.dial_points import Questions

SCORED_TOGETHER = 256
"""Completions scored between two updates of the progress bar; has no effect on the scores."""


@dataclass(frozen=True)
class Wishes:
    """The options of the command that replace settings; None leaves a setting as it is."""

    evaluation: str | None = None
    """Name of the evaluate stage."""
    prompts: str | None = None
    num_prompts: int | None = None
    num_completions: int | None = None


@dataclass(frozen=True)
class Asked:
    """The checked inputs of the command, before a model is opened."""

    ctx: StageContext
    """The context of an evaluate stage that names the reference and the runs."""
    run: StageContext
    """The context of the dialled run."""
    questions: Questions
    """Without rewards, which need an open model."""
    notes: list[str]

    @property
    def settings(self) -> EvaluateSettings:
        """The settings of the evaluation."""
        settings: EvaluateSettings = self.ctx.settings
        return settings


def ask(ctx: StageContext, run: FinishedRun, others: Sequence[FinishedRun], wishes: Wishes) -> Asked:
    """Read prompts and judges for a dialled run and the runs beside it; `ctx` is the run's context.

    Raises:
        PreflabError: no prompts are named anywhere, the evaluate stage is unknown, or a judge cannot be loaded.
    """
    from preflab.explain.dial_points import Questions
    from preflab.stages.common.episodes import single_answers_note
    from preflab.stages.common.evaluated_inputs import load_judge
    from preflab.stages.common.evaluated_prompts import evaluated_prompts

    name, settings = _evaluation(ctx.recipe, run, wishes)
    models = (str(run.settings["model"]), *dict.fromkeys(each.name for each in (run, *others)))
    settings = settings.model_copy(update={"models": models, "reference": None})
    seed = ctx.recipe.stage_seed(name) if name else ctx.seed
    beside = context_beside(ctx, [run, *others], name="dial", settings=settings, seed=seed)
    prompts, notes = evaluated_prompts(beside)
    questions = Questions(
        prompts=prompts,
        seed=seed,
        decoding=settings.decoding,
        num_completions=settings.num_completions,
        judges=[load_judge(judge, path) for judge, path in settings.judges.items()],
        engine=ctx.device.engine,
        server=ctx.device.vllm,
    )
    dialogues = [note for each in (run, *others) for note in single_answers_note(each.name, each.settings)]
    return Asked(beside, ctx, questions, notes + _reference_note(run) + dialogues)


def with_rewards(asked: Asked, dial: Dial) -> Questions:
    """The questions with the run's rewards and the evaluation's; opens the reward models.

    `reward/mean` is the weighted sum that the run learned from. Terms of a sum of several are listed unweighted.
    """
    import numpy as np

    from preflab.explain.dial_points import REWARD
    from preflab.progress import progress
    from preflab.rewards.sources import PolicySide, make_scorer
    from preflab.settings.rewards import RewardSource
    from preflab.stages.common.recipe_rewards import scorer_maker
    from preflab.training.protocols import ScoringItem

    renderer = dial.model.renderer(asked.questions.decoding.stop_token_ids)
    side = PolicySide(
        tokenizer=dial.model.tokenizer,
        trunk=dial.trunk,
        prompts=[(prompt, renderer.prompt_ids(prompt)) for prompt in asked.questions.prompts],
        max_new_tokens=asked.questions.decoding.max_new_tokens,
    )
    learned = scorer_maker(asked.run)(side) if getattr(asked.run.settings, "rewards", ()) else None
    terms = {term.name: term.weight for term in learned.terms} if learned else {}
    more = [name for name in asked.settings.rewards if name not in terms]
    further = {
        name: make_scorer([RewardSource(model=name)], asked.ctx.model_folder, side, dtype=asked.ctx.precision)
        for name in more
    }

    def part(items: Sequence[ScoringItem]) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        if learned:
            scores = learned.score(items)
            columns[REWARD] = scores.total.double().numpy()
            for name, weight in terms.items() if list(terms.values()) != [1.0] else ():
                columns[f"reward/{name}"] = scores.terms[name].double().numpy() / (weight or 1.0)
        return columns | {f"reward/{name}": one.score(items).total.double().numpy() for name, one in further.items()}

    def rewards(items: Sequence[ScoringItem]) -> Mapping[str, Any]:
        if learned is None and not further:
            return {}
        parts = []
        with progress("rewards", len(items)) as bar:
            for at in range(0, len(items), SCORED_TOGETHER):
                parts.append(part(items[at : at + SCORED_TOGETHER]))
                bar.advance(len(items[at : at + SCORED_TOGETHER]))
        return {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}

    return replace(asked.questions, rewards=rewards)


def _evaluation(recipe: Recipe, run: FinishedRun, wishes: Wishes) -> tuple[str, EvaluateSettings]:
    """The name ("" for none) and the settings of the evaluation, with the command's options."""
    stages = {name: each for name, each in recipe.stages.items() if isinstance(each, EvaluateSettings)}
    if wishes.evaluation is not None and wishes.evaluation not in stages:
        raise PreflabError(
            f"--evaluate {wishes.evaluation}: no evaluate stage of {recipe.path.name}",
            f"one of {', '.join(stages) or '(there are none)'}",
            "correct the name, or leave the option out",
        )
    if wishes.prompts is not None:
        check_data_name(recipe.settings, wishes.prompts, recipe.path, "--prompts")
    name = wishes.evaluation or next((name for name, each in stages.items() if run.name in each.models), "")
    settings = stages[name] if name else _own(run, wishes)
    changes = {
        "prompts": wishes.prompts,
        "max_prompts": wishes.num_prompts,
        "num_completions": wishes.num_completions,
    }
    return name, settings.model_copy(update={key: value for key, value in changes.items() if value is not None})


def _own(run: FinishedRun, wishes: Wishes) -> EvaluateSettings:
    """Settings from the run alone: its held-out prompts, its held-out criterion, its decoding."""
    settings = run.settings
    prompts = wishes.prompts or settings.get("held_out_prompts")
    if not prompts:
        raise PreflabError(
            f"{run.name}: no evaluate stage of the recipe names it, and it has no held_out_prompts",
            "prompts to measure with, such as prompts.held_out",
            "add --prompts NAME",
        )
    decoding = settings.get("decoding") or (settings.get("watch") or {}).get("decoding") or {}
    criterion = (settings.get("stop") or {}).get("criterion")
    return EvaluateSettings(
        models=(run.name,),
        prompts=prompts,
        judges={"held_out": criterion} if criterion else {},
        decoding=DecodingSettings.model_validate(decoding),
    )


def _reference_note(run: FinishedRun) -> list[str]:
    other, start = run.settings.get("reference"), run.settings["model"]
    if other in (None, start):
        return []
    return [f"{run.name} learned beside the reference {other}; here 0 and the KL mean {start}, where it started"]


def check_one_start(run: FinishedRun, others: Sequence[FinishedRun], start: Callable[[FinishedRun], Any]) -> None:
    """Check that runs started from one model.

    Raises:
        PreflabError: one started from another.
    """
    for other in others:
        if start(other) != start(run):
            raise PreflabError(
                f"{run.name} started from {run.settings['model']}, {other.name} from {other.settings['model']}",
                "runs that started from the same model, since the dial's 0 is that model",
                f"leave {other.name} out",
            )
