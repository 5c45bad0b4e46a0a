"""Writes docs/reference/ from the code, so that no table of settings, records, metrics or commands can go stale.

python docs/generate.py           writes the pages
python docs/generate.py --check   writes nothing; exits with 1 if a page differs from the code
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).resolve().parent / "reference"
LOSSES_PAGE = "../algorithms/dpo.md"
REWARDS_PAGE = "../how-to/reward-function.md"
DETOX_PAGE, DETOX_NOTEBOOK = "../learn/detox-lab.md", "../learn/detox-lab.ipynb"
SIMULATOR = "../simulator.html"
LESSONS = "../learn/lessons.md"
NOTE = "<!-- Written by docs/generate.py; change the code, then run `make docs`. -->\n"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def first_sentence(text: str | None) -> str:
    """The first paragraph of a docstring on one line."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


# Settings


def settings_page() -> str:
    """Every settings class: key, default, meaning, where the default comes from."""
    from preflab.settings.recipe import STAGE_SETTINGS, RecipeSettings

    stages = list(STAGE_SETTINGS.values())
    parts = [
        "# Settings\n",
        NOTE,
        "A recipe is one YAML file; unknown keys are refused, and `None` is written `null`.\n",
    ]
    for model in _with_nested([RecipeSettings, *stages]):
        parts += [f"## {model.__name__}\n", first_sentence(model.__doc__) + "\n"]
        rows = [_setting_row(name, field) for name, field in model.model_fields.items()]
        parts.append(table(("key", "default", "meaning", "where the default comes from"), rows))
    return "\n".join(parts)


def _with_nested(models: list[Any]) -> list[Any]:
    """The models in order, each followed by the settings classes of its fields, without repetition."""
    from preflab.settings.base import Settings

    found: dict[Any, None] = {}

    def visit(model: Any) -> None:
        if model in found:
            return
        found[model] = None
        for field in model.model_fields.values():
            for part in _types_in(field.annotation):
                if isinstance(part, type) and issubclass(part, Settings) and part.model_fields.keys() != {"seed"}:
                    visit(part)

    for model in models:
        visit(model)
    return list(found)


def _types_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _types_in(part)


def _setting_row(name: str, field: Any) -> tuple[str, str, str, str]:
    from preflab.settings.base import Settings

    if field.is_required():
        default = "required"
    elif isinstance(field.default, Settings):
        changed = {key: getattr(field.default, key) for key in sorted(field.default.model_fields_set)}
        default = f"{type(field.default).__name__}" + (f" with {changed}" if changed else "")
    else:
        default = f"`{field.default!r}`"
    extra = field.json_schema_extra or {}
    return f"`{name}`", default, field.description or "", str(extra.get("source", ""))


# Records


def records_page() -> str:
    """The record types, read from the source of preflab.records, then the answers of labelers."""
    from preflab import records
    from preflab.ways.registry import WAYS

    answers = dict.fromkeys(way.answer for way in WAYS.values())
    sources = [inspect.getsource(records), *(inspect.getsource(answer) for answer in answers)]
    parts = ["# Records\n", NOTE, first_sentence(records.__doc__) + "\n"]
    for node in (node for source in sources for node in ast.parse(source).body):
        if isinstance(node, ast.ClassDef):
            parts += [f"## {node.name}\n", inspect.cleandoc(ast.get_docstring(node) or "") + "\n"]
            rows = list(_record_rows(node))
            if rows:
                parts.append(table(("field", "type", "meaning"), rows))
    return "\n".join(parts)


