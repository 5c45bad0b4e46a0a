"""The commands in-process: what they print, what they leave, and how they end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from preflab.cli import run_command
from preflab.recipe import load_recipe
from toy_stages import Writer

PEOPLE = """
stages:
  sft: {kind: grow}
  answers: {kind: write, model: sft}
  labels: {kind: ask, completions: answers}
  ppo: {kind: grow, model: sft, judgments: labels}
"""
Captured = pytest.CaptureFixture[str]


def ended(capsys: Captured, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    capsys.readouterr()
    try:
        code = run_command(words)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_run_waits_for_people_and_goes_on(write_recipe: Writer, tmp_path: Path, capsys: Captured) -> None:
    write_recipe(PEOPLE)
    code, out, err = ended(capsys, "run")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["stage", "state", "took"]
    assert lines[1].split()[:4] == ["sft", "done", "3", "lines"]
    assert lines[3].split()[-1] == "http://127.0.0.1:8400/c/helpful"
    assert "waiting  1 of 3 tasks have labels" in lines[3]
    assert lines[4].split() == ["ppo", "–", "waits", "for", "labels"]
    assert lines[5] == (
        "next: start `preflab label`, invite people with `preflab campaign invite labels`, "
        "then run the same command again (or use --wait)"
    )
    assert "sft: started" in err
    assert re.search(r"sft: done, 3 lines \(\d\.\d s\)", err)
    (tmp_path / "answers").touch()
    code, out, _ = ended(capsys, "run", "recipe.yaml")
    assert code == 0
    folder = next((tmp_path / "runs").glob("ppo-*")).relative_to(tmp_path)
    assert out.splitlines()[-1] == f"result: {folder}; next: `preflab chat ppo`"


def test_json_is_one_object_and_nothing_else(write_recipe: Writer, capsys: Captured) -> None:
    write_recipe(PEOPLE)
    code, out, err = ended(capsys, "run", "--json", "--set", "stages.sft.num_steps=5")
    content: dict[str, Any] = json.loads(out)
    assert (code, err) == (0, "")
    assert [stage["state"] for stage in content["stages"]] == ["done", "done", "waiting", "missing"]
    assert content["stages"][0]["summary"] == "5 lines"
    assert content["waiting"] == "labels"


def test_dry_shows_the_table_and_runs_nothing(write_recipe: Writer, tmp_path: Path, capsys: Captured) -> None:
    write_recipe(PEOPLE)
    code, out, _ = ended(capsys, "run", "--dry")
    assert code == 0
    assert "not done yet" in out
    assert not list((tmp_path / "runs").glob("*-*"))


def test_prints_of_a_stage_do_not_reach_stdout_with_json(
    write_recipe: Writer, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    grow = sys.modules["toy_stage_grow"].run
    monkeypatch.setattr(sys.modules["toy_stage_grow"], "run", lambda ctx: print("chatter") or grow(ctx))
    write_recipe("stages: {a: {kind: grow}}")
    _, out, err = ended(capsys, "run", "--json")
    assert json.loads(out)["stages"][0]["state"] == "done"
    assert err == "chatter\n"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["run"], "error: recipe.yaml: no such file"),
        (["run", "none.yaml"], "error: none.yaml: no such file"),
        (["rnu"], "error: No such command 'rnu'"),
        (["run", "--bogus"], "error: No such option: --bogus"),
        (["train", "ddpo"], "error: No such command 'ddpo'"),
        (["init", "--show", "pppo"], "error: init --show pppo"),
        (["sample", "--stage"], "error: Option '--stage' requires an argument"),
        (["chat", "model", "--temperature", "-1"], "error: Invalid value for '--temperature': "),
    ],
)
def test_errors_are_three_short_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, words: list[str], found: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = ended(capsys, *words)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines[0].startswith(found)
    assert 2 <= len(lines) <= 3
    assert all(line.startswith("       ") for line in lines[1:])


def test_the_error_of_the_look(write_recipe: Writer, capsys: Captured) -> None:
    write_recipe("stages: {ppo: {kind: ppo, model: x, prompts: p, rewards: [{model: rm}], kl_coeff: 1}}")
    code, _, err = ended(capsys, "run")
    assert code == 2
    found, near, do = err.splitlines()
    assert found == "error: recipe.yaml, stages.ppo.kl_coeff: unknown setting"
    assert near.startswith("       known settings near it: kl_coef")
    assert do == "       `preflab init --show ppo` lists them all with their defaults"


def test_unforeseen_errors_are_short_and_debug_shows_them_whole(
    write_recipe: Writer, tmp_path: Path, capsys: Captured
) -> None:
    write_recipe(PEOPLE)
    (tmp_path / "stop-at").write_text("1 error", encoding="utf-8")
    code, out, err = ended(capsys, "run")
    assert (code, out) == (2, "")
    assert err.splitlines()[-3:] == [
        "error: RuntimeError: fell over",
        "       no such error: it may be a bug in preflab or in a function of your own",
        "       run the same command with --debug for the traceback",
    ]
    with pytest.raises(RuntimeError, match="fell over"):
        run_command(["run", "--debug"])


def test_what_a_stage_refuses_names_the_stage(write_recipe: Writer, tmp_path: Path, capsys: Captured) -> None:
    write_recipe(PEOPLE)
    (tmp_path / "stop-at").write_text("1 refuse", encoding="utf-8")
    code, _, err = ended(capsys, "run")
    assert code == 2
    assert err.splitlines()[-3:] == ["error: stage sft: a", "       b", "       c"]
    assert "interrupted; the next run continues it" in ended(capsys, "run", "--dry")[1]


def test_ctrl_c_says_that_it_goes_on(write_recipe: Writer, tmp_path: Path, capsys: Captured) -> None:
    write_recipe(PEOPLE)
    (tmp_path / "stop-at").write_text("1 interrupt", encoding="utf-8")
    code, out, err = ended(capsys, "run")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted: run the same command again; training resumes from its last checkpoint"


def test_a_start_says_after_which_step_it_goes_on(write_recipe: Writer, tmp_path: Path, capsys: Captured) -> None:
    write_recipe("stages: {a: {kind: grow}}")
    (tmp_path / "stop-at").write_text("1 interrupt", encoding="utf-8")
    assert "a: started\n" in ended(capsys, "run")[2]
    (tmp_path / "stop-at").unlink()
    for step in (20, 40):
        saved = next((tmp_path / "runs").glob("a-*")) / "checkpoint" / f"step-{step:06d}"
        saved.mkdir(parents=True)
        (saved / "state.json").touch()
    saved.with_name("step-000060").mkdir()  # cut off before its state was written
    assert "a: resumes after step 40\n" in ended(capsys, "run")[2]


def test_a_bare_command_is_its_help(capsys: Captured) -> None:
    for words in ([], ["train"], ["export"]):
        code, out, err = ended(capsys, *words)
        assert (code, out) == (2, "")
        assert err.startswith(" ".join(["Usage: preflab", *words]))
    listed = [line.rstrip() for line in ended(capsys, "--help")[1].split("Commands:")[1].splitlines()[1:] if line]
    assert all(line.endswith(".") for line in listed)


def test_version_is_that_of_the_package(capsys: Captured) -> None:
    from preflab import __version__

    assert ended(capsys, "--version")[:2] == (0, f"preflab {__version__}\n")


def test_a_recipe_in_the_making_is_no_hindrance_to_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ended(capsys, "init")[0] == 0
    _, _, err = ended(capsys, "check", "./nowhere")
    assert "nowhere" in err
    assert "prompts.jsonl" not in err
    _, _, err = ended(capsys, "check", "ppo")
    assert err.startswith("error: recipe.yaml, data.prompts.path: no such file")


def test_a_full_disk_is_said_and_nothing_is_half_written(
    write_recipe: Writer, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    write_recipe(PEOPLE)
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if str(target).endswith("manifest.json"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    code, _, err = ended(capsys, "run")
    assert code == 2
    assert "No space left on device" in err
    assert "free some room" in err
    monkeypatch.undo()
    assert not [path for path in (tmp_path / "runs").rglob("*") if "part" in path.name]


# Commands for one stage


@pytest.fixture
def judged(write_recipe: Writer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe with real kinds, run by toys."""
    import sys

    from preflab import stages

    for kind, toy in {"sft": "grow", "sample": "write", "judge": "ask", "report": "read"}.items():
        monkeypatch.setitem(stages.MODULES, kind, f"toy_stage_{toy}")
    monkeypatch.setattr("preflab.pipeline.running.check_hub_files", lambda recipe, names: None)
    monkeypatch.setattr(sys.modules["toy_stage_grow"], "resumable", ())
    monkeypatch.setattr(sys.modules["toy_stage_grow"], "run", sys.modules["toy_stage_write"].run)
    path = write_recipe(
        "data: {rows: {path: recipe.yaml}}\n"
        "stages:\n"
        "  sft: {kind: sft, model: org/base, data: rows}\n"
        "  answers: {kind: sample, model: sft, prompts: rows}\n"
        "  more: {kind: sample, model: sft, prompts: rows, num_completions: 2}\n"
        "  labels: {kind: judge, completions: answers}\n"
        "  page: {kind: report, of: [labels]}\n"
    )
    assert load_recipe(path)
    return path


