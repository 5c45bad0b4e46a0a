"""What the pipeline does again, skips, goes on with, and waits for."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import toy_stages
from preflab import pipeline
from preflab.errors import PreflabError
from preflab.pipeline import running
from preflab.recipe import load_recipe
from toy_stages import Writer

CHAIN = """
data:
  rows: {path: rows.jsonl, held_out: 0.5}
labelers:
  panel: {kind: simulated, utility: "my_rewards:good"}
stages:
  base: {kind: grow, data: rows.train, function: "my_rewards:good"}
  tuned: {kind: grow, model: base}
  other: {kind: grow, panel: panel, model: ./models/mine, run: {save_every: 7}}
  last: {kind: read, of: [tuned, other]}
"""


@pytest.fixture
def chain(write_recipe: Writer, tmp_path: Path) -> Path:
    """A recipe that names data, a panel, a function and a model folder."""
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Hi"}\n', encoding="utf-8")
    sys.modules.pop("my_rewards", None)  # that of an earlier test
    (tmp_path / "my_rewards.py").write_text("def good(prompt, completion):\n    return 1.0\n", encoding="utf-8")
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "tokenizer.json").write_text("{}", encoding="utf-8")
    (tmp_path / "models" / "mine" / "config.json").write_text(
        '{"model_type": "llama", "vocab_size": 31}', encoding="utf-8"
    )
    return write_recipe(CHAIN)


def ran(path: Path, *overrides: str, **which: Any) -> list[str]:
    """The stages that were run by this call."""
    return [line.name for line in pipeline.run(load_recipe(path, overrides), **which) if line.ran]


def manifest(path: Path, stage: str) -> dict[str, Any]:
    """The one manifest of a stage."""
    (found,) = (path.parent / "runs").glob(f"{stage}-*/manifest.json")
    content: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return content


def test_a_second_run_does_nothing(chain: Path) -> None:
    assert ran(chain) == ["base", "tuned", "other", "last"]
    assert ran(chain) == []


STALE = {
    "a setting": ("stages.base.size=2", ["base", "tuned", "last"]),
    "a setting further down": ("stages.tuned.size=2", ["tuned", "last"]),
    "a section": ("stages.other.nested.width=2", ["other", "last"]),
    "a stage's seed": ("stages.tuned.seed=3", ["tuned", "last"]),
    "the recipe's seed": ("seed=3", ["base", "tuned", "other", "last"]),
    "the precision": ("device.precision=bfloat16", ["base", "tuned", "other", "last"]),
    "the share held out": ("data.rows.held_out=0.2", ["base", "tuned", "last"]),
    "a panel": ("labelers.panel.careless=1", ["other", "last"]),
    "threads": ("device.threads=2", []),
    "how it is kept": ("stages.other.run.save_every=9", []),
    "a default written out": ("stages.base.size=1", []),
}


@pytest.mark.parametrize("name", STALE)
def test_what_makes_a_result_makes_it_stale(chain: Path, name: str) -> None:
    override, stale = STALE[name]
    ran(chain)
    assert ran(chain, override) == stale
    assert ran(chain) == []  # the first folders are still there


def test_contents_count_and_paths_do_not(chain: Path, tmp_path: Path) -> None:
    ran(chain)
    (tmp_path / "rows.jsonl").rename(tmp_path / "moved.jsonl")
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    moved = ["data.rows.path=moved.jsonl", "stages.other.model=./elsewhere/mine"]
    assert ran(chain, *moved) == []
    (tmp_path / "moved.jsonl").write_text('{"prompt": "Ho"}\n', encoding="utf-8")
    assert ran(chain, *moved) == ["base", "tuned", "last"]
    (tmp_path / "elsewhere" / "mine" / "config.json").write_text('{"model_type": "llama", "a": 1}', encoding="utf-8")
    assert ran(chain, *moved) == ["other", "last"]
    (tmp_path / "my_rewards.py").write_text("def good(prompt, completion):\n    return 2.0\n", encoding="utf-8")
    assert ran(chain, *moved) == ["base", "tuned", "other", "last"]


@pytest.mark.parametrize("name", ["rows.jsonl", "models/mine/config.json", "my_rewards.py"])
@pytest.mark.parametrize("how", ["edited", "replaced"])
def test_equal_size_and_time_hide_no_other_content(chain: Path, tmp_path: Path, name: str, how: str) -> None:
    """The time of modification can be set back; the time of change and the inode tell."""
    ran(chain)
    file, times = tmp_path / name, (tmp_path / name).stat()
    other = file.read_bytes().translate(bytes.maketrans(b"1H", b"2J"))
    if how == "replaced":
        file.with_suffix(".new").write_bytes(other)
        file.with_suffix(".new").replace(file)
    else:
        file.write_bytes(other)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    assert ran(chain)


@pytest.mark.parametrize("content", ["", '{"a": [1, 2', "[]", '{"a": 3}', "\x00"])
def test_hashes_that_were_kept_and_are_damaged_are_made_again(chain: Path, tmp_path: Path, content: str) -> None:
    ran(chain)
    (tmp_path / "runs" / ".hashes.json").write_text(content, encoding="utf-8")
    assert ran(chain) == []
    assert len(json.loads((tmp_path / "runs" / ".hashes.json").read_text(encoding="utf-8"))) >= 3


@pytest.mark.parametrize("content", ["", '{"key": "a', "[]", "{}"])
def test_a_damaged_manifest_names_its_stage_and_the_way_on(chain: Path, content: str) -> None:
    ran(chain)
    (found,) = (chain.parent / "runs").glob("tuned-*/manifest.json")
    found.write_text(content, encoding="utf-8")
    with pytest.raises(PreflabError, match="stage tuned: ") as error:
        ran(chain)
    assert "--fresh tuned" in error.value.do
    assert ran(chain, fresh=["tuned"]) == ["tuned", "last"]


def test_modules_beside_the_recipe_that_a_function_imports_count(chain: Path, tmp_path: Path) -> None:
    """Those of an `if`, of a function's body, of a package and of a module that is imported by another one, too."""
    lines = ["import json, words", "def good(prompt, completion):", "    from parts.more import deep", "    return 1.0"]
    (tmp_path / "my_rewards.py").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "parts").mkdir()
    files = {
        "words.py": "import lists.names as n",
        "lists/names.py": "",
        "parts/__init__.py": "",
        "parts/more.py": "from . import other",
        "parts/other.py": "from .deepest import *",
        "parts/deepest.py": "",
        "unused.py": "",
    }
    (tmp_path / "lists").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    ran(chain)
    for name in files:
        with (tmp_path / name).open("a", encoding="utf-8") as file:
            file.write("\n# changed\n")
        assert ran(chain) == ([] if name == "unused.py" else ["base", "tuned", "other", "last"]), name