def _record_rows(node: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            meaning = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                meaning = first_sentence(str(following.value.value))
            yield f"`{ast.unparse(statement.target)}`", f"`{ast.unparse(statement.annotation)}`", meaning


# Metrics


def metrics_page() -> str:
    """Every name that can appear in a run's metrics.jsonl."""
    from preflab.training import metrics

    rows = [
        (f"`{name}`", entry.meaning, entry.unit, entry.healthy, entry.trouble)
        for name, entry in metrics.GLOSSARY.items()
    ]
    head = ("name", "meaning", "unit", "healthy", "trouble")
    return "\n".join(["# Metrics\n", NOTE, first_sentence(metrics.__doc__) + "\n", table(head, rows)])


# Commands


def commands_page() -> str:
    """Every command with its options, read from the command-line parser."""
    from typer.main import get_command

    from preflab.cli import app

    parts = ["# Commands\n", NOTE, "`--debug` on any command shows the full traceback of an error.\n"]
    for name, command in _leaves(get_command(app), "preflab"):
        parts += [f"## {name}\n", inspect.cleandoc(command.help or "") + "\n"]
        rows = [_option_row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
        parts.append(table(("argument or option", "default", "meaning"), rows))
    return "\n".join(parts)


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Full name and command of every command in a group and its subgroups."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word, other in inner.items():
        yield from _leaves(other, f"{name} {word}")


def _option_row(parameter: Any) -> tuple[str, str, str]:
    option = parameter.param_type_name == "option"
    names = ", ".join(f"`{name}`" for name in parameter.opts) if option else f"`{parameter.name.upper()}`"
    if option and parameter.metavar:
        names += f" {parameter.metavar}"
    default = "required" if parameter.required else parameter.default
    nothing = default is None or default is False or default == ()
    shown = "" if nothing else (default if default == "required" else f"`{default}`")
    return names, str(shown), parameter.help or ""


# The API


def api_page() -> str:
    """Every endpoint of the JSON API, then every schema of its requests and responses."""
    from preflab.web.api.docs import name_of, operations
    from preflab.web.app import api_schema

    schema = api_schema()
    rows = [(f"`{each.method} {each.path}`", each.summary, each.takes, each.gives) for each in operations(schema)]
    parts = [
        "# The API\n",
        NOTE,
        "The API takes and returns JSON under `/api/v1`, with a token from *your account* in `Authorization: Bearer …`."
        ' An error has a status of 400 or above and the body `{"error": {"found": …, "expected": …, "do": …, "kind": '
        "…}}`. The same description is at `/api/v1/openapi.json` for programs and at `/api/docs` for people.\n",
        table(("address", "what it does", "takes", "gives"), rows),
    ]
    for name, shape in schema["components"]["schemas"].items():
        if name not in ("HTTPValidationError", "ValidationError") and "properties" in shape:
            parts += [f"## {name}\n", first_sentence(shape.get("description")) + "\n"]
            fields = [
                (
                    f"`{field}`",
                    name_of(about),
                    "yes" if field in shape.get("required", []) else "",
                    about.get("description", ""),
                )
                for field, about in shape["properties"].items()
            ]
            parts.append(table(("field", "kind", "required", "meaning"), fields))
    return "\n".join(parts)


# Formats


def formats_page() -> str:
    """The page of formats: its tables come from the code of the formats, its other text is written by hand."""
    return _with_tables("formats.md", "formats", _format_tables())


def _with_tables(name: str, what: str, tables: str) -> str:
    """A hand-written page in which the text between `<!-- what: begin -->` and `<!-- what: end -->` is replaced."""
    return _replaced(_read(name), what, tables)


def _replaced(page: str, what: str, tables: str) -> str:
    begin, end = f"<!-- {what}: begin -->\n", f"<!-- {what}: end -->\n"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return "".join([before, begin, tables, end, after])


def _format_tables() -> str:
    from preflab.store.exports import EXPORTS
    from preflab.store.formats import FORMATS
    from preflab.store.formats.layouts import LAYOUTS
    from preflab.store.formats.refused import REFUSED

    names = [*FORMATS, *(name for name in EXPORTS if name not in FORMATS)]
    formats = [_format_row(name, FORMATS.get(name), EXPORTS.get(name)) for name in names]
    layouts = [(each.name, f"`{each.format}`", each.columns, each.becomes) for each in LAYOUTS]
    refused = [(each.name, each.columns, each.reason.expected) for each in REFUSED]
    return "\n".join(
        [
            NOTE,
            table(("format", "columns", "read", "written", "becomes"), formats),
            "## Layouts of data sets and tools\n",
            table(("layout", "read as", "columns", "becomes"), layouts),
            "## Known, and not read\n",
            table(("layout", "columns", "why"), refused),
            "",
        ]
    )


def _format_row(name: str, read: Any, written: Any) -> tuple[str, str, str, str, str]:
    columns = read.columns if read else written.about
    becomes = read.becomes if read else "–"
    reads = "yes" if read else f"as `{written.read_as}`"
    return f"`{name}`", columns, reads, written.holds if written else "–", becomes


# Records of runs


def rollouts_page() -> str:
    """The page of the records of runs: its tables of columns come from the code, its other text is written by hand."""
    from preflab.training.record_columns import PAIRS, ROLLOUTS

    page = _with_tables("rollouts.md", "rollouts", _column_table(ROLLOUTS))
    return _replaced(page, "pairs", _column_table(PAIRS))


def _column_table(columns: dict[str, Any]) -> str:
    notes = {
        "always": "",
        "ppo": " (PPO only)",
        "alternatives": " (with `num_kept_alternatives`)",
        "environment": " (with an `environment`)",
        "dpo": " (`dpo` only)",
    }
    rows = [
        (f"`{name}`", f"`{_type_name(column.type)}`", column.unit, column.meaning + notes[column.where])
        for name, column in columns.items()
    ]
    return "\n".join([NOTE, table(("column", "type", "unit", "meaning"), rows), ""])


def _type_name(kind: Any) -> str:
    """A type as readers of Parquet write it: `float32`, `list<int32>`."""
    inner = getattr(kind, "value_type", None)
    return {"float": "float32"}.get(str(kind), str(kind)) if inner is None else f"list<{_type_name(inner)}>"


# Preference losses


def losses_page() -> str:
    """The page of DPO: its table of losses comes from their rows, its other text is written by hand."""
    from preflab.settings.preference_losses import LOSSES

    head = ("kind", "reward of a completion", "loss", "reference", "ends at")
    return _with_tables(
        LOSSES_PAGE, "losses", "\n".join([NOTE, table(head, [_loss_row(*row) for row in LOSSES.items()]), ""])
    )


def _loss_row(kind: str, loss: Any) -> tuple[str, str, str, str, str]:
    from preflab.maths.dpo import IMPLICIT

    row = loss.row
    reward = f"{row.scale} · " * (row.scale is not None) + IMPLICIT[row.reward].formula
    return f"`{kind}`", reward, row.formula, "yes" if row.reads_reference else "no", row.ends_at


# Rewards


def rewards_page() -> str:
    """The page of reward functions: its table comes from the library, its other text is written by hand."""
    from preflab.rewards import library

    functions = {name: function for name, function in vars(library).items() if inspect.isfunction(function)}
    rows = [_reward_row(name, function) for name, function in functions.items() if _is_reward(function, library)]
    return _with_tables(
        REWARDS_PAGE, "rewards", "\n".join([NOTE, table(("reward", "what it gives", "columns"), rows), ""])
    )


def _is_reward(function: Any, library: Any) -> bool:
    is_public = function.__module__ == library.__name__ and not function.__name__.startswith("_")
    return is_public and inspect.get_annotations(function)["return"] == "float"


def _reward_row(name: str, function: Any) -> tuple[str, str, str]:
    columns = [f"`{each}`" for each in inspect.signature(function).parameters if each not in ("prompt", "completion")]
    return f"`{name}`", first_sentence(function.__doc__), ", ".join(columns)


# The tree


def tree_page() -> str:
    """Every file of the package with the first sentence of its docstring, folder by folder."""
    package = REFERENCE.parents[1] / "src" / "preflab"
    parts = [
        "# The tree\n",
        NOTE,
        "Every module with the first sentence of its docstring. The README lists the folders in reading order.\n",
    ]
    folders = sorted(
        {file.parent for file in package.rglob("*.py")}, key=lambda folder: folder.relative_to(package).parts
    )
    for folder in folders:
        if "migrations" in folder.parts:
            continue
        name = "/".join(("src/preflab", *folder.relative_to(package).parts))
        modules = [file for file in sorted(folder.glob("*.py")) if file.name != "__init__.py"]
        parts.append(f"## {name}/\n")
        parts.append(_first_line(folder / "__init__.py") + "\n")
        if modules:
            parts.append(table(("file", "what it is for"), [(f"`{m.name}`", _first_line(m)) for m in modules]))
    return "\n".join(parts)


def _first_line(file: Path) -> str:
    return first_sentence(ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))))


