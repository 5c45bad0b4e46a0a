"""Stage `preferences`: turns judgments into consensus ranks and pairs, saves a snapshot, and measures agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.files import write_json
from preflab.recipe import Recipe
from preflab.records import Completion, Judgment, Labeler, Preference, Prompt
from preflab.settings.feedback import PreferencesSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.listed_judgments import listed_gold, listed_judgments
from preflab.stages.common.readings import stage_reading
from preflab.words import count, interval_text, percent

if TYPE_CHECKING:
    from preflab.feedback.agreement import Agreement
    from preflab.feedback.consensus import Consensus
    from preflab.feedback.reading import Reading
    from preflab.feedback.reliability import Reliability

VERSION = 4
needs_torch = False


def check(recipe: Recipe, settings: PreferencesSettings) -> None:
    """Checks that the criterion that orders the completions is one that the `judge` stage asks for.

    Raises:
        PreflabError: it is not.
    """
    judged = recipe.stages[settings.judgments]
    asked = getattr(judged, "criteria", ())
    if settings.criterion is not None and settings.criterion not in asked:
        raise PreflabError(
            f"criterion: {settings.criterion}, but {settings.judgments} asks for {', '.join(asked) or 'none'}",
            f"one of the criteria of {settings.judgments}",
            "correct `criterion`, or remove it",
        )


def run(ctx: StageContext) -> StageResult:
    """Weight the labelers, compute the consensus of every task, and store the preferences and their snapshot."""
    from preflab.feedback.agreement import agreement
    from preflab.feedback.coefficients import coefficients
    from preflab.feedback.consensus import consensus_of

    asked = _Asked.of(ctx)
    reading, judgments = asked.reading, asked.judgments
    texts = {completion.id: completion.text for completion in asked.completions}
    agreed = consensus_of([*asked.judgments_read, *asked.on_gold], reading, texts=texts)
    preferences = [consensus.preference for consensus in agreed]
    pairs = pair_counts(agreed)
    if not any(preference.scores or preference.thumbs for preference in preferences):
        _refuse_none(range(pairs["num_resolved"]), "pairs with a preferred completion", asked.name)
    ctx.workspace.put(preferences)
    _write_snapshot(asked, preferences)
    overall = agreement(judgments, reading)
    table = _labelers(asked, overall)
    measured = {name: asdict(estimate) for name, estimate in coefficients(judgments).items()}
    write_json(asked.folder / "agreement.json", report(overall, table, pairs, reading) | {"coefficients": measured})
    return StageResult(_summary(overall, pairs) + asked.reading_words, _figures(overall, pairs))


@dataclass(frozen=True)
class _Asked:
    """The checked inputs of the stage."""

    name: str
    folder: Path
    campaign_id: str
    judgments_read: list[Judgment]
    """All judgments that were listed."""
    judgments: list[Judgment]
    """Those that count."""
    on_gold: list[Judgment]
    """The judgments of gold tasks, which count only for reliability."""
    reading: Reading
    reading_words: str
    """Text for the summary about settings that the campaign's leads changed."""
    completions: list[Completion]
    prompts: list[Prompt]
    """The prompts of the judgments, sorted by id."""
    labelers: list[Labeler]
    """The labelers of the judgments, sorted by id."""

    @classmethod
    def of(cls, ctx: StageContext) -> _Asked:
        """Reads the judgments with all that they refer to, and how they are to be read.

        Raises:
            PreflabError: there are no judgments, or they are about images.
        """
        from preflab.feedback.consensus import counted
        from preflab.store.image_texts import refuse_image_campaign, refuse_images

        settings: PreferencesSettings = ctx.settings
        workspace = ctx.workspace
        judgments_read, listed = listed_judgments(ctx, settings.judgments)
        refuse_image_campaign(workspace.campaigns([listed["campaign_id"]])[0])
        on_gold, gold = listed_gold(ctx, listed)
        reading, reading_words = stage_reading(ctx, judgments_read, listed["campaign_id"], gold)
        judgments = counted(judgments_read)
        _refuse_none(judgments, "judgments", ctx.name)
        completions = workspace.completions(sorted({i for judgment in judgments for i in judgment.completion_ids}))
        refuse_images([completion.text for completion in completions], settings.judgments)
        return cls(
            name=ctx.name,
            folder=ctx.folder,
            campaign_id=listed["campaign_id"],
            judgments_read=judgments_read,
            judgments=judgments,
            on_gold=on_gold,
            reading=reading,
            reading_words=reading_words,
            completions=completions,
            prompts=workspace.prompts(sorted({judgment.prompt_id for judgment in judgments_read})),
            labelers=workspace.labelers(sorted({judgment.labeler_id for judgment in judgments})),
        )


def _write_snapshot(asked: _Asked, preferences: Sequence[Preference]) -> None:
    from preflab.store.snapshots import write_snapshot

    wanted = {preference.prompt_id for preference in preferences}
    prompts = [prompt for prompt in asked.prompts if prompt.id in wanted]
    query = {"campaign_id": asked.campaign_id, **_told(asked.reading, preferences)}
    write_snapshot(asked.folder / "snapshot", preferences, prompts, asked.completions, query=query)


