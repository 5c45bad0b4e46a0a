"""The rules of the house, read off the source: who may import whom, how long a file may be, what may not be written."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

from source_tree import PACKAGE, imports, module_name, modules, room, tracked_files

# Dependencies point one way. Each line may import itself and every line above it, as far as its own entry says.
LEAVES = {
    "errors", "messages", "ways", "records", "settings", "files", "storable", "yaml_files", "seeds", "progress",
    "words", "maths", "statistics", "user_code", "clips",
}  # fmt: skip
FOUNDATION = {"conversations", "models", "training"}
ROOMS = {
    "store", "sampling", "feedback", "labelers", "constitution", "rewards", "policy", "evaluation", "explain", "report",
    "environments", "games", "demo",
}  # fmt: skip
MAY_IMPORT = {
    "preflab": {"library"},  # imported when one of its names is used
    "errors": set(),
    "maths": set(),
    "messages": set(),
    "ways": {"errors", "words"},
    "records": {"errors", "messages", "ways"},
    "settings": {"errors", "records", "storable", "ways"},
    "files": {"errors"},
    "storable": set(),
    "yaml_files": {"errors", "files", "storable"},
    "seeds": set(),
    "progress": {"errors", "words"},
    "words": set(),
    "user_code": {"errors"},
    "clips": {"errors", "words"},
    "serving": {"errors"},
    "statistics": {"errors", "words"},
    "recipe": {"errors", "seeds", "settings", "words", "yaml_files"},
    **dict.fromkeys(FOUNDATION, LEAVES | FOUNDATION),
    **dict.fromkeys(ROOMS, LEAVES | FOUNDATION),
    "explain": LEAVES | FOUNDATION | {"evaluation", "games", "rewards", "sampling"},
    "games": LEAVES | FOUNDATION | {"environments", "policy", "rewards", "sampling"},
    "environments": LEAVES | FOUNDATION | {"demo"},
    "report": LEAVES | FOUNDATION | {"explain"},
    "labelling": LEAVES | {"store", "feedback"},
    "stages": LEAVES | FOUNDATION | ROOMS | {"labelling", "memory", "recipe"},
    "memory": LEAVES | FOUNDATION | {"sampling"},
    "starter": LEAVES | FOUNDATION | ROOMS | {"memory", "recipe", "stages"},
    "pipeline": LEAVES | FOUNDATION | ROOMS | {"labelling", "recipe", "stages"},
    "library": LEAVES | FOUNDATION | ROOMS | {"recipe", "stages", "pipeline"},
    "lessons": LEAVES | FOUNDATION | ROOMS | {"library", "recipe", "stages", "pipeline"},
}
ANYTHING = {"cli", "web", "__main__"}  # the outer edge

MODULES = modules()


def ours(module: str) -> set[str]:
    """The preflab modules a module imports, wherever in the file."""
    return {name for name in imports(MODULES[module], module) if name == "preflab" or name.startswith("preflab.")}


def test_dependencies_point_one_way() -> None:
    wrong = []
    for module in MODULES:
        here = room(module)
        if here in ANYTHING:
            continue
        assert here in MAY_IMPORT, f"{module}: say in tests/docs/test_structure.py what {here} may import"
        reached = {room(name) for name in ours(module)} - {here, "preflab"} - {"__version__"}
        wrong += [f"{module} imports {other}" for other in sorted(reached - MAY_IMPORT[here])]
    assert not wrong, f"against the direction of dependencies: {wrong}"


def test_no_import_cycles() -> None:
    graph = {}
    for module, tree in MODULES.items():
        names = set(imports(tree, module, at_import_time=True))
        parents = {name.rpartition(".")[0] for name in names}
        graph[module] = {name for name in names | parents if name in MODULES and not module.startswith(name + ".")}
        graph[module] -= {module, "preflab"}
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"imports go in a circle: {' → '.join([*path[path.index(module) :], module])}"
        if module in finished:
            return
        for other in sorted(graph[module]):
            visit(other, (*path, module))
        finished.add(module)

    for module in sorted(graph):
        visit(module, ())


def test_no_module_reaches_itself_by_any_import() -> None:
    """Imports within functions and for types count too: a circle that is hidden in a function is still one.

    The root does not count: rooms read its version, and it names the library's functions for type checkers.
    """
    graph = {module: {imported(name) for name in ours(module)} - {module, "", "preflab"} for module in MODULES}
    assert not (circles := in_circles(graph)), f"these import one another, directly or by others: {circles}"


def imported(name: str) -> str:
    """The module that a dotted name lies in: `preflab.maths.kl.k1` is in `preflab.maths.kl`; "" for none."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def in_circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The sets of two or more modules that reach one another (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in order:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == order[module]:
            at = stack.index(module)
            together = sorted(stack[at:])
            del stack[at:]
            if len(together) > 1:
                circles.append(together)

    for module in sorted(graph):
        if module not in order:
            visit(module)
    return circles


