"""Keeps one reading of a `judge` stage's judgments for the recipe, the labelling app and the training after it.

A reading (`feedback.reading`) is set in the recipe's `preferences` stage, but people's answers are adjudicated in the
app before that stage runs. So the recipe's reading is copied to the campaign when the campaign is made, and again
whenever the recipe's settings change. From then on the campaign's reading counts: the stage also follows changes that
a lead makes in the app, including confirmed reversals, and they are part of its key. If several preferences stages
read one campaign in different ways, the campaign keeps its own reading and each stage uses its settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.files import canonical_hash, read_json
from preflab.recipe import Recipe
from preflab.recipe.references import PEOPLE
from preflab.settings.feedback import JudgeSettings, PreferencesSettings, ReadingSettings
from preflab.words import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from preflab.feedback.reading import Reading
    from preflab.labelling.options import CampaignOptions
    from preflab.records import Answer, Judgment
    from preflab.stages.base import StageContext

CAMPAIGNS = "campaigns.json"
"""File in `runs/`: `ledger_name` of a campaign → its id, and its settings in the recipe when it last ran."""
NAMES = tuple(ReadingSettings.model_fields)
"""Settings of a `preferences` stage that are also campaign options, under the same names."""
REVERSED = "confirmed_reversed"


def ledger_name(name: str, settings: JudgeSettings, completions_key: str) -> str:
    """The key of a `judge` stage's campaign in `campaigns.json`: a hash of what is judged and what is asked."""
    made_of = [name, completions_key, settings.way, settings.question, settings.polarity]
    return canonical_hash([*made_of, list(settings.criteria)])


def readers(recipe: Recipe, judge: str) -> list[str]:
    """The preferences stages that read the judgments of a `judge` stage."""
    stages = recipe.stages.items()
    return [name for name, each in stages if isinstance(each, PreferencesSettings) and each.judgments == judge]


def asked_reading(recipe: Recipe, judge: str) -> dict[str, Any]:
    """The reading set by the preferences stages of a `judge` stage; {} if there are none or their readings differ."""
    readings = [values_of(recipe.stages[name]) for name in readers(recipe, judge)]
    return readings[0] if readings and all(each == readings[0] for each in readings) else {}


def values_of(settings: Any) -> dict[str, Any]:
    """Name → value of the reading's options in some settings."""
    return {name: getattr(settings, name) for name in NAMES}


def in_force(recipe: Recipe, name: str, options: CampaignOptions, last_settings: Mapping[str, Any]) -> dict[str, Any]:
    """The reading with which a preferences stage reads a campaign, by name.

    Settings that changed in the recipe come from the recipe, all others from the campaign's options.

    Args:
        recipe: the recipe with the stage.
        name: name of the preferences stage.
        options: the campaign's current options.
        last_settings: the recipe's settings of the campaign when it last ran.
    """
    settings = recipe.stages[name]
    asked = asked_reading(recipe, settings.judgments)  # type: ignore[attr-defined]
    if not asked:
        return values_of(settings)
    return {key: value if is_news(key, value, last_settings) else getattr(options, key) for key, value in asked.items()}


def is_news(name: str, value: Any, last_settings: Mapping[str, Any]) -> bool:
    """Whether the recipe's value differs from that of its last run, or from the default if it had none."""
    from preflab.labelling.options import CampaignOptions

    usual = CampaignOptions.model_fields[name].get_default()
    return bool(last_settings.get(name, list(usual) if isinstance(usual, tuple) else usual) != value)


def changed_by_leads(recipe: Recipe, name: str, keys: Mapping[str, str], runs: Path) -> dict[str, Any]:
    """The options of a preferences stage's reading that leads have changed in the app; part of the stage's key.

    Returns {} if the campaign is read as the recipe says, if it does not exist yet, and for judgments without a
    campaign.

    Args:
        recipe: the recipe with the stage.
        name: name of the preferences stage.
        keys: name → key of the stages before it.
        runs: the folder `runs` of the workspace.
    """
    settings = recipe.stages[name]
    entry = _entry(recipe, settings.judgments, keys, runs)  # type: ignore[attr-defined]
    options = _options(entry, runs.parent) if entry else None
    if options is None:
        return {}
    reading = in_force(recipe, name, options, entry["said"])
    turned = sorted(options.confirmed_reversed)
    return differing(reading, settings) | ({REVERSED: turned} if turned else {})


def differing(reading: Mapping[str, Any], settings: Any) -> dict[str, Any]:
    """The options of a reading that differ from the settings."""
    return {name: value for name, value in reading.items() if value != getattr(settings, name)}


def has_campaign(recipe: Recipe, judge: str) -> bool:
    """Whether a stage collects people's judgments in a campaign of the labelling app."""
    settings = recipe.stages[judge]
    return isinstance(settings, JudgeSettings) and settings.labelers == PEOPLE