# Chat templates


def chat_templates_page() -> str:
    """Families of chat templates, and how preflab handles each."""
    sys.path.append(str(Path(__file__).resolve().parent))
    from template_table import COLUMNS, HEAD, rows

    return "\n".join(["# Chat templates\n", NOTE, HEAD + table(COLUMNS, rows())])


# Memory


def memory_page() -> str:
    """Which models fit into which memory."""
    sys.path.append(str(Path(__file__).resolve().parent))
    from memory_table import page_tables

    return "\n".join(["# Memory\n", NOTE, page_tables()])


# Notebooks


def detox_notebook() -> str:
    """The notebook with the cells of the page about the summarisation lab."""
    sys.path.append(str(Path(__file__).resolve().parent))
    from notebook import notebook

    return notebook((REFERENCE / DETOX_PAGE).read_text(encoding="utf-8"))


def lesson_pages() -> dict[str, Callable[[], str]]:
    """Path → function of the page and the notebook of every lesson, and of their list."""
    from preflab.lessons.page import lessons

    sys.path.append(str(Path(__file__).resolve().parent))
    from notebook import notebook

    pages: dict[str, Callable[[], str]] = {LESSONS: lessons_page}
    for each in lessons():
        heading, _, rest = each.page.partition("\n")
        note = NOTE.replace("change the code", f"change src/preflab/lessons/pages/{each.slug}.md")
        leads = (
            f"`.venv/bin/preflab learn {each.number}` takes this lesson; it is also a [notebook]({each.slug}.ipynb). "
            "[All lessons](lessons.md).\n"
        )
        page = f"{heading}\n\n{note}\n{leads}{rest}"
        pages[f"../learn/{each.slug}.md"] = partial(str, page)
        pages[f"../learn/{each.slug}.ipynb"] = partial(notebook, each.page)
    return pages


