"""Turn the arguments of campaign commands (name, texts, criteria, options, a file) into records of `labelling`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError, cut, nearest
from preflab.files import check_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from preflab.labelling.campaigns import CampaignView
    from preflab.labelling.options import CampaignOptions
    from preflab.labelling.upload import Uploaded
    from preflab.store.workspace import Workspace


def campaign_named(store: Workspace, name: str) -> CampaignView:
    """The campaign of this name or id.

    Raises:
        PreflabError: no campaign has it, or several have this name.
    """
    from preflab.labelling.campaigns import list_campaigns

    views = list_campaigns(store)
    matching = [view for view in views if name in (view.campaign.id, view.campaign.name)]
    if len(matching) == 1:
        return matching[0]
    near = nearest(name, [view.campaign.name for view in views])
    if matching:
        ids = ", ".join(view.campaign.id for view in matching)
        raise PreflabError(
            f"{len(matching)} campaigns are called {name!r}", f"one of the ids {ids}", "name it by its id"
        )
    raise PreflabError(
        f"there is no campaign {name!r}",
        f"near it: {near}" if near else "the name or id of a campaign",
        "`preflab campaign list` shows them",
    )


def read_instructions(path: Path) -> str:
    """Read a file of instructions."""
    check_regular(path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PreflabError(
            f"{path}: {reason}", "a Markdown file in UTF-8", "correct the path, or leave it out"
        ) from error


def parse_criteria(words: Sequence[str]) -> dict[str, Any]:
    """Campaign options from --criterion: `kind:rude:warm` is the criterion `kind` with labels for both ends."""
    names, ends = [], {}
    for word in words:
        name, *both = word.split(":")
        if not name or len(both) not in (0, 2):
            raise PreflabError(
                f"--criterion {word}", "NAME, or NAME:LOW:HIGH", "for example --criterion kind:rude:warm"
            )
        names.append(name)
        if both:
            ends[name] = both
    return {"criteria": names, "scale_ends": ends} if names else {}


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """Campaign options from KEY=VALUE words: `overlap=5` → {"overlap": 5}; the value is read as YAML."""
    from preflab.labelling.options import CampaignOptions
    from preflab.yaml_files import parse

    changes, known = {}, list(CampaignOptions.model_fields)
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise PreflabError(cut(word), "KEY=VALUE", "for example overlap=5")
        if key not in known:
            near = nearest(key, known)
            raise PreflabError(f"there is no option `{cut(key)}`", f"near it: {near}" if near else ", ".join(known))
        changes[key] = parse(value, cut(word))
    return changes


def read_rows(file: Path, options: CampaignOptions, to_stored: Callable[[str], str] = str) -> Uploaded:
    """The prompts and completions of a file; `to_stored` maps a completion's text to the text that is stored."""
    from preflab.labelling.upload import groups_of_rows
    from preflab.store.formats.row_reading import numbered_rows, unit_of
    from preflab.ways.registry import WAYS

    least = WAYS[options.way].least
    return groups_of_rows(numbered_rows(file), str(file), unit_of(file), to_stored, least, options.content)


def store_groups(store: Workspace, file: Path, read: Uploaded, options: CampaignOptions) -> list[tuple[str, ...]]:
    """Store the rows that `read_rows` read and copy their images; returns the completion ids judged together."""
    from preflab.labelling.tasks import task_groups
    from preflab.store.images import image_named

    if options.content == "image":
        read = read_rows(file, options, partial(image_named, store.path, file.parent))
    store.put([*read.prompts, *read.completions])
    return task_groups(options.way, read.groups)


def find_groups(store: Workspace, source: str, options: CampaignOptions) -> list[tuple[str, ...]]:
    """Completion ids of the workspace judged together; for side-by-side comparison, every pair of a prompt."""
    from preflab.labelling.completion_sources import groups_of_source
    from preflab.labelling.tasks import task_groups

    return task_groups(options.way, groups_of_source(store, source))