def test_a_stage_command_runs_what_the_stage_needs(judged: Path, capsys: Captured) -> None:
    code, out, _ = ended(capsys, "sample", "--stage", "answers")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["stage", "sft", "answers", "result:"]
    assert out.splitlines()[-1].endswith("next: `preflab judge`")
    code, out, _ = ended(capsys, "train", "sft", "--json")
    assert [stage["ran"] for stage in json.loads(out)["stages"]] == [False]
    code, out, _ = ended(capsys, "train", "sft", "--again", "--json")
    assert [stage["ran"] for stage in json.loads(out)["stages"]] == [True]


def test_a_stage_command_asks_which_stage_is_meant(judged: Path, capsys: Captured) -> None:
    code, _, err = ended(capsys, "sample")
    assert code == 2
    assert err.splitlines()[0] == "error: recipe.yaml has 2 stages of kind sample: answers, more"
    assert "--stage NAME" in err.splitlines()[2]
    assert "known: answers, more" in ended(capsys, "sample", "--stage", "answer")[2]
    assert "has no stages of kind ppo" in ended(capsys, "train", "ppo")[2]


def test_a_stage_that_waits_blocks_those_after_it(judged: Path, capsys: Captured, tmp_path: Path) -> None:
    code, out, _ = ended(capsys, "report")
    assert code == 0
    assert "waits for labels" in out
    (tmp_path / "answers").touch()
    code, out, _ = ended(capsys, "report")
    assert "in a browser" in out.splitlines()[-1]


# init


def test_init_writes_a_recipe_that_can_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = ended(capsys, "init")
    assert code == 0
    assert out.startswith("result: recipe.yaml; next: put your prompts into prompts.jsonl")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Hi"}\n', encoding="utf-8")
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "Hi", "chosen": "a", "rejected": "b"}\n', encoding="utf-8")
    recipe = load_recipe(tmp_path / "recipe.yaml", ["stages.ppo.num_steps=2"])
    assert list(recipe.stages) == ["rm", "ppo", "eval", "report"]
    code, _, err = ended(capsys, "init")
    assert code == 2
    assert "exists already" in err


def test_show_lists_every_setting_with_meaning_and_source(capsys: Captured) -> None:
    code, out, _ = ended(capsys, "init", "--show", "ppo")
    assert code == 0
    assert "  kl_coef: 0.05\n      Weight of KL(policy ‖ reference)" in out
    assert "  lora.rank: 16" in out
    assert "  rewards[].weight: 1.0" in out
    assert "  optimiser.learning_rate" in out
    assert "  model: (required)" in out
    code, out, _ = ended(capsys, "init", "--show", "all", "--json")
    for rows in json.loads(out)["settings"].values():
        assert all(row["meaning"] and row["source"] for row in rows)
