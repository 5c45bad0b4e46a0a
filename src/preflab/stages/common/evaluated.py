"""Samples and scores each model's completions of the held-out prompts for the stage `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preflab.conversations.fitting_prompts import fitting_prompts
from preflab.evaluation.exact_kl import sequence_kl
from preflab.evaluation.paired import Sheet, label_columns
from preflab.evaluation.texts import Judge, checked_labels, fail_column
from preflab.models.facts import weights_hash
from preflab.models.kinds import read_same_rows
from preflab.models.language_model import LanguageModel, open_language_model
from preflab.models.loading import best_device
from preflab.models.rotary import RowLengths
from preflab.progress import progress
from preflab.records import Completion, Prompt
from preflab.rewards.functions import RewardFunction
from preflab.rewards.longest_row import fix_longest
from preflab.rewards.score import RewardModelScorer, load_reward_model, same_tokenizer
from preflab.sampling.engines import EngineSource, make_engine
from preflab.sampling.randomness import request_seed
from preflab.settings.evaluation import EvaluateSettings
from preflab.settings.sampling import DecodingSettings
from preflab.stages.common.classifiers import LoadedClassifier, load_classifiers
from preflab.stages.common.evaluated_inputs import Asked
from preflab.stages.common.reference_texts import (
    HUMAN,
    human_completions,
    human_rouge,
    reference_notes,
    repeated_prompts_note,
    rouge_columns,
)
from preflab.stages.common.row_lengths import fix_row_lengths
from preflab.stages.common.stage_facts import StageFacts
from preflab.training.batches import TokenSequence
from preflab.training.protocols import SampleRequest, ScoringItem
from preflab.words import count, number

Array = NDArray[np.float64]
NO_KL = "{}: no KL, because its tokenizer, family or start token differs from the reference's"


@dataclass
class Loaded:
    """A loaded language model that is ready to sample."""

    opened: LanguageModel
    weights: str

    @classmethod
    def of(cls, ref: Path | str, precision: str) -> Loaded:
        """Loads the model in a folder or with a Hub id."""
        opened = open_language_model(ref, dtype=precision, device=best_device())
        return cls(opened, weights_hash(opened.model))

    def fix_longest(self, prompts: Sequence[Prompt], max_new_tokens: int) -> dict[str, float]:
        """Fix rotary frequencies that depend on the length for all prompts of the stage; see `fix_row_lengths`."""
        renderer = self.opened.renderer()
        ids = (renderer.prompt_ids(prompt) for prompt in prompts)
        return fix_row_lengths(RowLengths([self.opened.model]), ids, max_new_tokens)

    def write(
        self, stage: StageFacts, name: str, prompts: Sequence[Prompt], num: int, decoding: DecodingSettings
    ) -> tuple[list[Completion], list[TokenSequence]]:
        """`num` adjacent completions per prompt, and their tokens; a seed depends on the stage's, prompt and index."""
        opened, renderer = self.opened, self.opened.renderer(decoding.stop_token_ids)
        fitting = fitting_prompts(renderer, prompts, max_new_tokens=decoding.max_new_tokens, limits=opened.limits())
        source = EngineSource(opened.model, opened.tokenizer, renderer.stop_token_ids, server=stage.server)
        engine = make_engine(source, stage.engine)
        wanted = [(prompt, tokens, index) for prompt, tokens in fitting.prompts for index in range(num)]
        seeds = [request_seed(stage.seed, prompt.id, index) for prompt, _, index in wanted]
        requests = [SampleRequest(tokens, seed) for (_, tokens, _), seed in zip(wanted, seeds, strict=True)]
        with progress(name, len(requests)) as bar:
            sampled = engine.sample(requests, decoding, on_done=bar.advance)
        engine.release()
        completions = [
            Completion.make(
                prompt.id, renderer.text(prompt, one.token_ids), self.weights, seed, index,
                finish_reason=one.finish_reason, token_ids=one.token_ids, logps=one.logps,
                temperature=decoding.temperature,
            )
            for (prompt, _, index), seed, one in zip(wanted, seeds, sampled, strict=True)
        ]  # fmt: skip
        return completions, [
            TokenSequence(tokens, one.token_ids) for (_, tokens, _), one in zip(wanted, sampled, strict=True)
        ]