def test_import_cycles_are_found_in_an_example() -> None:
    """a ⇄ b is a circle, c → a is none, and d → e → f → d is one of three."""
    graph = {"a": {"b"}, "b": {"a"}, "c": {"a"}, "d": {"e"}, "e": {"f"}, "f": {"d"}}
    assert in_circles(graph) == [["a", "b"], ["d", "e", "f"]]


def test_no_two_files_are_called_judged() -> None:
    """Three rooms had a `judged.py` that did different things; each is now called what it does."""
    judged = [module for module in MODULES if module.rpartition(".")[2] == "judged"]
    assert len(judged) <= 1, f"call these what they do: {judged}"


LOADERS = {"preflab.models.loading.load_causal_lm", "preflab.models.loading.load_encoder"}


def test_models_are_opened_by_one_way_in() -> None:
    wrong = [module for module in MODULES if room(module) != "models" and LOADERS & ours(module)]
    assert not wrong, f"open models by models.language_model, so that another family needs no edit here: {wrong}"


def test_engines_are_made_by_one_function() -> None:
    engine = "preflab.sampling.engine.TransformersEngine"
    wrong = [module for module in MODULES if room(module) != "sampling" and engine in ours(module)]
    allowed = {"preflab.cli.models"}  # `preflab check` measures preflab's own engine, whatever a recipe names
    assert set(wrong) == allowed, f"make engines by sampling.engines.make_engine: {wrong}"


# Third-party packages a room may use, where that is limited at all.
THIRD_PARTY = {
    "maths": {"torch"},
    "errors": set(),
    "files": set(),
    "storable": set(),
    "seeds": set(),
    "messages": set(),
    "ways": set(),
    "records": set(),
    "settings": {"pydantic"},
    "recipe": {"pydantic"},
    "yaml_files": {"yaml"},
    "progress": {"rich"},
    "words": set(),
    "user_code": {"errors"},
    "clips": {"errors", "words"},
    "statistics": {"numpy", "scipy"},
    "feedback": {"numpy", "scipy"},
}


@pytest.mark.parametrize("place", sorted(THIRD_PARTY))
def test_third_party_imports_of_the_light_rooms(place: str) -> None:
    wrong = []
    for module, tree in MODULES.items():
        if room(module) == place:
            tops = {name.partition(".")[0] for name in imports(tree, module)}
            foreign = tops - set(sys.stdlib_module_names) - {"preflab"} - THIRD_PARTY[place]
            wrong += [f"{module} imports {name}" for name in sorted(foreign)]
    assert not wrong, f"{place} may import {sorted(THIRD_PARTY[place])} beside the standard library: {wrong}"


def test_source_files_stay_short() -> None:
    lengths = {module_name(file): len(file.read_text(encoding="utf-8").splitlines()) for file in PACKAGE.rglob("*.py")}
    long = {module: length for module, length in lengths.items() if length > 400}
    assert not long, f"more than 400 lines, so more than one concept: {long}"


def is_broad(node: ast.AST) -> bool:
    """`except:`, `except Exception`, `except BaseException`, alone or in a tuple, and suppress(Exception)."""
    broad = {"Exception", "BaseException"}
    if isinstance(node, ast.ExceptHandler):
        names = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        return any(name is None or ast.unparse(name) in broad for name in names)
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
        return any(ast.unparse(argument) in broad for argument in node.args)
    return False


