"""`preflab init --show ppo`: list every setting with its default, its meaning and the source of the default."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

from preflab.errors import PreflabError, nearest


def topics() -> dict[str, Any]:
    """The topics that can be shown: stage kinds and sections of the recipe, with their settings classes."""
    from preflab.settings.feedback import PanelSettings
    from preflab.settings.recipe import STAGE_SETTINGS, DataSettings, DeviceSettings, RecipeSettings, RoundsSettings

    sections = {
        "recipe": RecipeSettings,
        "data": DataSettings,
        "device": DeviceSettings,
        "labelers": PanelSettings,
        "rounds": RoundsSettings,
    }
    return {**STAGE_SETTINGS, **sections}


def settings_of(topic: str) -> list[dict[str, Any]]:
    """The settings of a topic, nested ones by dotted path, with the keys setting, default, required, meaning, source.

    Raises:
        PreflabError: there is no such topic.
    """
    known = topics()
    if topic not in known:
        near, choice = nearest(topic, list(known)), f"all, or one of {', '.join(known)}"
        raise PreflabError(
            f"init --show {topic}",
            f"near it: {near}" if near else choice,
            "correct the name",
        )
    return [_row(name, field, default) for name, field, default in _fields(known[topic], "", None)]


def text_of(topic: str) -> Iterator[str]:
    """The settings of a topic as lines of text, for people."""
    yield f"{topic}: {' '.join((topics()[topic].__doc__ or '').split())}"
    for row in settings_of(topic):
        yield f"\n  {row['setting']}: {'(required)' if row['required'] else row['default']}"
        yield f"      {row['meaning']}"
        if not row["required"]:
            yield f"      default from: {row['source']}"


def _fields(model: Any, prefix: str, default: Any) -> Iterator[tuple[str, Any, Any]]:
    """(dotted path, field, default) of every setting; a section's own default wins over its class's."""
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        value = getattr(default, name) if default is not None else field.default
        classes = list(_settings_in(field.annotation))
        inner = classes[0] if classes else None
        if inner is None or not inner.model_fields or inner.__name__ == "StageSettings":
            yield f"{prefix}{name}", field, value
        elif "tuple" in str(field.annotation) or "dict" in str(field.annotation):
            yield f"{prefix}{name}", field, value
            for member in classes:  # more than one if the entries name their kind
                which = f"kind: {member.model_fields['kind'].default}" if len(classes) > 1 else ""
                yield from _fields(member, f"{prefix}{name}[{which}].", None)
        else:
            if value is None or (default is None and field.is_required()):
                yield f"{prefix}{name}", field, value
            yield from _fields(inner, f"{prefix}{name}.", value if isinstance(value, inner) else None)


def _row(name: str, field: Any, default: Any) -> dict[str, Any]:
    from pydantic_core import PydanticUndefined

    required = default is PydanticUndefined
    return {
        "setting": name,
        "default": None if required else _yaml(default),
        "required": required,
        "meaning": field.description or "",
        "source": (field.json_schema_extra or {}).get("source", ""),
    }


def _settings_in(annotation: Any) -> Iterator[Any]:
    from preflab.settings.base import Settings

    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from _settings_in(inner)


def _yaml(value: Any) -> str:
    """A default as it is written in a recipe."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return json.dumps([_plain_entry(each) for each in value])
    return json.dumps(value, default=str)


def _plain_entry(value: Any) -> Any:
    """An entry of a list as JSON: of settings the keys that were set, `kind` first."""
    from preflab.settings.base import Settings

    if not isinstance(value, Settings):
        return value
    kind = {"kind": type(value).model_fields["kind"].default} if "kind" in type(value).model_fields else {}
    return kind | value.model_dump(mode="json", exclude_unset=True)
