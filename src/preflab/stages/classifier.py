"""Stage `classifier`: trains a classifier of single texts, to be a reward or a judge (R10).

The classifier is a plain Hugging Face folder `reward/`. classifier_report.json holds

{"model", "architecture", "classes": [name], "counts": {class: training texts}, "max_tokens",
 "num_cut": training texts that were longer,
 "train" | "held_out" | "test": null or {"num", "accuracy": interval, "most_frequent": share of the commonest class,
                                        "recall": {class: {"num", "share"}}}}
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.settings.text_classifier import TextClassifierSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.data import Row
from preflab.stages.common.stage_facts import StageFacts
from preflab.words import count, percent

if TYPE_CHECKING:
    from preflab.rewards.text_classifier import Classifier, LabelledText

logger = logging.getLogger(__name__)

VERSION = 1
distributed = True

REPORT = "classifier_report.json"


def run(ctx: StageContext) -> StageResult:
    """Train the classifier, save it in `reward/`, and measure it on texts that it was not trained on."""
    from preflab.rewards.text_classifier import train_classifier
    from preflab.training.row_order import steps_per_epoch
    from preflab.training.standstill import said_of_loss

    asked = _Asked.of(ctx)
    settings, stage = asked.settings, asked.stage
    classifier = _open(asked)
    metrics = train_classifier(
        classifier,
        asked.train,
        settings,
        num_steps=settings.num_epochs * steps_per_epoch(len(asked.train), settings.num_texts_per_step),
        folder=stage.folder,
        seed=stage.seed,
        accelerator=asked.accelerator,
        name=stage.name,
    )
    report = _report(asked, classifier)
    _save(asked, classifier, report)
    return _result(report, said_of_loss(metrics))


@dataclass(frozen=True)
class _Asked:
    """The checked inputs of the stage, before a model is opened."""

    settings: TextClassifierSettings
    stage: StageFacts
    classes: list[str]
    train: list[LabelledText]
    held_out: list[LabelledText]
    test: list[LabelledText]
    """The texts of `test_labels`; [] without them."""
    base: Path | str | None
    """The model whose body is trained; None: a small new one."""
    accelerator: Any

    @classmethod
    def of(cls, ctx: StageContext) -> _Asked:
        """Read the texts, check their classes, and start the accelerator.

        Raises:
            PreflabError: a text or a label is missing, there is one class only, or a class is only tested on.
        """
        from preflab.stages.common.learning import accelerator_for

        settings: TextClassifierSettings = ctx.settings
        train, held_out = _parts(_texts(ctx, settings.labels), settings)
        test = _texts(ctx, settings.test_labels) if settings.test_labels else []
        classes = _classes(train, settings.labels)
        _refuse_other_classes([*held_out, *test], classes)
        base = None if settings.model is None else ctx.model_folder(settings.model)
        accelerator = accelerator_for(ctx, settings.run)
        return cls(settings, StageFacts.of(ctx), classes, train, held_out, test, base, accelerator)


def _open(asked: _Asked) -> Classifier:
    from preflab.models.precision import half_precision
    from preflab.rewards.text_classifier import from_nothing, from_pretrained

    settings, stage = asked.settings, asked.stage
    if stage.packing == "on":
        logger.warning("%s: a classifier's texts keep their padding, whatever device.packing says", stage.name)
    if asked.base is None:
        made = from_nothing([row.text for row in asked.train], asked.classes, settings, stage.seed)
    else:
        made = from_pretrained(asked.base, asked.classes, settings.context, stage.seed)
    return replace(made, half=half_precision(stage.precision))


def _save(asked: _Asked, classifier: Classifier, report: dict[str, Any]) -> None:
    """Write `reward/` and the report, remove the checkpoint, and shut the accelerator down."""
    from preflab.files import new_folder, write_json
    from preflab.stages.common.learning import CHECKPOINT
    from preflab.training.processes import finish_trackers

    folder, accelerator = asked.stage.folder, asked.accelerator
    if accelerator.is_main_process:
        with new_folder(folder / "reward") as beside:
            classifier.model.save_pretrained(beside)
            classifier.tokenizer.save_pretrained(beside)
        write_json(folder / REPORT, report)
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    accelerator.wait_for_everyone()
    finish_trackers(accelerator)


def _texts(ctx: StageContext, name: str) -> list[LabelledText]:
    """The labelled texts of a data name.

    Raises:
        PreflabError: a text is missing or empty, or a label is missing; names the line.
    """
    return [_labelled(row) for row in ctx.data(name)]


def _labelled(row: Row) -> LabelledText:
    from preflab.rewards.text_classifier import LabelledText

    text, label = row.column("text"), row.column("label")
    if not isinstance(text, str) or not text.strip():
        raise PreflabError(f"{row.source}: the column `text` is empty or no text", "text", "mend or delete the row")
    if not isinstance(label, str | int) or not str(label).strip():
        raise PreflabError(
            f"{row.source}: the column `label` holds {label!r:.40}", "a class, as text or a number", "mend the row"
        )
    return LabelledText(text, str(label).strip())


def _parts(
    rows: Sequence[LabelledText], settings: TextClassifierSettings
) -> tuple[list[LabelledText], list[LabelledText]]:
    """The training and the held-out texts; a repeated text is on one side in all its rows."""
    from preflab.records import Prompt
    from preflab.training.held_out import held_out_prompts

    prompts = {row.text: Prompt.make(text=row.text) for row in rows}
    apart = held_out_prompts(prompts.values(), settings.held_out)
    sides = [(row, prompts[row.text].id in apart) for row in rows]
    return [row for row, out in sides if not out], [row for row, out in sides if out]


def _classes(rows: Sequence[LabelledText], name: str) -> list[str]:
    """The classes in order of their names.

    Raises:
        PreflabError: all texts have the same class.
    """
    classes = sorted({row.label for row in rows})
    if len(classes) < 2:
        raise PreflabError(
            f"{name}: all {count(len(rows), 'training text')} have the label {classes[0]!r}",
            "texts of at least two classes",
            "add texts of another class",
        )
    return classes


def _refuse_other_classes(rows: Sequence[LabelledText], classes: Sequence[str]) -> None:
    others = sorted({row.label for row in rows} - set(classes))
    if others:
        raise PreflabError(
            f"the class {others[0]!r} occurs among the held-out or test texts, but not among the training texts",
            f"one of {', '.join(classes)}",
            "add training texts of this class, or correct the labels",
        )


def _report(asked: _Asked, classifier: Classifier) -> dict[str, Any]:
    """The content of classifier_report.json."""
    lengths = [len(classifier.tokenizer(row.text)["input_ids"]) for row in asked.train]
    parts = {"train": asked.train, "held_out": asked.held_out, "test": asked.test}
    budget = asked.settings.optimiser.tokens_per_micro_batch
    return {
        "model": asked.settings.model,
        "architecture": classifier.model.config.model_type,
        "classes": list(classifier.classes),
        "counts": dict(sorted(Counter(row.label for row in asked.train).items())),
        "max_tokens": classifier.max_tokens,
        "num_cut": sum(length > classifier.max_tokens for length in lengths),
        **{name: _quality(classifier, rows, budget) if rows else None for name, rows in parts.items()},
    }


def _quality(classifier: Classifier, rows: Sequence[LabelledText], budget: int) -> dict[str, Any]:
    """Accuracy with its interval over texts, the share of the commonest class, and recall per class."""
    from preflab.rewards.text_classifier import class_probabilities
    from preflab.statistics.shares import share_interval

    texts = [row.text for row in rows]
    guesses = class_probabilities(classifier, texts, budget).argmax(-1).tolist()
    right = [float(classifier.classes[guess] == row.label) for guess, row in zip(guesses, rows, strict=True)]
    of_class = {
        name: [value for value, row in zip(right, rows, strict=True) if row.label == name]
        for name in classifier.classes
    }
    return {
        "num": len(rows),
        "accuracy": share_interval(right, texts).to_json(),
        "most_frequent": max(map(len, of_class.values())) / len(rows),
        "recall": {
            name: {"num": len(values), "share": sum(values) / len(values) if values else None}
            for name, values in of_class.items()
        },
    }


def _result(report: dict[str, Any], notes: str) -> StageResult:
    figures: dict[str, float | str] = {
        f"{part}/accuracy": report[part]["accuracy"]["value"] for part in ("train", "held_out", "test") if report[part]
    }
    cut = f"; the end of {count(report['num_cut'], 'training text')} not read" if report["num_cut"] else ""
    part = next((part for part in ("held_out", "test") if report[part]), None)
    if part is None:
        return StageResult(f"nothing held out{cut}{notes}", figures)
    measured = report[part]
    summary = (
        f"right on {percent(measured['accuracy']['value'])} of {count(measured['num'], 'other text')} "
        f"(always the commonest class: {percent(measured['most_frequent'])})"
    )
    return StageResult(f"{summary}{cut}{notes}", figures)
