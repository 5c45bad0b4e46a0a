"""The wheel alone, installed into an empty environment: every command works from an empty folder."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
import zipfile
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path
from typing import Any

import pytest
import typer

from chat_server import Answer, chat_server
from preflab import __version__
from preflab.cli import app
from wheels import build_wheel, clean_environment, install_wheel

pytestmark = pytest.mark.slow

DRIVER = """
import contextlib, io, json, sys
import preflab
from preflab.cli import run_command

print(json.dumps(preflab.__file__), flush=True)
for line in sys.stdin:
    words, typed = json.loads(line)
    out, err = io.StringIO(), io.StringIO()
    sys.stdin = io.StringIO(typed)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command(words)
    except SystemExit as leaving:
        code = leaving.code
    sys.stdin = sys.__stdin__
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""
SMALL = (
    "labelers.panel.utility=ones:count",
    "stages.base.num_steps=20", "stages.base.num_layers=1", "stages.base.hidden_size=32", "stages.base.num_heads=2",
    "stages.base.context=1024", "stages.sft.num_epochs=1", "stages.answers.num_completions=2",
    "stages.answers.max_new_tokens=8", "stages.rm.num_epochs=1", "stages.ppo.num_steps=1",
    "stages.ppo.num_completions_per_step=8", "stages.ppo.num_minibatches=1", "stages.ppo.decoding.max_new_tokens=8",
    "stages.ppo_no_kl.num_steps=1", "stages.ppo_no_kl.num_completions_per_step=8", "stages.ppo_no_kl.num_minibatches=1",
    "stages.ppo_no_kl.decoding.max_new_tokens=8", "stages.eval.decoding.max_new_tokens=8", "stages.eval.max_prompts=8",
    *(
        f"stages.{name}.{setting}"
        for name in ("ppo_less_kl", "ppo_little_kl")
        for setting in ("num_steps=1", "num_completions_per_step=8", "num_minibatches=1", "decoding.max_new_tokens=8")
    ),
    "stages.simulator.num_prompts=2", "stages.simulator.num_completions=2",
)  # fmt: skip
MORE = """
recipe: 1
data:
  prompts: {path: few.jsonl}
  pairs: {path: pairs.jsonl}
  ratings: {path: ratings.jsonl}
  questions: {path: questions.jsonl}
  labels: {path: labels.jsonl}
stages:
  tone: {kind: classifier, labels: labels, num_layers: 1, hidden_size: 16, num_heads: 2, num_epochs: 1, held_out: 0}
  answers: {kind: sample, model: MODEL, prompts: prompts, num_completions: 2, max_new_tokens: 6}
  asked: {kind: ai_judge, completions: answers, judge: {model: MODEL}}
  prefs: {kind: preferences, judgments: asked}
  rated: {kind: rating, model: MODEL, preferences: ratings, lora: {rank: 2}}
  dpo: {kind: dpo, model: MODEL, preferences: pairs, lora: {rank: 2}, watch: {num_samples: 0}}
  grpo:
    {kind: grpo, model: MODEL, prompts: prompts, rewards: &ones [{function: "ones:count"}], num_steps: 1,
     num_prompts_per_step: 2, num_completions_per_prompt: 2, decoding: {max_new_tokens: 6}, lora: {rank: 2}}
  online:
    {kind: online_dpo, model: MODEL, prompts: prompts, rewards: *ones, num_steps: 1, num_prompts_per_step: 2,
     decoding: {max_new_tokens: 6}, lora: {rank: 2}}
  talk:
    {kind: ppo, model: MODEL, environment: {source: "preflab.environments.guessing:GuessingGame", max_turns: 2},
     num_steps: 1, num_completions_per_step: 4, num_minibatches: 1, decoding: {max_new_tokens: 2}, lora: {rank: 2}}
  ilql:
    {kind: ilql, model: MODEL, completions: answers, rewards: *ones, prompts: prompts, num_completions: 2,
     num_epochs: 1, max_new_tokens: 6, lora: {rank: 2}}
  best: {kind: best_of_n, model: MODEL, prompts: prompts, rewards: *ones, num_completions: 2, max_new_tokens: 6}
  revised: {kind: revise, model: MODEL, prompts: prompts, max_new_tokens: 6}
  probe: {kind: probe, models: [MODEL], sycophancy: questions, decoding: {max_new_tokens: 6}}
  report: {kind: report, of: [dpo, grpo]}
"""
ROWS: dict[str, list[dict[str, Any]]] = {
    "labels": [
        {"text": text, "label": label}
        for n in range(4)
        for text, label in ((f"parcel {n} is on its way .", "polite"), (f"no idea {n} .", "rude"))
    ],
    "few": [{"prompt": f"where is my {thing} ?"} for thing in ("parcel", "lamp", "chair", "order")],
    "pairs": [{"prompt": f"where is {n} ?", "chosen": "on its way .", "rejected": "no idea ."} for n in range(4)],
    "ratings": [
        {"instruction": f"where is {n} ?", "completions": [
            {"model": "m", "response": text, "annotations": {"helpfulness": {"Rating": rating}}}
            for text, rating in (("on its way .", "5"), ("no idea .", str(1 + n)))
        ]}
        for n in range(4)
    ],
    "questions": [{"prompt": "what colour is it ?", "right": "red", "wrong": "blue"}],
    "scored": [{"prompt": "where ?", "completion": "on its way ."}],
    "judged": [{"prompt": "where ?", "completions": ["on its way .", "no idea .", "late ."]}],
    "priorities": [{"prompt": "where ?", "priority": 2}],
}  # fmt: skip


