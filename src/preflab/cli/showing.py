"""`preflab init --show ppo`: every setting with its default, its meaning and where the default comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

from preflab.errors import PreflabError, nearest


def topics() -> dict[str, Any]:
    """What can be shown: the stage kinds and the sections of the recipe."""
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
    """The settings of a topic, nested ones by dotted path: setting, default, required, meaning, source.

    Raises:
        PreflabError: no such topic.
    """
    known = topics()
    if topic not in known:
        near, choice = nearest(topic, list(known)), f"all, or one of {', '.join(known)}"
        raise PreflabError(
            f"init --show {topic}",
            f"near it: {near}" if near else choice,
            "mend the name",
        )
    return [_row(name, field, default) for name, field, default in _fields(known[topic], "", None)]


def text_of(topic: str) -> Iterator[str]:
    """The same for people, line by line."""
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
        found = list(_settings_in(field.annotation))
        inner = found[0] if found else None
        if inner is None or not inner.model_fields or inner.__name__ == "StageSettings":
            yield f"{prefix}{name}", field, value
        elif "tuple" in str(field.annotation) or "dict" in str(field.annotation):
            yield f"{prefix}{name}", field, value
            for member in found:  # several where each entry says its kind
                of = f"kind: {member.model_fields['kind'].default}" if len(found) > 1 else ""
                yield from _fields(member, f"{prefix}{name}[{of}].", None)
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
    """A default as one would write it in the recipe."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return json.dumps([_named(each) for each in value])
    return json.dumps(value, default=str)


def _named(value: Any) -> Any:
    """An entry of a list; settings as the keys that were given, their kind first."""
    from preflab.settings.base import Settings

    if not isinstance(value, Settings):
        return value
    kind = {"kind": type(value).model_fields["kind"].default} if "kind" in type(value).model_fields else {}
    return kind | value.model_dump(mode="json", exclude_unset=True)
