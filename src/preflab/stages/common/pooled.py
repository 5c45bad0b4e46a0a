"""Makes the pool of the stage `simulate`: samples every policy, then scores all samples under every policy.

One model is in memory at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preflab.errors import PreflabError
from preflab.evaluation.likelihood import completion_logps
from preflab.evaluation.texts import Judge
from preflab.explain.pool import CriterionFacts, PolicyFacts, Pool, PoolFacts, TermFacts
from preflab.models.kinds import rows_read
from preflab.progress import progress
from preflab.records import Completion, Prompt
from preflab.rewards.combine import WeightedSum
from preflab.rewards.score import same_tokenizer
from preflab.rewards.sources import PolicySide
from preflab.seeds import derive_seed
from preflab.settings.rewards import RewardSource
from preflab.settings.sampling import DecodingSettings
from preflab.settings.simulate import SimulateSettings
from preflab.stages.base import StageContext
from preflab.stages.common.evaluated import Loaded
from preflab.stages.common.evaluated_inputs import load_judge
from preflab.stages.common.pooled_policies import coefficient, common_settings, source_text, trained_on
from preflab.stages.common.recipe_rewards import scorer_maker
from preflab.stages.common.stage_facts import StageFacts
from preflab.training.batches import TokenSequence
from preflab.training.protocols import ScoringItem

Array = NDArray[np.float64]
SCORED_TOGETHER = 512
"""Completions scored between two updates of the progress bar; has no effect on the scores."""
FLATTERING_WORDS = ("amazing", "awesome", "brilliant", "excellent", "fantastic", "great", "incredible", "wonderful")
"""Words that the slider for flattery counts if neither the stage nor simulated labelers name any."""


@dataclass(frozen=True)
class Asked:
    """The checked inputs of the stage, before a model is opened."""

    settings: SimulateSettings
    stage: StageFacts
    prompts: list[Prompt]
    names: tuple[str, ...]
    """The reference, then the policies."""
    folders: Mapping[str, Path | str]
    decoding: DecodingSettings
    judges: list[Judge]
    sources: tuple[RewardSource, ...]
    make_scorers: Sequence[Callable[[PolicySide], WeightedSum]]
    """One function per source."""
    policies: tuple[PolicyFacts, ...]
    flattering_words: tuple[str, ...]
    simulated: bool


def ask(ctx: StageContext) -> Asked:
    """Read the prompts, load the functions, and locate the models.

    Raises:
        PreflabError: the policies do not fit together (see `common_settings`), or a function or prompts are missing.
    """
    settings: SimulateSettings = ctx.settings
    trained = {name: _settings_of(ctx, name) for name in settings.policies if name in ctx.upstream}
    common = common_settings(settings, trained)
    _check_one_reference(ctx, common.reference)
    names = (common.reference, *(name for name in settings.policies if name != common.reference))
    complete = {"rewards": common.rewards, "decoding": common.decoding, "reference": common.reference}
    resolved = settings.model_copy(update=complete)
    alone = [resolved.model_copy(update={"rewards": (source,)}) for source in common.rewards]
    words, simulated = _labelers(ctx)
    prompts = list({prompt.id: prompt for prompt in ctx.prompts(settings.prompts)}.values())
    return Asked(
        settings=resolved,
        stage=StageFacts.of(ctx),
        prompts=prompts[: settings.num_prompts],
        names=names,
        folders={name: ctx.model_folder(name) for name in names},
        decoding=common.decoding,
        judges=[load_judge(name, path) for name, path in settings.judges.items()],
        sources=common.rewards,
        make_scorers=[scorer_maker(dataclasses.replace(ctx, settings=each)) for each in alone],
        policies=tuple(_policy(ctx, name, reference=name == common.reference) for name in names),
        flattering_words=settings.flattering_words or words or FLATTERING_WORDS,
        simulated=simulated or any(path.startswith("preflab.demo.") for path in settings.judges.values()),
    )


def _check_one_reference(ctx: StageContext, reference: str) -> None:
    """Refuses runs whose references have one name and different keys, which runs of changed recipes may have."""
    inputs = {name: one.manifest["inputs"] for name, one in ctx.upstream.items() if name in ctx.settings.policies}
    keys = {name: keys[reference] for name, keys in inputs.items() if reference in keys}
    for name, key in keys.items():
        if key != next(iter(keys.values())):
            raise PreflabError(
                f"policies: {name} started from another {reference} than {next(iter(keys))}",
                "policies trained from one reference",
                f"leave {name} out, or run its stage again",
            )


def _settings_of(ctx: StageContext, name: str) -> Mapping[str, Any]:
    content: Mapping[str, Any] = ctx.upstream[name].manifest["settings"]
    return content


def _policy(ctx: StageContext, name: str, *, reference: bool) -> PolicyFacts:
    if name not in ctx.upstream:
        return PolicyFacts(name)
    stage = _settings_of(ctx, name)
    if reference:
        return PolicyFacts(name, str(stage["kind"]), note="the reference")
    beta = coefficient(stage)
    return PolicyFacts(name, str(stage["kind"]), beta.value, trained_on(stage), beta.note)


def _labelers(ctx: StageContext) -> tuple[tuple[str, ...], bool]:
    """The flattering words of the simulated labelers whose judgments the policies learned from, and if there are any.

    Names of labelers that are no panel of the recipe are people.
    """
    named = [_settings_of(ctx, name).get("labelers") for name, one in ctx.upstream.items() if one.kind == "judge"]
    panels = [ctx.recipe.labelers[name] for name in named if isinstance(name, str) and name in ctx.recipe.labelers]
    words = dict.fromkeys(word for panel in panels for word in panel.flattering_words)
    return tuple(words), bool(panels)


def make_pool(asked: Asked) -> tuple[Pool, list[Completion]]:
    """The pool, and its completions as records for the workspace.

    Raises:
        PreflabError: a policy reads other tokens than the reference, or a reward gives no finite number.
    """
    written, reads = [], _Reads()
    for name in asked.names:
        loaded = _open(asked, name)
        reads.check(name, loaded)
        stage = dataclasses.replace(asked.stage, seed=derive_seed(asked.stage.seed, "pool", name))
        written.append(loaded.write(stage, name, asked.prompts, asked.settings.num_completions, asked.decoding))
        del loaded
    order = _by_prompt(len(asked.names), len(asked.prompts), asked.settings.num_completions)
    completions = [one for ones, _ in written for one in ones]
    sequences = [one for _, ones in written for one in ones]
    completions, sequences = [completions[i] for i in order], [sequences[i] for i in order]
    logps = np.stack([_logps(asked, name, sequences) for name in asked.names])
    prompts = {prompt.id: prompt for prompt in asked.prompts}
    repeated = [prompts[completion.prompt_id] for completion in completions]
    terms, facts = _terms(asked, reads.tokenizer, repeated, completions, sequences)
    texts = [completion.text for completion in completions]
    pool = Pool(
        facts=dataclasses.replace(_facts(asked), terms=facts),
        prompt_ids=tuple(prompt.id for prompt in repeated),
        prompts=tuple(prompt.shown for prompt in repeated),
        completion_ids=tuple(completion.id for completion in completions),
        completions=tuple(texts),
        policies=np.array(order, dtype=np.int64) // (len(asked.prompts) * asked.settings.num_completions),
        seeds=tuple(completion.seed for completion in completions),
        finished=np.array([completion.finish_reason == "stop" for completion in completions], dtype=np.bool_),
        num_tokens=np.array([len(completion.token_ids) for completion in completions], dtype=np.int64),
        logps=logps,
        terms=terms,
        criteria=_criteria(asked.judges, repeated, texts),
    )
    return pool, completions


class _Reads:
    """Checks that all policies read the same rows as the first, the reference."""

    def __init__(self) -> None:
        self.tokenizer: Any = None
        self.rows: Any = None

    def check(self, name: str, loaded: Loaded) -> None:
        tokenizer, rows = loaded.opened.tokenizer, rows_read(loaded.opened.model)
        if self.tokenizer is None:
            self.tokenizer, self.rows = tokenizer, rows
        elif rows != self.rows or not same_tokenizer(tokenizer, self.tokenizer):
            raise PreflabError(
                f"policies: {name} has another tokenizer, family or start token than the reference",
                "policies that read the tokens of the reference",
                f"leave {name} out of `policies`",
            )


def _open(asked: Asked, name: str) -> Loaded:
    loaded = Loaded.of(asked.folders[name], asked.stage.precision)
    loaded.fix_longest(asked.prompts, asked.decoding.max_new_tokens)
    return loaded


def _by_prompt(num_policies: int, num_prompts: int, num: int) -> list[int]:
    """Places, in the list by policy, prompt and index, of the samples by prompt, policy and index."""
    places = np.arange(num_policies * num_prompts * num).reshape(num_policies, num_prompts, num)
    return [int(place) for place in places.transpose(1, 0, 2).reshape(-1)]


def _logps(asked: Asked, name: str, sequences: Sequence[TokenSequence]) -> Array:
    """(N,) Σ log π of all samples under one policy, at the temperature of sampling."""
    trunk = _open(asked, name).opened.trunk(("policy",))
    with progress(f"{name}: log-probabilities", len(sequences)) as bar:
        return completion_logps(trunk, sequences, temperature=asked.decoding.temperature, on_done=bar.advance)


def _terms(
    asked: Asked,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    sequences: Sequence[TokenSequence],
) -> tuple[Array, tuple[TermFacts, ...]]:
    """(terms, N) unweighted scores, and what the terms are."""
    items = [
        ScoringItem(prompt, one.text, sequence.prompt_ids, sequence.completion_ids, one.finish_reason)
        for prompt, one, sequence in zip(prompts, completions, sequences, strict=True)
    ]
    asked_for = [(item.prompt, item.prompt_ids) for item in items]
    side = PolicySide(tokenizer, prompts=asked_for, max_new_tokens=asked.decoding.max_new_tokens)
    rows: list[list[float]] = []
    facts: list[TermFacts] = []
    for source, make in zip(asked.sources, asked.make_scorers, strict=True):
        (term,) = make(side).terms
        if term.name in [each.name for each in facts]:
            raise PreflabError(
                f"rewards: two terms are named {term.name}", "another name for each", "rename one with `name`"
            )
        facts.append(TermFacts(term.name, source.weight, source_text(source)))
        scores: list[float] = []
        with progress(f"reward {term.name}", len(items)) as bar:
            for start in range(0, len(items), SCORED_TOGETHER):
                part = items[start : start + SCORED_TOGETHER]
                scores += term.scorer.score(part).total.double().tolist()
                bar.advance(len(part))
        rows.append(scores)
    return np.array(rows), tuple(facts)


def _criteria(judges: Sequence[Judge], prompts: Sequence[Prompt], texts: Sequence[str]) -> Array:
    """(criteria, N); nan for an F."""
    scored = [judge.scores(prompts, texts) for judge in judges]
    rows = [[float("nan") if score is None else float(score) for score in scores] for scores in scored]
    return np.array(rows).reshape(len(judges), len(texts))


def _facts(asked: Asked) -> PoolFacts:
    return PoolFacts(
        title=asked.settings.title,
        temperature=asked.decoding.temperature,
        policies=asked.policies,
        terms=(),
        criteria=tuple(CriterionFacts(judge.name, judge.name, judge.fail_utility) for judge in asked.judges),
        flattering_words=asked.flattering_words,
        simulated=asked.simulated,
    )