def all_commands() -> Iterator[tuple[str, ...]]:
    """The words of every command there is."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, (*words, name))
        if not hasattr(command, "commands"):
            yield words

    return walk(typer.main.get_command(app), ())


class Shell:
    """One process of the environment that does one command after the other in a folder."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder
        self.done: set[tuple[str, ...]] = set()
        self.process = subprocess.Popen(
            [str(programs / "python"), "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=folder, env=clean_environment(),
        )  # fmt: skip
        self.package = json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ended(self, *words: str, typed: str = "") -> tuple[int, str, str]:
        """Exit code and what was printed."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([words, typed]) + "\n")
        self.process.stdin.flush()
        code, out, err = json.loads(self._line())
        return code, out, err

    def said(self, *words: str, typed: str = "") -> dict[str, Any]:
        """What a command says as JSON; it has to go well."""
        code, out, err = self.ended(*words, "--json", typed=typed)
        assert code == 0, f"{words}: {err}"
        self.done.add(words)
        found: dict[str, Any] = json.loads(out)
        return found

    def run(self, *words: str) -> str:
        """A command as a program of its own, the way a person starts it; its stdout."""
        self.done.add(words)
        ended = subprocess.run(
            [str(self.programs / "preflab"), *words], check=False, capture_output=True, text=True, cwd=self.folder,
            env=clean_environment(),
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(repository, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def shell(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Commands of the installed wheel in an empty folder."""
    place = tmp_path_factory.mktemp("installed")
    programs = install_wheel(wheel, place / "environment")
    (place / "empty").mkdir()
    shell = Shell(programs, place / "empty")
    yield shell
    shell.close()


def test_what_runs_is_the_wheel(shell: Shell) -> None:
    assert Path(shell.package).is_relative_to(shell.programs.parent)
    assert shell.run("--version").startswith("preflab ")


def test_every_command_has_its_help(shell: Shell) -> None:
    for words in all_commands():
        code, out, err = shell.ended(*words, "--help")
        assert (code, err) == (0, ""), words
        assert out.startswith(f"Usage: preflab {' '.join(words)} "), words


def test_every_command_works_from_an_empty_folder(shell: Shell) -> None:
    _from_nothing(shell)
    _a_second_recipe(shell)
    _what_a_run_did(shell)
    _games(shell)
    _environments(shell)
    _records(shell)
    _constitution(shell)
    _people(shell)
    _the_app(shell)
    done = {words[: len(each)] for each in all_commands() for words in shell.done}
    assert not sorted(set(all_commands()) - done), "run these commands here, too"


def _write(folder: Path) -> None:
    for name, rows in ROWS.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "ones.py").write_text(
        "def count(prompt, completion):\n    return float(len(completion.split()))\n", encoding="utf-8"
    )


