"""Turn a plain mapping into settings, and pydantic's errors into errors of three short lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from preflab.errors import PreflabError, cut, nearest
from preflab.settings.base import Settings, StageSettings
from preflab.settings.recipe import STAGE_SETTINGS, RecipeSettings
from preflab.yaml_files import kind

S = TypeVar("S", bound=Settings)
Location = tuple[str | int, ...]
MAX_NAME = 200
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*$")


def validate_recipe(raw: dict[str, Any], path: Path) -> RecipeSettings:
    """The settings of a whole recipe; each stage is validated by the class of its kind.

    Raises:
        PreflabError: the first error found, with file and setting.
    """
    stages = raw.get("stages")
    if not isinstance(stages, dict):
        return checked(RecipeSettings, raw, path, ())  # raises the error for `stages`
    _check_names(raw, path)
    typed = {name: _validate_stage(name, stage, path) for name, stage in stages.items()}
    placeholder: dict[str, Any] = {name: {} for name in stages}
    whole = checked(RecipeSettings, {**raw, "stages": placeholder}, path, ())
    return whole.model_copy(update={"stages": typed})


def _check_names(raw: dict[str, Any], path: Path) -> None:
    for section in ("data", "labelers", "stages"):
        for name in raw[section] if isinstance(raw.get(section), dict) else ():
            if len(name) > MAX_NAME:
                raise PreflabError(
                    f"{path}, {section}: the name `{cut(name)}` has {len(name):,} characters",
                    f"at most {MAX_NAME}, since folders get this name",
                    "choose a shorter name",
                )
            if not NAME.match(name):
                raise PreflabError(
                    f"{path}, {section}: the name `{cut(name)}`", "letters, digits, - and _", "choose another name"
                )


def _validate_stage(name: str, raw: Any, path: Path) -> StageSettings:
    where = f"{path}, stages.{name}"
    if not isinstance(raw, dict):
        raise PreflabError(f"{where}: {kind(raw)}", "a mapping with `kind` and its settings", "see `preflab init`")
    known = list(STAGE_SETTINGS)
    if "kind" not in raw:
        raise PreflabError(f"{where}.kind is missing", f"one of {', '.join(known)}", f"add `kind:` to {name}")
    stage_kind = raw["kind"]
    if stage_kind not in known:
        near = nearest(str(stage_kind), known)
        raise PreflabError(
            f"{where}.kind: {kind(stage_kind)}",
            f"known kinds near it: {near}" if near else f"one of {', '.join(known)}",
            "`preflab init --show all` lists them all",
        )
    return checked(STAGE_SETTINGS[stage_kind], raw, path, ("stages", name))


def checked(model: type[S], raw: dict[str, Any], path: Path, at: Location) -> S:
    """A settings object from a mapping; `at` is the mapping's location in the file, for errors.

    Raises:
        PreflabError: the mapping does not fit the settings.
    """
    try:
        return model.model_validate_json(json.dumps(raw), strict=True)
    except ValidationError as error:
        raise _as_preflab_error(model, raw, error, path, at) from None


def _as_preflab_error(
    model: type[Settings], raw: dict[str, Any], error: ValidationError, path: Path, at: Location
) -> Exception:
    """Pydantic's first error as a `PreflabError`; an unknown key goes first, as it may be a misspelt required one."""
    errors = error.errors(include_url=False)
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    where = f"{path}, {_dotted(at + _plain(first['loc'], raw))}"
    show = f"`preflab init --show {_topic(model, at)}` lists them all with their defaults"
    if first["type"] == "extra_forbidden":
        word, parent = str(first["loc"][-1]), model_at(model, first["loc"][:-1])
        known = list(parent.model_fields)
        near = nearest(word, known)
        return PreflabError(
            f"{where}: unknown setting",
            f"known settings near it: {near}" if near else f"known settings: {', '.join(known)}",
            show,
        )
    if first["type"] == "missing":
        field = model_at(model, first["loc"][:-1]).model_fields[str(first["loc"][-1])]
        return PreflabError(f"{where} is missing", field.description or "it has no default", show)
    if first["type"] == "value_error":  # raised by a validator of the settings, with a text for the user
        return PreflabError(f"{where}: {str(first['msg']).removeprefix('Value error, ')}", "settings that agree", show)
    expected = " or ".join(dict.fromkeys(_expected(e) for e in errors if _same_place(e, first, raw)))
    return PreflabError(
        f"{where}: {kind(first['input'])}", f"expected {expected}", _example(model, first["loc"], raw) + show
    )


def _example(model: type[Settings], loc: Location, raw: Any) -> str:
    """A hint how to write a setting, with its default; "" if there is no plain default or it is inside a list."""
    name = str(_plain(loc, raw)[-1])
    field = model_at(model, loc[:-1]).model_fields.get(name)
    default = field.default if field else None
    if isinstance(default, bool) or not isinstance(default, (int, float, str)) or default == "":
        shown = str(default).lower() if isinstance(default, bool) else ""
    else:
        shown = str(default)
    return f"write `{name}: {shown}` (the default) or another value; " if field and shown else ""


def _same_place(one: Any, other: Any, raw: Any) -> bool:
    return _plain(one["loc"], raw) == _plain(other["loc"], raw)


def _plain(loc: Location, raw: Any) -> Location:
    """A location without the steps that pydantic adds for the members of a union."""
    here, kept = raw, []
    for step in loc:
        inside = (isinstance(here, dict) and step in here) or (isinstance(here, list) and isinstance(step, int))
        if inside:
            here = here[step]
        elif step != loc[-1] or (not isinstance(here, dict)):
            continue
        kept.append(step)
    return tuple(kept)


def _dotted(loc: Location) -> str:
    return ".".join(cut(str(step)) for step in loc)


def _topic(model: type[Settings], at: Location) -> str:
    return (_kind_of(model) if at else None) or "recipe"


def _expected(error: Any) -> str:
    words = {
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "bool_type": "true or false",
        "string_type": "text",
        "tuple_type": "a list",
        "dict_type": "a mapping",
        "model_type": "a mapping",
        "model_attributes_type": "a mapping",
    }
    limit = {
        "greater_than": "a number above {gt}",
        "greater_than_equal": "a number from {ge}",
        "less_than": "a number below {lt}",
        "less_than_equal": "a number up to {le}",
        "too_short": "at least {min_length} of them",
        "literal_error": "{expected}",
    }
    if error["type"] in words:
        return words[error["type"]]
    if error["type"] in limit:
        return limit[error["type"]].format(**error["ctx"])
    return str(error["msg"])


def model_at(model: type[Settings], loc: Location) -> type[Settings]:
    """The settings class at a location below `model`, through unions, lists and mappings."""
    here, annotation = model, None
    for step in loc:
        if isinstance(step, str) and step in here.model_fields:
            annotation = here.model_fields[step].annotation
            here = next(_settings_in(annotation), here)
        elif isinstance(step, str):  # the `kind` that selects a member of a union
            here = next((member for member in _settings_in(annotation) if _kind_of(member) == step), here)
    return here


def _settings_in(annotation: Any) -> Iterator[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from _settings_in(inner)


def _kind_of(model: type[Settings]) -> str | None:
    field = model.model_fields.get("kind")
    return str(field.default) if field else None