def lessons_page() -> str:
    """The list of lessons with the questions that they answer: its other text is written by hand."""
    from preflab.lessons.page import lessons

    rows = [(str(each.number), f"[{each.title}]({each.slug}.md)", _idea(each)) for each in lessons()]
    page = _replaced(_read(LESSONS), "lessons", table(("", "lesson", "its idea"), rows) + "\n")
    questions = "".join(f"{each.number}. {' '.join(each.section('Question').split())}\n" for each in lessons())
    return _replaced(page, "questions", questions)


def _idea(lesson: Any) -> str:
    """The first sentence of the section "The idea"."""
    return " ".join(lesson.section("The idea").split("\n\n")[0].split()).partition(". ")[0].rstrip(".") + "."


def simulator() -> str:
    """The simulator of the demo that docs/ holds, as this version makes it from the data within it.

    To take the data of a new demo, copy its simulator.html over the one in docs/ first.
    """
    from preflab.explain.simulator_page import data_of_page, simulator_page

    return simulator_page(data_of_page((REFERENCE / SIMULATOR).read_text(encoding="utf-8")))


# Python

IN_PYTHON = ("load", "sample", "judge", "train", "train_reward", "evaluate")
"""The functions in the order in which they are used; the classes follow."""


def python_page() -> str:
    """Every function and class of `import preflab` with its complete docstring."""
    import preflab
    from preflab import library

    parts = ["# Python\n", NOTE, inspect.cleandoc(library.__doc__ or "") + "\n"]
    for name in (*IN_PYTHON, *sorted(set(preflab.__all__) - set(IN_PYTHON))):
        thing = getattr(preflab, name)
        parts.append(f"## {name}\n")
        if inspect.isfunction(thing):
            parts.append(f"```python\n{_signature(name, thing)}\n```\n")
            parts.append(_docstring(thing))
            continue
        parts.append(inspect.cleandoc(thing.__doc__ or "") + "\n")
        (node,) = ast.parse(inspect.getsource(thing)).body
        parts.append(table(("field", "type", "meaning"), [*_record_rows(node), *_property_rows(node)]))  # type: ignore[arg-type]
    return "\n".join(parts)