def reraises(node: ast.AST) -> bool:
    """A handler that ends by raising hides nothing: it adds where it happened, or cleans up, and passes it on."""
    return isinstance(node, ast.ExceptHandler) and isinstance(node.body[-1], ast.Raise)


def test_no_exception_is_swallowed() -> None:
    wrong = [
        f"{module}, line {node.lineno}"
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if is_broad(node) and not reraises(node)
    ]
    assert not wrong, f"a broad except hides errors; name what can happen: {wrong}"


def test_nothing_is_left_unfinished() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|Not" + r"ImplementedError)\b")
    wrong = [
        f"{file.relative_to(PACKAGE)}, line {number}"
        for file in PACKAGE.rglob("*.py")
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert not wrong, f"finish these or leave them out: {wrong}"


def test_tracked_files_name_no_machine(repository: Path) -> None:
    folders = "|".join(["work", "root", "tmp", "home", "Users"])
    hosts = "|".join(["pypi" + r"\.org", "python" + r"hosted\.org", "registry" + r"\.npmjs", "download" + r"\.pytorch"])
    # Only where a path starts with it: the same word further down a path or an address is something else.
    forbidden = re.compile(rf"(?:(?<![\w./~-])/(?:{folders})/|{hosts})")
    wrong = []
    for file in tracked_files(repository):
        data = file.read_bytes()
        if b"\0" in data[:4096]:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if forbidden.search(line):
                wrong.append(f"{file.relative_to(repository)}, line {number}")
    assert not wrong, f"a path of somebody's machine or a registry's host: {wrong}"


def settings_models() -> list[type]:
    """Every settings class of preflab.settings."""
    import pkgutil

    package = importlib.import_module("preflab.settings")
    base = importlib.import_module("preflab.settings.base")
    found = {}
    for info in pkgutil.iter_modules(package.__path__, "preflab.settings."):
        for value in vars(importlib.import_module(info.name)).values():
            if isinstance(value, type) and issubclass(value, base.Settings):
                found[value] = None
    return list(found)


def test_every_setting_says_what_it_is_and_where_its_default_comes_from() -> None:
    wrong = [
        f"{model.__name__}.{name}"
        for model in settings_models()
        for name, field in model.model_fields.items()
        if name != "kind" and not (field.description and (field.json_schema_extra or {}).get("source"))
    ]
    assert not wrong, f"give these a meaning and a source (preflab.settings.base.setting): {wrong}"


def test_every_setting_is_read_somewhere() -> None:
    read = {
        node.attr
        for module, tree in MODULES.items()
        if room(module) != "settings"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    losses = importlib.import_module("preflab.settings.preference_losses").LOSSES.values()
    # Those of a preference loss are handed to its function, see tests/by_hand/test_preference_losses.py.
    models = [model for model in settings_models() if model not in losses]
    unread = sorted({f"{m.__name__}.{name}" for m in models for name in m.model_fields if name not in read})
    assert not unread, f"no code outside settings/ reads these: {unread}"


def test_figures_and_counted_nouns_are_written_in_one_place() -> None:
    """`preflab.words` knows plurals, per cent and minus; what is put together by hand reads `1 rows` one day."""
    by_hand = {
        r"""\{?['"]s['"] (?:\*|if) """: "count() or plural()",
        r"\{[^{}]*\(s\)|\}[ \w-]*\(s\)": "count() or plural()",
        r":\.?\d*%\}": "percent() or whole_percent()",
    }
    files = [file for ending in ("*.py", "*.j2") for file in PACKAGE.rglob(ending)]
    wrong = [
        f"{file.relative_to(PACKAGE)}, line {number}: {instead}"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        for pattern, instead in by_hand.items()
        if re.search(pattern, line) and file.name != "words.py" and "len(s)" not in line and "http{" not in line
    ]
    assert not wrong, f"take these from preflab.words: {wrong}"
