"""Trains a classifier of single texts by cross-entropy, from nothing or from a pretrained body.

    loss = − Σ_texts log softmax(logits)[label] / (texts of the whole step)

The result is a plain sequence classifier of transformers, which `rewards.classifier` reads as a reward.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from preflab.conversations.marks import as_text
from preflab.errors import PreflabError
from preflab.models.dropout import switch_dropout_off
from preflab.models.loading import load_tokenizer, quiet_loading, read_config, readable_errors
from preflab.models.packages import resolve_package
from preflab.models.precision import autocast
from preflab.models.recomputed_blocks import recompute_blocks
from preflab.models.tiny import build_classifier, build_tokenizer
from preflab.progress import progress
from preflab.settings.text_classifier import TextClassifierSettings
from preflab.training.batches import token_budget_batches
from preflab.training.metrics import MetricsLog
from preflab.training.optimiser import clip_gradients, learning_rate_factor, make_optimiser, set_learning_rate
from preflab.training.processes import sum_over_processes
from preflab.training.row_order import own_micro_batches, rows_of_step
from preflab.training.state import RunState


@dataclass(frozen=True)
class LabelledText:
    """A text and its class."""

    text: str
    label: str


@dataclass(frozen=True)
class Classifier:
    """A sequence classifier with its tokenizer and the names of its classes, in the order of the logits."""

    model: Any
    tokenizer: Any
    classes: tuple[str, ...]
    max_tokens: int
    half: torch.dtype | None = None
    """The half-precision type of forward passes; None: float32. Weights are float32 in any case."""

    def encode(self, texts: Sequence[str]) -> list[Any]:
        """The tokens of each text, cut at the end to `max_tokens`."""
        return [as_text(self.tokenizer, text, truncation=True, max_length=self.max_tokens) for text in texts]

    def logits(self, rows: Sequence[Any]) -> Tensor:
        """(B, classes) of encoded texts, in one forward pass."""
        batch = self.tokenizer.pad(list(rows), return_tensors="pt").to(self.model.device)
        with autocast(self.half, self.model.device):
            logits: Tensor = self.model(**batch, **self._options).logits
        return logits.float()

    @property
    def _options(self) -> dict[str, bool]:
        """No key–value cache, which a recomputed block would fill twice; {} for models without one."""
        forward = getattr(self.model, "module", self.model).forward
        return {"use_cache": False} if "use_cache" in inspect.signature(forward).parameters else {}


def from_nothing(
    texts: Sequence[str], classes: Sequence[str], settings: TextClassifierSettings, seed: int
) -> Classifier:
    """A small random classifier with a tokenizer of the words of these texts."""
    tokenizer = build_tokenizer(texts, context=settings.context)
    model = build_classifier(
        tokenizer,
        classes,
        architecture=settings.architecture,
        num_layers=settings.num_layers,
        hidden_size=settings.hidden_size,
        num_heads=settings.num_heads,
        context=settings.context,
        seed=seed,
    )
    return Classifier(model, tokenizer, tuple(classes), settings.context)


def from_pretrained(ref: Path | str, classes: Sequence[str], context: int, seed: int) -> Classifier:
    """The body of a pretrained model with a new random head for these classes; a head that it has is dropped.

    Raises:
        PreflabError: no model at `ref`, or an encoder–decoder.
    """
    from transformers import AutoModelForSequenceClassification

    ref = resolve_package(ref)
    config = read_config(ref)
    if getattr(config, "is_encoder_decoder", False):
        raise PreflabError(
            f"{ref}: {type(config).__name__.removesuffix('Config')} is an encoder–decoder",
            "an encoder or a decoder as the body of a classifier",
            "name another model, or none: a small one is then made",
        )
    names = dict(enumerate(classes))
    tokenizer = load_tokenizer(ref, writes=False)
    with torch.random.fork_rng(devices=[]), quiet_loading(), readable_errors(ref, "a model for a classifier"):
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(
            str(ref),
            dtype=torch.float32,
            num_labels=len(classes),
            id2label=names,
            label2id={name: place for place, name in names.items()},
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
        ).eval()
    model.config.pad_token_id = tokenizer.pad_token_id
    longest = min(context, tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or context)
    return Classifier(model, tokenizer, tuple(classes), longest)


def train_classifier(
    classifier: Classifier,
    rows: Sequence[LabelledText],
    settings: TextClassifierSettings,
    *,
    num_steps: int,
    folder: Path,
    seed: int,
    accelerator: Any,
    name: str = "classifier",
) -> list[dict[str, Any]]:
    """Train on labelled texts; resumes from the folder's checkpoint if there is one.

    Args:
        classifier: trained in place.
        rows: the training share.
        settings: texts per step, optimiser, checkpoints.
        num_steps: optimiser steps in all, including steps before a restart.
        folder: for metrics.jsonl and checkpoint/.
        seed: for the order of the rows.
        accelerator: see `training.processes`.
        name: shown beside the progress bar.

    Returns:
        The metrics of every step.
    """
    switch_dropout_off(classifier.model)
    if settings.optimiser.gradient_checkpointing:
        recompute_blocks(classifier.model, functools.partial(checkpoint, use_reentrant=False))
    parameters = [parameter for parameter in classifier.model.parameters() if parameter.requires_grad]
    optimiser = make_optimiser([(parameters, settings.optimiser.learning_rate)], settings.optimiser, classifier.model)
    model, optimiser = accelerator.prepare(classifier.model.to(accelerator.device), optimiser)
    state = RunState(classifier.model, optimiser)
    state.load(folder / "checkpoint")
    log = MetricsLog(folder / "metrics.jsonl", step=state.step)
    encoded = classifier.encode([row.text for row in rows])
    targets = torch.tensor([classifier.classes.index(row.label) for row in rows], device=accelerator.device)

    with progress(name, total=num_steps, done=state.step) as bar:
        while state.step < num_steps:
            started = time.perf_counter()

            # 1 collect: the next texts, in an order that depends on seed and step
            chosen = rows_of_step(state.step, len(rows), settings.num_texts_per_step, seed)

            # 2 update: the gradient over all micro-batches, clipped, one step of AdamW
            rate = set_learning_rate(optimiser, learning_rate_factor(state.step, num_steps, settings.optimiser))
            optimiser.zero_grad(set_to_none=True)
            loss = _accumulate(
                replace(classifier, model=model),
                [encoded[i] for i in chosen],
                targets[chosen],
                settings.optimiser.tokens_per_micro_batch,
                accelerator,
            )
            norm = clip_gradients(parameters, settings.optimiser.max_grad_norm)
            optimiser.step()

            # 3 log
            figures = {"loss/nll": loss, "grad/norm": norm, "learning_rate": rate}
            figures["time/step"] = time.perf_counter() - started
            if accelerator.is_main_process:
                log.write(state.step, figures)
            accelerator.log(figures, step=state.step)
            state.step += 1
            if accelerator.is_main_process and state.step % settings.run.save_every == 0:
                state.save(folder / "checkpoint")
            bar.advance(1, loss=loss)
    accelerator.wait_for_everyone()  # the main process writes the rows, all processes read them
    return log.rows()


def _accumulate(classifier: Classifier, rows: Sequence[Any], targets: Tensor, budget: int, accelerator: Any) -> float:
    """Leave the gradient of one optimiser step in the parameters; returns its loss over all processes."""
    batches = token_budget_batches([len(row["input_ids"]) for row in rows], budget)
    total = torch.zeros((), device=accelerator.device)
    for indices, factor in own_micro_batches(batches, accelerator.process_index, accelerator.num_processes):
        logits = classifier.logits([rows[i] for i in indices])
        loss = functional.cross_entropy(logits, targets[indices], reduction="sum") / len(rows)
        accelerator.backward(factor * loss)
        total += loss.detach() * bool(factor)
    return float(sum_over_processes(accelerator, total))


@torch.no_grad()
def class_probabilities(classifier: Classifier, texts: Sequence[str], tokens_per_batch: int) -> Tensor:
    """(N, classes) probabilities of the classes, on the CPU."""
    rows = classifier.encode(texts)
    probabilities = torch.zeros(len(rows), len(classifier.classes))
    for indices in token_budget_batches([len(row["input_ids"]) for row in rows], tokens_per_batch):
        probabilities[indices] = classifier.logits([rows[i] for i in indices]).softmax(-1).cpu()
    return probabilities