@dataclass
class Written:
    """One model's completions and their scores; all lists and arrays are aligned with `completions`."""

    name: str
    weights: str
    num_per_prompt: int
    completions: list[Completion]
    judges: Sequence[Judge]
    judged: dict[str, list[float | None]] = field(default_factory=dict)
    rewards: dict[str, Array] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    kl: Array | None = None
    classes: list[str] = field(default_factory=list)
    """All classes that occur among the completions of any model."""
    chosen: bool = False
    """Each completion was selected from several, so its log-probability is no estimate of the entropy."""
    classified: dict[str, Array] = field(default_factory=dict)
    """Classifier → the probability of its class for each completion."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Classifier → the probability above which a completion counts as one of the class."""
    rouge: dict[str, Array] = field(default_factory=dict)
    """ROUGE against the reference texts: `rouge/1`, …; {} without them."""
    repeats: int = 1
    """How often each row is listed in the sheet, to be paired with several completions of a model."""

    def sheet(self) -> Sheet:
        """The columns that are averaged and compared between models."""
        means = {f"judge/{judge.name}": judge.column(self.judged[judge.name]) for judge in self.judges}
        means |= {f"reward/{name}": values for name, values in self.rewards.items()}
        means |= {f"probability/{name}": values for name, values in self.classified.items()} | self.rouge
        if self.kl is not None:
            means["kl/exact"] = self.kl
        shares = {f"fail/{name}": fail_column(scores) for name, scores in self.judged.items()}
        if sampled := any(completion.token_ids for completion in self.completions):
            shares["finished/share"] = np.array([float(c.finish_reason == "stop") for c in self.completions])
        shares |= {
            f"above/{name}": (self.classified[name] > at).astype(np.float64) for name, at in self.thresholds.items()
        }
        shares |= label_columns(self.labels, self.classes)
        return Sheet(
            self.name,
            tuple(completion.prompt_id for completion in self.completions),
            tuple(completion.text for completion in self.completions),
            tuple(len(completion.token_ids) for completion in self.completions) if sampled else (),
            tuple(sum(completion.logps) for completion in self.completions) if sampled and not self.chosen else (),
            means,
            shares,
            {f"spread/{name}": values for name, values in self.classified.items()},
        ).repeat(self.repeats)

    def rows_of_prompt(self, number: int) -> list[dict[str, Any]]:
        """The entries of samples.jsonl for the completions of prompt `number` (counted from 0)."""
        start = number * self.num_per_prompt
        return [self._row(row) for row in range(start, start + self.num_per_prompt)]

    def _row(self, row: int) -> dict[str, Any]:
        completion = self.completions[row]
        scores: dict[str, float | None] = {f"judge/{name}": values[row] for name, values in self.judged.items()}
        scores |= {f"reward/{name}": float(values[row]) for name, values in self.rewards.items()}
        scores |= {f"probability/{name}": float(values[row]) for name, values in self.classified.items()}
        scores |= {name: float(values[row]) for name, values in self.rouge.items() if name.count("/") == 1}
        return {
            "id": completion.id,
            "text": completion.text,
            "finish_reason": completion.finish_reason,
            "scores": scores,
            "label": self.labels[row] if self.labels else None,
            "kl": None if self.kl is None else float(self.kl[row]),
        }


def write_all(asked: Asked) -> tuple[dict[str, Written], list[str]]:
    """Returns model name → its scored completions, and the notes for the reader of the figures."""
    settings, prompts = asked.settings, asked.prompts
    num, most = settings.num_completions, settings.decoding.max_new_tokens
    reference = Loaded.of(asked.folders[asked.reference], asked.stage.precision)
    reference.fix_longest(prompts, most)
    repeated = [prompt for prompt in prompts for _ in range(num)]
    classifiers = load_classifiers(settings.classifiers, asked.folders, asked.stage.precision)
    written, notes = {}, _notes(settings, asked.judges) + repeated_prompts_note(prompts)
    for name in settings.models:
        loaded = reference if name == asked.reference else Loaded.of(asked.folders[name], asked.stage.precision)
        if figure := loaded.fix_longest(prompts, most):
            longest = count(int(figure["longest_row"]), "token")
            notes.append(f"{name}: rotary frequencies are fixed for rows of {longest}")
        completions, sequences = loaded.write(asked.stage, name, prompts, num, settings.decoding)
        one = Written(name, loaded.weights, num, completions, asked.judges)
        notes += _judge(one, asked, repeated, classifiers)
        one.rouge = _rouge(one, asked)
        one.kl = _kl(settings, loaded, reference, sequences)
        if one.kl is None:
            notes.append(NO_KL.format(name))
        one.rewards = _rewards(asked, loaded.opened.tokenizer, repeated, completions, sequences)
        written[name] = one
    for name, stored in asked.stored.items():
        one = Written(name, stored.model, num, stored.completions, asked.judges, chosen=stored.chosen)
        notes += _judge(one, asked, repeated, classifiers)
        one.rouge = _rouge(one, asked)
        sequences = [TokenSequence((), completion.token_ids) for completion in one.completions]
        one.rewards = _rewards(asked, None, repeated, one.completions, sequences)
        written[name] = one
        notes.append(stored.note)
    if asked.reference_texts:
        written[HUMAN], further = _human(asked, classifiers)
        notes += further
    classes = sorted({label for one in written.values() for label in one.labels})
    for one in written.values():
        one.classes = classes
    return written, notes


def _rouge(one: Written, asked: Asked) -> dict[str, Array]:
    """ROUGE of a model's completions against the texts of their prompts; {} without such texts."""
    texts = [completion.text for completion in one.completions]
    wanted = [references for references in asked.reference_texts for _ in range(one.num_per_prompt)]
    return rouge_columns(texts, wanted, stems=asked.settings.rouge_stems) if wanted else {}