def stage_reading(
    ctx: StageContext, judgments: Sequence[Judgment], campaign_id: str, gold: Mapping[str, Answer]
) -> tuple[Reading, str]:
    """The reading for a preferences stage's judgments, and text for its summary (see `said_of`).

    If the judgments come from a campaign, settings that changed in the recipe are first copied to it.
    """
    from preflab.feedback.reading import Reading
    from preflab.stages.common.listed_judgments import ordered_by
    from preflab.ways.registry import way_named

    settings: PreferencesSettings = ctx.settings
    if not has_campaign(ctx.recipe, settings.judgments):
        criterion = ordered_by(judgments, settings.criterion)
        return Reading.of(settings, criterion=criterion, gold=gold), ""
    options = tell_reading(ctx, campaign_id)
    values = values_of(options) if asked_reading(ctx.recipe, settings.judgments) else values_of(settings)
    read = settings.model_copy(update=values)
    criterion = (read.criterion or options.criteria[0]) if way_named(options.way).by_criteria else None
    changed = differing(values, settings) | ({REVERSED: True} if options.confirmed_reversed else {})
    made = Reading.of(read, criterion=criterion, confirmed_reversed=options.confirmed_reversed, gold=gold)
    return made, said_of(changed, len(options.confirmed_reversed))


def archive_reading(judgments: Sequence[Judgment]) -> Reading:
    """The reading for judgments from a file: the defaults of the stage `preferences`."""
    from preflab.feedback.reading import Reading
    from preflab.stages.common.listed_judgments import ordered_by

    return Reading.of(ReadingSettings(), criterion=ordered_by(judgments, None))


def said_of(changed: Mapping[str, Any], num_reversed: int = 0) -> str:
    """`; changed by the campaign’s leads: consensus majority, 1 labeler reversed`, or "" without changes."""
    words = [f"{name.replace('_', ' ')} {value}" for name, value in changed.items() if name != REVERSED]
    if num_reversed:
        words.append(f"{count(num_reversed, 'labeler')} reversed")
    return f"; changed by the campaign’s leads: {', '.join(words)}" if words else ""


def told_of(recipe: Recipe, judge: str) -> str:
    """Text about the campaign's reading for a `judge` stage's waiting line; "" if all options are defaults."""
    asked, names = asked_reading(recipe, judge), readers(recipe, judge)
    if not asked and len(names) > 1:
        return f"; {' and '.join(names)} read it with different settings, and the campaign uses its own"
    unusual = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in asked.items()
        if value != ReadingSettings.model_fields[name].get_default()
    ]
    return f"; read with the settings of {' and '.join(names)}: {', '.join(unusual)}" if unusual else ""


def tell_reading(ctx: StageContext, campaign_id: str) -> CampaignOptions:
    """Copy reading settings that changed in the recipe to the campaign; returns the campaign's options after that."""
    from preflab.files import write_json
    from preflab.labelling.campaigns import campaign_view, change_options

    judge = ctx.settings.judgments
    view = campaign_view(ctx.workspace, campaign_id)
    path = ctx.workspace.runs / CAMPAIGNS
    ledger: dict[str, Any] = read_json(path) if path.exists() else {}
    settings = ctx.recipe.stages[judge]
    assert isinstance(settings, JudgeSettings)
    entry = ledger.get(ledger_name(judge, settings, ctx.upstream[settings.completions].key))
    last_settings: dict[str, Any] = entry["said"] if entry else {}
    news = {key: value for key, value in asked_reading(ctx.recipe, judge).items() if is_news(key, value, last_settings)}
    if not news:
        return view.options
    options = change_options(ctx.workspace, campaign_id, view.revision, news, by="recipe")
    if entry:
        entry["said"] = last_settings | news
        write_json(path, ledger)
    return options


def _entry(recipe: Recipe, judge: str, keys: Mapping[str, str], runs: Path) -> dict[str, Any]:
    """The entry of a stage's campaign in `campaigns.json`; {} if the stage has no campaign or not yet."""
    path = runs / CAMPAIGNS
    if not has_campaign(recipe, judge) or not path.exists():
        return {}
    settings = recipe.stages[judge]
    assert isinstance(settings, JudgeSettings)
    entry: dict[str, Any] = read_json(path).get(ledger_name(judge, settings, keys[settings.completions]), {})
    return entry


def _options(entry: Mapping[str, Any], folder: Path) -> CampaignOptions | None:
    """A campaign's current options; None if the workspace does not have the campaign, or no longer."""
    from preflab.labelling.campaigns import campaign_view
    from preflab.labelling.errors import NotFound
    from preflab.store.opening import is_there, opened

    if not is_there(folder):
        return None
    with opened(folder) as store:
        try:
            return campaign_view(store, entry["campaign_id"]).options
        except NotFound:
            return None
