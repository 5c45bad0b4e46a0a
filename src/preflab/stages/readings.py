"""How a stage reads the judgments of a `judge` stage: one reading for the recipe, the app and the training after it.

A recipe says how in its `preferences` stage; people's answers are adjudicated before that stage runs. So the campaign
is told what the recipe says, when it is made and whenever the recipe says something new, and from then on its reading
is the one that counts: what a lead changes in the app, confirmed reversals included, is read by the stage as well and
is part of its key. Where several preferences stages read one campaign in several ways, the campaign keeps its own and
each stage goes by its settings.
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
"""In `runs/`: what makes a campaign, hashed → its id, and what the recipe last said about it."""
NAMES = tuple(ReadingSettings.model_fields)
"""The settings of a preferences stage that are options of the campaign under the same names."""
REVERSED = "confirmed_reversed"


def ledger_name(name: str, settings: JudgeSettings, completions_key: str) -> str:
    """Under which name the campaign of a `judge` stage stands among the workspace's campaigns."""
    made_of = [name, completions_key, settings.way, settings.question, settings.polarity]
    return canonical_hash([*made_of, list(settings.criteria)])


def readers(recipe: Recipe, judge: str) -> list[str]:
    """The preferences stages that read what a `judge` stage gathers."""
    stages = recipe.stages.items()
    return [name for name, each in stages if isinstance(each, PreferencesSettings) and each.judgments == judge]


def asked_reading(recipe: Recipe, judge: str) -> dict[str, Any]:
    """How the recipe's preferences stages read what a `judge` stage gathers; {} where none does, or several differ."""
    readings = [values_of(recipe.stages[name]) for name in readers(recipe, judge)]
    return readings[0] if readings and all(each == readings[0] for each in readings) else {}


def values_of(settings: Any) -> dict[str, Any]:
    """The reading that settings ask for, by name."""
    return {name: getattr(settings, name) for name in NAMES}


def in_force(recipe: Recipe, name: str, options: CampaignOptions, said: Mapping[str, Any]) -> dict[str, Any]:
    """How a preferences stage reads a campaign: what the recipe says anew, else as the campaign has it.

    Args:
        recipe: with the stage.
        name: of the preferences stage.
        options: the campaign's, as they stand.
        said: what the recipe said of the campaign when it last ran.
    """
    settings = recipe.stages[name]
    asked = asked_reading(recipe, settings.judgments)  # type: ignore[attr-defined]
    if not asked:
        return values_of(settings)
    return {key: value if is_news(key, value, said) else getattr(options, key) for key, value in asked.items()}


def is_news(name: str, value: Any, said: Mapping[str, Any]) -> bool:
    """Whether the recipe says of a campaign what it did not say before; what it never spoke of was the default."""
    from preflab.labelling.options import CampaignOptions

    usual = CampaignOptions.model_fields[name].get_default()
    return bool(said.get(name, list(usual) if isinstance(usual, tuple) else usual) != value)


def changed_by_leads(recipe: Recipe, name: str, keys: Mapping[str, str], runs: Path) -> dict[str, Any]:
    """What the leads of a campaign have made of the reading of a preferences stage: part of that stage's key.

    {} where the campaign is read as the recipe says, where there is none yet, and for judgments without a campaign.

    Args:
        recipe: with the stage.
        name: of the preferences stage.
        keys: those of the stages before it.
        runs: the folder of the run folders, in the workspace's.
    """
    settings = recipe.stages[name]
    entry = _entry(recipe, settings.judgments, keys, runs)  # type: ignore[attr-defined]
    options = _options(entry, runs.parent) if entry else None
    if options is None:
        return {}
    reading = in_force(recipe, name, options, entry["said"])
    turned = sorted(options.confirmed_reversed)
    return differing(reading, settings) | ({REVERSED: turned} if turned else {})