def _told(reading: Reading, preferences: Sequence[Preference]) -> dict[str, Any]:
    """The options of the reading, for the snapshot; some are left out if they are the default or had no effect here."""
    from preflab.feedback.reading import USUAL

    told: dict[str, Any] = {"consensus": reading.consensus, "fail_share": reading.fail_share}
    told |= {"criterion": reading.criterion} if reading.criterion else {}
    told |= {"level_scores": reading.level_scores} if any(p.scores for p in preferences) else {}
    rules = {"pairs_by": reading.pairs_by, "order_rule": reading.order_rule}
    told |= {name: value for name, value in rules.items() if value != getattr(USUAL, name)}
    return told | ({"confirmed_reversed": sorted(reading.confirmed_reversed)} if reading.confirmed_reversed else {})


def _labelers(asked: _Asked, overall: Agreement) -> list[dict[str, Any]]:
    """The table of labelers; judgments of gold tasks count only for reliability."""
    from preflab.feedback.readout import standings

    reading, labels = asked.reading, [*asked.judgments, *asked.on_gold]
    return labeler_table(
        [labeler for labeler in asked.labelers if labeler.id in overall.labelers],
        overall,
        reading.reliabilities(labels),
        reading.weights(labels),
        standings(labels, reading),
    )


def pair_counts(agreed: Sequence[Consensus]) -> dict[str, int]:
    """Numbers of preferences, of pairs in each state, of completions dropped as F, and of preferences without pairs.

    Unresolved pairs await an adjudicator. Tied pairs do not, since the labelers or an adjudicator call them equal.
    Implied pairs are even splits whose order follows from the other pairs.
    """
    states = Counter(pair.state for consensus in agreed for pair in consensus.pairs)
    resolved = [len(consensus.preference.chosen_rejected()) for consensus in agreed]
    return {
        "num_preferences": len(agreed),
        "num_resolved": sum(resolved),
        "num_decided": states["decided"],
        "num_unresolved": states["open"],
        "num_tied": states["tied"] + states["closed"],
        "num_implied": states["implied"],
        "num_failed_completions": sum(rank is None for consensus in agreed for rank in consensus.preference.ranks),
        "num_without_pairs": sum(num == 0 for num in resolved),
        "num_not_kemeny": sum(consensus.method != "kemeny" for consensus in agreed),
    }


def labeler_table(
    labelers: Sequence[Labeler],
    overall: Agreement,
    reliability: Mapping[str, Reliability],
    weights: Mapping[str, float],
    called: Mapping[str, str],
) -> list[dict[str, Any]]:
    """One row per labeler, the most reliable first; `truth` holds the known habit and biases of a simulated labeler."""
    rows = []
    for labeler in labelers:
        agreement_of, reliable = overall.labelers[labeler.id], reliability[labeler.id]
        rows.append(
            {
                "id": labeler.id,
                "name": labeler.name,
                "kind": labeler.kind,
                "num_tasks": agreement_of.num_tasks,
                "num_votes": reliable.num_votes,
                "reliability": reliable.accuracy,
                "weight": weights[labeler.id],
                "standing": called[labeler.id],
                "agreement_with_others": asdict(agreement_of.with_others),
                "ties": asdict(agreement_of.ties),
                "fails": asdict(agreement_of.fails),
                "truth": dict(labeler.settings) if labeler.kind == "simulated" else {},
            }
        )
    return sorted(rows, key=lambda row: (-row["reliability"], row["name"]))


def report(
    overall: Agreement, table: Sequence[Mapping[str, Any]], pairs: Mapping[str, int], reading: Reading
) -> dict[str, Any]:
    """The content of agreement.json, without `coefficients`."""
    return {
        "simulated": all(row["kind"] == "simulated" for row in table),
        "consensus": reading.consensus,
        "fail_share": reading.fail_share,
        "num_turned_round": len(reading.confirmed_reversed),
        "num_judgments": overall.num_judgments,
        "num_tasks": overall.num_tasks,
        "agreement": asdict(overall.strict),
        "ties": asdict(overall.ties),
        "fails": asdict(overall.fails),
        "pairs": dict(pairs),
        "labelers": list(table),
    }


def _summary(overall: Agreement, pairs: Mapping[str, int]) -> str:
    agreed = (
        "" if overall.strict.value is None else f", labelers agree on {interval_text(asdict(overall.strict), percent)}"
    )
    left = f", {pairs['num_unresolved']:,} left open" if pairs["num_unresolved"] else ""
    return f"{count(pairs['num_preferences'], 'ranking')} → {count(pairs['num_resolved'], 'pair')}{left}{agreed}"


def _figures(overall: Agreement, pairs: Mapping[str, int]) -> dict[str, float | str]:
    shares = {"agreement": overall.strict.value, "tie_rate": overall.ties.value, "fail_rate": overall.fails.value}
    return {**pairs, **{name: value for name, value in shares.items() if value is not None}}


def _refuse_none(records: Sequence[Any], what: str, stage: str) -> None:
    if not records:
        raise PreflabError(
            f"stage {stage}: no {what}",
            "at least one",
            "check the labelers: all may be careless, all pairs tied, or nothing judged",
        )