def test_helper_modules_that_change_places_count(chain: Path, tmp_path: Path) -> None:
    """One holds what the other held: the same contents under other names."""
    (tmp_path / "my_rewards.py").write_text("import one, two\ndef good(prompt, completion):\n    return 1.0\n")
    (tmp_path / "one.py").write_text("A = 1\n", encoding="utf-8")
    (tmp_path / "two.py").write_text("A = 2\n", encoding="utf-8")
    ran(chain)
    (tmp_path / "one.py").write_text("A = 2\n", encoding="utf-8")
    (tmp_path / "two.py").write_text("A = 1\n", encoding="utf-8")
    assert ran(chain) == ["base", "tuned", "other", "last"]


@pytest.mark.parametrize(
    ("module", "whose"),
    [("statistics", "Python's standard library"), ("code", "Python's standard library"), ("yaml", "site-packages")],
)
def test_a_function_s_file_with_the_name_of_another_module_is_refused(
    chain: Path, tmp_path: Path, module: str, whose: str
) -> None:
    (tmp_path / "my_rewards.py").rename(tmp_path / f"{module}.py")
    chain.write_text(chain.read_text(encoding="utf-8").replace("my_rewards", module), encoding="utf-8")
    with pytest.raises(PreflabError, match=f"{module}.py has the same name as .*{whose}") as error:
        ran(chain)
    assert "rename the file" in error.value.do