def differing(found: Mapping[str, Any], settings: Any) -> dict[str, Any]:
    """What of a reading is not as the settings say."""
    return {name: value for name, value in found.items() if value != getattr(settings, name)}


def has_campaign(recipe: Recipe, judge: str) -> bool:
    """Whether what a stage gathers are people's answers in a campaign of the app."""
    settings = recipe.stages[judge]
    return isinstance(settings, JudgeSettings) and settings.labelers == PEOPLE


def stage_reading(
    ctx: StageContext, judgments: Sequence[Judgment], campaign_id: str, gold: Mapping[str, Answer]
) -> tuple[Reading, str]:
    """How a preferences stage reads these judgments, and what is to be said of it: `` or `; consensus majority, …`.

    A campaign of the app is told what the recipe says anew.
    """
    from preflab.feedback.reading import Reading
    from preflab.stages.listed_judgments import ordered_by
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
    """How judgments of a file are read: as the stage `preferences` reads them by default."""
    from preflab.feedback.reading import Reading
    from preflab.stages.listed_judgments import ordered_by

    return Reading.of(ReadingSettings(), criterion=ordered_by(judgments, None))


def said_of(changed: Mapping[str, Any], num_reversed: int = 0) -> str:
    """`; as the campaign’s leads have it: consensus majority, 1 labeler turned round`, or nothing."""
    words = [f"{name.replace('_', ' ')} {value}" for name, value in changed.items() if name != REVERSED]
    if num_reversed:
        words.append(f"{count(num_reversed, 'labeler')} turned round")
    return f"; as the campaign’s leads have it: {', '.join(words)}" if words else ""


def told_of(recipe: Recipe, judge: str) -> str:
    """What the line of a `judge` stage says of the reading that its campaign was given; nothing for the usual one."""
    asked, names = asked_reading(recipe, judge), readers(recipe, judge)
    if not asked and len(names) > 1:
        return f"; {' and '.join(names)} read it in different ways, the campaign in its own"
    unusual = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in asked.items()
        if value != ReadingSettings.model_fields[name].get_default()
    ]
    return f"; read as {' and '.join(names)} says: {', '.join(unusual)}" if unusual else ""


def tell_reading(ctx: StageContext, campaign_id: str) -> CampaignOptions:
    """Tell a campaign what the recipe says anew of how it is read; its options as they are then."""
    from preflab.files import write_json
    from preflab.labelling.campaigns import campaign_view, change_options

    judge = ctx.settings.judgments
    view = campaign_view(ctx.workspace, campaign_id)
    path = ctx.workspace.runs / CAMPAIGNS
    ledger: dict[str, Any] = read_json(path) if path.exists() else {}
    settings = ctx.recipe.stages[judge]
    assert isinstance(settings, JudgeSettings)
    entry = ledger.get(ledger_name(judge, settings, ctx.upstream[settings.completions].key))
    said: dict[str, Any] = entry["said"] if entry else {}
    news = {key: value for key, value in asked_reading(ctx.recipe, judge).items() if is_news(key, value, said)}
    if not news:
        return view.options
    options = change_options(ctx.workspace, campaign_id, view.revision, news, by="recipe")
    if entry:
        entry["said"] = said | news
        write_json(path, ledger)
    return options


def _entry(recipe: Recipe, judge: str, keys: Mapping[str, str], runs: Path) -> dict[str, Any]:
    """What is noted of a stage's campaign; {} where it is none of people, or there is none yet."""
    path = runs / CAMPAIGNS
    if not has_campaign(recipe, judge) or not path.exists():
        return {}
    settings = recipe.stages[judge]
    assert isinstance(settings, JudgeSettings)
    entry: dict[str, Any] = read_json(path).get(ledger_name(judge, settings, keys[settings.completions]), {})
    return entry


def _options(entry: Mapping[str, Any], folder: Path) -> CampaignOptions | None:
    """A campaign's options as they stand; None where the workspace has no such campaign (any more)."""
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