def _from_nothing(shell: Shell) -> None:
    """The template, the demo with its recipe, and one stage after the other."""
    _write(shell.folder)
    assert shell.said("init", "--recipe", "starter.yaml")["result"] == "starter.yaml"
    assert shell.said("init", "--show", "all")["settings"]["ppo"]
    sets = [word for each in SMALL for word in ("--set", each)]
    page = shell.run("demo", "--folder", ".", *sets)
    assert "open report.html in a browser, and try simulator.html" in page
    report = next(shell.folder.glob("runs/report-*/report.html"))
    assert "</html>" in report.read_text(encoding="utf-8")
    assert all(stage["state"] == "done" for stage in shell.said("run", *sets, "--dry")["stages"])
    for words in ("sample", "judge", "preferences", "evaluate", "report"):
        assert not any(stage["ran"] for stage in shell.said(words, *sets)["stages"]), words
    for words in ("sft", "reward"):
        assert shell.said("train", words, *sets)["stages"]
    assert shell.said("train", "ppo", "--stage", "ppo", *sets)["stages"]
    assert shell.said("chat", "sft", "--prompt", "where is my parcel ?", "--max-new-tokens", "4", *sets)["turns"]
    shell.said("export", "model", "rm", "exported", *sets)
    code, out, err = shell.ended("check", str(next(shell.folder.glob("runs/sft-*/model"))), "--json")
    shell.done.add(("check",))
    assert code in (0, 1), err
    assert len(json.loads(out)["checks"]) > 10
    code, _, err = shell.ended("serve-engine", "sft", "--folder", "no-environment", *sets)
    shell.done.add(("serve-engine",))
    assert (code, "preflab serve-engine --install" in err) == (2, True), err
    assert shell.said("check", "sft", "--memory", "--available", "64", *sets)["fits"]


def _what_a_run_did(shell: Shell) -> None:
    """The pages about finished runs; each is one file that needs nothing beside it."""
    few = ("--num-prompts", "2", "--num-completions", "2")
    pages = [shell.folder / "simulator.html"]  # of the demo
    pages.append(shell.folder / shell.said("replay", "ppo", "--out", "replay.html")["result"])
    pages.append(shell.folder / shell.said("simulate", "ppo", "ppo_no_kl", *few, "--out", "mine.html")["result"])
    sets = [word for each in SMALL for word in ("--set", each)]
    pages.append(shell.folder / shell.said("dial", "ppo", "--at", "0.5", *few, *sets)["result"])
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "</html>" in text, page
        assert "://" not in text.replace("http://www.w3.org", ""), page


def _games(shell: Shell) -> None:
    assert shell.said("game", "check", "cliff")["violations"] == []
    assert shell.said("game", "learn", "cliff", "--games", "20")["rows"]
    page = shell.folder / shell.said("game", "play", "tic_tac_toe", "--games", "20", "--out", "game.html")["result"]
    assert "</html>" in page.read_text(encoding="utf-8")
    playouts = shell.said("game", "playouts", "cliff", "--num", "2", "--prompts", "2", "--games", "20")
    assert (shell.folder / playouts["result"]).is_file()
    assert shell.said("game", "language", "tic_tac_toe", "--steps", "1", "--target", "2")["rows"]
    assert shell.said("learn", "1")["differing"] == []
    assert shell.said("learn", "1", "--answer", "2 1 -1")["right"]


def _environments(shell: Shell) -> None:
    assert shell.said("environment", "check", "preflab.environments.customer:SimulatedCustomer")["num_episodes"]
    measured = shell.said("environment", "measure", "talk", "--episodes", "4", "--recipe", "more.yaml")
    assert measured["figures"]["talk"]["won"]["num"] == 4