def _human(asked: Asked, classifiers: Sequence[LoadedClassifier]) -> tuple[Written, list[str]]:
    """The first reference text of each prompt, measured like a model's completions, and notes about it."""
    num, stems = asked.settings.num_completions, asked.settings.rouge_stems
    one = Written(HUMAN, HUMAN, 1, human_completions(asked.prompts, asked.reference_texts), asked.judges, repeats=num)
    notes = _judge(one, asked, asked.prompts, classifiers)
    one.rouge = human_rouge(asked.reference_texts, stems=stems)
    one.rewards = _rewards(asked, None, asked.prompts, one.completions, [TokenSequence((), ())] * len(one.completions))
    return one, notes + reference_notes(asked.reference_texts, num, stems=stems)


def _judge(one: Written, asked: Asked, prompts: Sequence[Prompt], classifiers: Sequence[LoadedClassifier]) -> list[str]:
    """Adds the scores of judges and classifiers and the class of each text to `one`; returns notes."""
    texts = [completion.text for completion in one.completions]
    one.judged = {judge.name: judge.scores(prompts, texts) for judge in one.judges}
    if asked.classify is not None:
        one.labels = classes_of(asked.classify, prompts, texts)
    one.classified = {each.name: each.probabilities(prompts, texts) for each in classifiers}
    one.thresholds = {each.name: each.settings.threshold for each in classifiers}
    return [note for each in classifiers for note in each.note(one.name, texts)]


def classes_of(function: RewardFunction, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[str]:
    """The class of each text; the function may take lists or one text at a time."""
    names = dict.fromkeys(name for prompt in prompts for name in prompt.columns)
    columns = {name: [prompt.columns.get(name) for prompt in prompts] for name in names}
    values = function.call_unchecked([prompt.shown for prompt in prompts], list(texts), **columns)
    return checked_labels(values, function.name)


def reference_rewards(asked: Asked, prompts: Sequence[Prompt]) -> tuple[Array, list[str]]:
    """Samples the reference: (N,) scores by the judge `tilted_optimum`, and the prompt id of each completion.

    An F counts as in the figures: as FAIL_UTILITY, or it is left out if the judge's module has none.
    """
    settings = asked.settings
    judge = next(judge for judge in asked.judges if judge.name == settings.tilted_optimum)
    reference = Loaded.of(asked.folders[asked.reference], asked.stage.precision)
    reference.fix_longest(asked.prompts, settings.decoding.max_new_tokens)
    num = settings.num_tilted_completions
    completions, _ = reference.write(asked.stage, "optimum", prompts, num, settings.decoding)
    repeated = [prompt for prompt in prompts for _ in range(num)]
    values = judge.column(judge.scores(repeated, [completion.text for completion in completions]))
    known = ~np.isnan(values)
    return values[known], [completion.prompt_id for completion, k in zip(completions, known, strict=True) if k]


def _notes(settings: EvaluateSettings, judges: Sequence[Judge]) -> list[str]:
    notes = [
        f"{judge.name}: a completion marked F counts {number(judge.fail_utility)}"
        if judge.fail_utility is not None
        else f"{judge.name}: completions marked F are left out of the mean; see fail/{judge.name}"
        for judge in judges
    ]
    if settings.decoding.truncated:
        notes.append(
            "completions were sampled from a truncated distribution: entropy describes it, KL the full distribution"
        )
    return notes


def _kl(settings: EvaluateSettings, loaded: Loaded, reference: Loaded, sequences: list[TokenSequence]) -> Array | None:
    """(N,) exact KL of each completion to the reference, nats; 0 for the reference, None if it reads other rows."""
    if not read_same_rows(loaded.opened.model, reference.opened.model):
        return None
    if loaded.weights == reference.weights:
        return np.zeros(len(sequences))
    if not same_tokenizer(loaded.opened.tokenizer, reference.opened.tokenizer):
        return None
    trunk = loaded.opened.trunk(("policy",), reference=reference.opened)
    with progress("exact KL", len(sequences)) as bar:
        return sequence_kl(trunk, sequences, temperature=settings.decoding.temperature or 1.0, on_done=bar.advance)


def _rewards(
    asked: Asked,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    sequences: Sequence[TokenSequence],
) -> dict[str, Array]:
    """Reward stage → (N,) normalised scores of its model; it scores texts unless `tokenizer` equals its own."""
    rows = [(prompt, sequence.prompt_ids) for prompt, sequence in zip(prompts, sequences, strict=True)]
    items = [
        ScoringItem(prompt, one.text, sequence.prompt_ids, sequence.completion_ids, one.finish_reason)
        for prompt, one, sequence in zip(prompts, completions, sequences, strict=True)
    ]

    def scores(name: str) -> Array:  # a function, so that only one reward model is in memory at a time
        trunk, encoder = load_reward_model(Path(asked.folders[name]), dtype=asked.stage.precision)
        trunk.to(best_device())
        takes_tokens = tokenizer is not None and same_tokenizer(trunk.tokenizer, tokenizer)
        scorer = RewardModelScorer(trunk, encoder, name, takes_tokens=takes_tokens)
        fix_longest(scorer, rows, asked.settings.decoding.max_new_tokens)
        return scorer.score(items).total.double().numpy()

    return {name: scores(name) for name in asked.settings.rewards}