def _signature(name: str, function: Any) -> str:
    """The signature of a function as written in the source."""
    lines = inspect.getsource(function).splitlines()
    last = next(place for place, line in enumerate(lines) if line.endswith(":"))
    return "\n".join(lines[: last + 1]).removesuffix(":").replace(f"def {name}", f"preflab.{name}", 1)


SECTIONS = {"Args:": "Arguments", "Returns:": "Returns", "Raises:": "Raises"}


def _docstring(function: Any) -> str:
    """A docstring as Markdown, its sections written as lists."""
    lines, section = [], False
    for line in inspect.cleandoc(function.__doc__ or "").splitlines():
        if line in SECTIONS:
            lines += [f"**{SECTIONS[line]}**", ""]
            section = True
        elif section and line.startswith("    ") and not line.startswith("     "):
            name, _, meaning = line.strip().partition(": ")
            lines.append(f"- `{name}`: {meaning}")
        else:
            lines.append(f"  {line.strip()}" if section and line.strip() else line)
    return "\n".join(lines) + "\n"


def _property_rows(node: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.decorator_list and not each.name.startswith("_"):
            returns = ast.unparse(each.returns) if each.returns else ""
            yield f"`{each.name}`", f"`{returns}`", first_sentence(ast.get_docstring(each))


# Glossary


def glossary_page() -> str:
    """Terms, then ways of judging, kinds of stages and losses, each with the first sentence of its docstring."""
    sys.path.append(str(Path(__file__).resolve().parent))
    from glossary import sections

    parts = ["# Glossary\n", NOTE, "Metrics of a run are in [metrics](metrics.md), records in [records](records.md).\n"]
    for heading, rows in sections().items():
        parts += [f"## {heading}\n", table(("name", "meaning"), rows)]
    return "\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "settings.md": settings_page,
    "records.md": records_page,
    "metrics.md": metrics_page,
    "api.md": api_page,
    "formats.md": formats_page,
    "rollouts.md": rollouts_page,
    "tree.md": tree_page,
    "chat-templates.md": chat_templates_page,
    LOSSES_PAGE: losses_page,
    REWARDS_PAGE: rewards_page,
    "memory.md": memory_page,
    "python.md": python_page,
    "glossary.md": glossary_page,
    DETOX_NOTEBOOK: detox_notebook,
    SIMULATOR: simulator,
    **lesson_pages(),
}
"""Path relative to docs/reference → the function that makes the page."""


def stale() -> list[str]:
    """Names of pages that are missing or out of date, and of generated pages that no function writes any more."""
    written = {page.name for page in REFERENCE.glob("*.md") if NOTE in page.read_text(encoding="utf-8")}
    differing = {name for name, make in PAGES.items() if not (REFERENCE / name).is_file() or _read(name) != make()}
    return sorted(differing | (written - PAGES.keys()))


def _read(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def main() -> int:
    """Write the pages, or with --check name the stale ones."""
    if "--check" in sys.argv[1:]:
        for name in stale():
            page = (REFERENCE / name).resolve().relative_to(REFERENCE.parent)
            print(f"docs/{page} is out of date: run `make docs`")
        return 1 if stale() else 0
    REFERENCE.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make(), encoding="utf-8")
    from memory_table import write_readme  # its folder was added for the page of the same table

    write_readme()
    return 0


if __name__ == "__main__":
    sys.exit(main())