def test_a_higher_version_makes_a_stage_stale(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran(chain)
    monkeypatch.setattr(sys.modules["toy_stage_read"], "VERSION", 2)
    assert ran(chain) == ["last"]


def test_a_function_without_a_module_is_refused_before_anything_runs(chain: Path, tmp_path: Path) -> None:
    (tmp_path / "my_rewards.py").unlink()
    with pytest.raises(PreflabError, match="no module `my_rewards`"):
        ran(chain)
    assert not list((tmp_path / "runs").glob("*-*"))


def test_a_file_in_place_of_a_module_is_named_with_its_module(chain: Path) -> None:
    text = chain.read_text(encoding="utf-8")
    chain.write_text(text.replace("my_rewards:", "my_rewards.py:"), encoding="utf-8")
    with pytest.raises(PreflabError) as caught:
        ran(chain)
    assert caught.value.do.startswith("write my_rewards:")


def test_raising_the_steps_goes_on_in_the_same_folder(chain: Path) -> None:
    ran(chain)
    assert ran(chain, "stages.tuned.num_steps=5") == ["tuned", "last"]  # what reads the longer run is stale
    (folder,) = (chain.parent / "runs").glob("tuned-*")
    lines = (folder / "lines.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["0 of 3, before: None", "1 of 3, before: None", "2 of 3, before: None"] + [
        "3 of 5, before: 3",
        "4 of 5, before: 3",
    ]
    assert ran(chain, "stages.tuned.num_steps=5") == []


def test_fewer_steps_than_were_done_are_refused(chain: Path) -> None:
    ran(chain, "stages.tuned.num_steps=5")
    with pytest.raises(PreflabError, match="stages.tuned.num_steps: 3, but the stage has already done 5") as caught:
        ran(chain)
    assert "--fresh tuned" in caught.value.do
    with pytest.raises(PreflabError):
        ran(chain, fresh=["base"], until=["base", "other", "tuned"], only=["tuned"])
    assert ran(chain, until=["base"]) == []  # a refused --fresh counts for nothing
    assert ran(chain, fresh=["tuned"]) == ["tuned", "last"]


def test_fresh_does_a_stage_and_what_follows_again_and_keeps_the_old(chain: Path) -> None:
    ran(chain)
    assert ran(chain, fresh=["tuned"]) == ["tuned", "last"]
    assert ran(chain) == []
    assert len(list((chain.parent / "runs").glob("tuned-*"))) == 2


def test_only_and_until(chain: Path) -> None:
    with pytest.raises(PreflabError, match="stage tuned needs base, not done yet"):
        ran(chain, only=["tuned"])
    assert ran(chain, until=["base"]) == ["base"]
    assert ran(chain, only=["tuned"]) == ["tuned"]
    assert ran(chain, until=["last"]) == ["other", "last"]
    with pytest.raises(PreflabError, match="no stage `tunde`") as caught:
        ran(chain, until=["tunde"])
    assert caught.value.expected == "near it: tuned"


@pytest.mark.parametrize("how", ["error", "interrupt", "refuse"])
def test_an_interrupted_stage_goes_on_where_it_stopped(chain: Path, tmp_path: Path, how: str) -> None:
    (tmp_path / "stop-at").write_text(f"2 {how}", encoding="utf-8")
    with pytest.raises((RuntimeError, KeyboardInterrupt, PreflabError)):
        ran(chain)
    assert manifest(chain, "base")["state"] == "running"
    (tmp_path / "stop-at").unlink()
    assert ran(chain) == ["base", "tuned", "other", "last"]
    assert manifest(chain, "base")["figures"] == {"lines": 3}


RUN = """
import sys
import toy_stages
from preflab import pipeline, stages
from preflab.recipe import load_recipe
from preflab.settings import recipe
toy_stages.register(dict.__setitem__, sys.modules, recipe.STAGE_SETTINGS, stages.MODULES)
print([line.name for line in pipeline.run(load_recipe("recipe.yaml")) if line.ran])
"""


def test_a_killed_run_leaves_no_lock_and_goes_on(chain: Path, tmp_path: Path, repository: Path) -> None:
    places = os.pathsep.join([str(repository / "src"), str(repository / "tests")])
    environment = os.environ | {"PYTHONPATH": places}
    (tmp_path / "stop-at").write_text("1 kill", encoding="utf-8")
    killed = subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert "process" in (tmp_path / "runs" / ".lock").read_text(encoding="utf-8")
    assert (manifest(chain, "base")["state"], manifest(chain, "base")["seconds"]) == ("running", 0.0)
    (tmp_path / "stop-at").unlink()
    assert ran(chain) == ["base", "tuned", "other", "last"]
    (folder,) = (tmp_path / "runs").glob("base-*")
    assert toy_stages.num_lines(folder / "lines.txt") == 3


def test_two_runs_in_one_workspace_are_refused(chain: Path, tmp_path: Path) -> None:
    from preflab.pipeline.runs import locked

    with locked(tmp_path / "runs"), pytest.raises(PreflabError, match=f"process {os.getpid()} on .* is running"):
        ran(chain)
    assert ran(chain, workspace=tmp_path / "another") == ["base", "tuned", "other", "last"]
    assert ran(chain) == ["base", "tuned", "other", "last"]


PEOPLE = """
stages:
  sft: {kind: grow}
  answers: {kind: write, model: sft}
  labels: {kind: ask, completions: answers}
  ppo: {kind: grow, model: sft, judgments: labels}
  aside: {kind: grow, model: sft}
  eval: {kind: read, of: [ppo]}
"""


def test_people_are_awaited_and_what_does_not_need_them_runs(write_recipe: Writer, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(PEOPLE))
    lines = {line.name: line for line in pipeline.run(recipe)}
    assert (lines["labels"].state, lines["labels"].summary) == ("waiting", "1 of 3 tasks have labels")
    assert lines["labels"].link == "http://127.0.0.1:8400/c/helpful"
    assert (lines["ppo"].state, lines["ppo"].summary) == ("–", "waits for labels")
    assert (lines["eval"].state, lines["eval"].summary) == ("–", "waits for ppo")
    assert (lines["aside"].state, lines["aside"].ran) == ("done", True)
    (tmp_path / "answers").touch()
    assert [line.name for line in pipeline.run(recipe) if line.ran] == ["labels", "ppo", "eval"]
    (tmp_path / "answers").unlink()  # other judgments later: what is done stays done
    assert [line.name for line in pipeline.run(recipe) if line.ran] == []


def test_the_manifest_holds_what_a_reader_needs(chain: Path) -> None:
    ran(chain)
    base, tuned = manifest(chain, "base"), manifest(chain, "tuned")
    assert tuned["inputs"] == {"base": base["key"]}
    assert (tuned["stage"], tuned["kind"], tuned["version"], tuned["state"]) == ("tuned", "grow", 1, "done")
    assert tuned["settings"]["num_steps"] == 3
    assert tuned["seed"] == load_recipe(chain).stage_seed("tuned")
    assert {"python", "torch", "transformers", "peft", "preflab"} <= tuned["versions"].keys()
    assert tuned["started"] <= tuned["finished"]
    (folder,) = (chain.parent / "runs").glob("tuned-*")
    assert folder.name == f"tuned-{tuned['key'][:12]}"
    assert "save_every: 50" in (folder / "recipe.resolved.yaml").read_text(encoding="utf-8")


def test_a_stage_knows_its_inputs_and_all_before_them(chain: Path) -> None:
    lines = {line.name: line for line in pipeline.run(load_recipe(chain))}
    assert lines["last"].summary == "read tuned other; upstream base tuned other"


def test_rounds_run_one_after_the_other(write_recipe: Writer, tmp_path: Path) -> None:
    (tmp_path / "answers").touch()
    path = write_recipe(PEOPLE + "rounds: {num: 2, repeat: [answers, labels, ppo]}\n")
    lines = {line.name: line for line in pipeline.run(load_recipe(path))}
    assert list(lines) == ["sft", "answers", "labels", "ppo", "aside", "answers@2", "labels@2", "ppo@2", "eval"]
    assert lines["answers@2"].summary == f"from {lines['ppo'].folder / 'model'}"
    assert lines["eval"].summary.startswith("read ppo@2;")
    one_round = load_recipe(path, ["rounds.num=1"])
    assert [line.name for line in pipeline.run(one_round) if line.ran] == ["eval"]


def test_threads_and_seeds_are_set_before_a_stage_that_needs_torch(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    seen: dict[str, Any] = {}
    grow = toy_stages.grow

    def watching(ctx: Any) -> Any:
        seen[ctx.name] = (torch.get_num_threads(), torch.initial_seed(), ctx.seed)
        return grow(ctx)

    monkeypatch.setattr(sys.modules["toy_stage_grow"], "needs_torch", True)
    monkeypatch.setattr(sys.modules["toy_stage_grow"], "run", watching)
    ran(chain, "device.threads=2")
    for threads, torch_seed, seed in seen.values():
        assert (threads, torch_seed) == (2, seed)
    assert len({seed for _, _, seed in seen.values()}) == 3


def test_what_is_said_of_a_model_is_said_once_per_run(
    chain: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stage that opens it would say so again."""
    call = running._Runner._call

    def says(runner: Any, ctx: Any) -> Any:
        for name in ("Mamba", "Mamba", "Jamba"):
            logging.getLogger("preflab.models.trunk").warning("%s: no adapter on mixer.dt_proj", name)
        return call(runner, ctx)

    monkeypatch.setattr(running._Runner, "_call", says)
    expected = [f"{name}: no adapter on mixer.dt_proj" for name in ("Mamba", "Jamba")]
    for num_runs in (1, 2):
        pipeline.run(load_recipe(chain, [f"seed={num_runs}"]))
        assert [record.getMessage() for record in caplog.records] == expected * num_runs