def _a_second_recipe(shell: Shell) -> None:
    """The kinds of stages that the demo has not."""
    model = next(shell.folder.glob("runs/sft-*/model"))
    (shell.folder / "more.yaml").write_text(MORE.replace("MODEL", str(model)), encoding="utf-8")
    for words in ("ai-judge", "best-of-n", "revise", "probe", "report"):
        assert shell.said(words, "--recipe", "more.yaml")["stages"][-1]["state"] == "done"
    for words in ("classifier", "rating", "dpo", "grpo", "online-dpo", "ppo", "ilql"):
        assert shell.said("train", words, "--recipe", "more.yaml")["stages"][-1]["state"] == "done"


def _records(shell: Shell) -> None:
    shell.said("import", "pairs.jsonl")
    (shell.folder / "shown.jsonl").write_text('{"prompt": "Hi", "completion": " there"}\n', encoding="utf-8")
    shell.said("import", "shown.jsonl", "--format", "demonstrations")
    for of in ("prompts", "completions", "judgments", "preferences", "demonstrations"):
        assert shell.said("export", of, f"{of}.out.jsonl")["num_rows"]
    assert shell.said("score", "scored.jsonl", "--by", "ones:count")["mean"] == 4


def _constitution(shell: Shell) -> None:
    model = str(next(shell.folder.glob("runs/base-*/model")))
    shell.run("constitution", "show", "--out", "mine.yaml")
    short = ("--max-new-tokens", "4")
    shell.said("constitution", "critique", "scored.jsonl", "--model", model, *short)
    shell.said("constitution", "revise", "scored.jsonl", "--model", model, *short)
    with chat_server(lambda body, number: Answer("VERDICT: A")) as server:
        shell.said("constitution", "prefer", "judged.jsonl", "--base-url", server.url, "--judge", "m")


def _people(shell: Shell) -> None:
    assert shell.said("campaign", "create", "judged.jsonl", "--name", "helpful")["num_tasks"] == 1
    for words in (("show",), ("options",), ("instructions",), ("invite",), ("pause",), ("open",)):
        more = ("overlap=2",) if words == ("options",) else ()
        shell.said("campaign", *words, "helpful", *more)
    shell.said("campaign", "prioritise", "helpful", "--priorities", "priorities.jsonl")
    shell.said("campaign", "close", "helpful")
    assert shell.said("campaign", "list")["campaigns"]
    shell.said("account", "add", "Lea", "--role", "lead", "--password-stdin", typed="correct horse battery\n")
    shell.said("account", "add", "Ben", "--no-password")
    shell.said("account", "password", "Lea", "--password-stdin", typed="correct battery horse\n")
    shell.said("account", "token", "Lea")
    shell.said("account", "revoke", "Ben")
    shell.said("account", "reinstate", "Ben")
    shell.said("campaign", "add", "helpful", "Ben")
    shell.said("campaign", "remove", "helpful", "Ben")
    assert shell.said("campaign", "people", "helpful")
    shell.said("account", "erase", "Ben")
    assert shell.said("account", "list")["accounts"]
    shell.said("backup", "copy.db")
    assert shell.said("restore", "copy.db")["counts"]["campaign"]


def _the_app(shell: Shell) -> None:
    """The labelling app listens, and its pages have their style."""
    command = [str(shell.programs / "preflab"), "label", "--port", "0", "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=shell.folder, env=clean_environment()
    )  # fmt: skip
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"]
        for path, words in (("/signin", "<html"), ("/static/0/app.css", "{"), ("/healthz", "")):
            with urllib.request.urlopen(f"{url}{path}", timeout=20) as answer:
                assert answer.status == 200
                assert words in answer.read().decode(), path
        shell.done.add(("label",))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stdout.close()


def test_the_wheel_asks_for_what_pyproject_declares(wheel: Path, repository: Path) -> None:
    import tomllib

    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        headers = message_from_string(archive.read(name).decode())
        assert any(each.endswith("dist-info/licenses/LICENSE") for each in archive.namelist())
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [each for each in headers.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert sorted(map(_named, asked)) == sorted(map(_named, project["dependencies"]))
    assert set(headers.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])
    assert headers["Requires-Python"] == project["requires-python"]
    assert headers["Version"] == __version__


def _named(requirement: str) -> str:
    """The distribution's name in one spelling."""
    name = requirement
    for sign in "<>=!~;[ ":
        name = name.partition(sign)[0]
    return name.lower().replace("_", "-")
