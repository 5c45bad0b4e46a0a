"""`export model --to-hub`: what is refused before anything is written, and a push to a Hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub_server import TOKEN, hub_server
from preflab.cli import run_command
from preflab.models.tiny import build_model, build_tokenizer

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a tiny model in it."""
    monkeypatch.chdir(tmp_path)
    tokenizer = build_tokenizer(["it is here ."], context=16)
    build_model(tokenizer, num_layers=1, hidden_size=8, num_heads=2, context=16, seed=0).save_pretrained("model")
    tokenizer.save_pretrained("model")
    return tmp_path


def exported(here: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a program of its own: the Hub's client reads the environment when it is imported."""
    left_out = ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT")
    clean = {name: value for name, value in os.environ.items() if name not in left_out}
    source = str(Path(__file__).resolve().parents[3] / "src")
    settings = clean | {"PYTHONPATH": source, "HF_HOME": str(here / "home"), "PYTHONWARNINGS": "ignore"} | environment
    command = [sys.executable, "-m", "preflab", "export", "model", "model", "out", *more]
    return subprocess.run(command, cwd=here, env=settings, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--private"], "error: --private without --to-hub"),
        (["--to-hub", "one"], "error: --to-hub one: no owner\n       OWNER/NAME"),
        (["--to-hub", "a/b/c"], "error: --to-hub a/b/c: "),
        (["--to-hub", "ann/shop bot"], "error: --to-hub ann/shop bot: "),
        (["--to-hub", "ann/bot"], "error: HF_HUB_OFFLINE is set, so nothing can be pushed"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_anything_is_written(
    here: Path, capsys: Captured, words: list[str], found: str
) -> None:
    with pytest.raises(SystemExit) as leaving:
        run_command(["export", "model", "model", "out", *words])
    assert leaving.value.code == 2
    assert capsys.readouterr().err.startswith(found)
    assert not (here / "out").exists()


@pytest.mark.slow
def test_no_token_and_a_wrong_one_are_refused_before_anything_is_written(here: Path) -> None:
    with hub_server() as hub:
        ended = exported(here, "--to-hub", "ann/bot", HF_ENDPOINT=hub.url)
        assert ended.returncode == 2
        assert ended.stderr.startswith("error: there is no token for the Hub\n       HF_TOKEN in the environment")
        assert hub.asked == []
        ended = exported(here, "--to-hub", "ann/bot", HF_ENDPOINT=hub.url, HF_TOKEN="hf_wrong")
        assert ended.returncode == 2
        assert ended.stderr.startswith("error: ann/bot: the Hub cannot be reached (")
    ended = exported(here, "--to-hub", "ann/bot", HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN=TOKEN)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ann/bot: the Hub cannot be reached (")
    assert not (here / "out").exists()


@pytest.mark.slow
def test_a_push_makes_the_repository_with_model_and_card(here: Path) -> None:
    with hub_server() as hub:
        ended = exported(here, "--to-hub", "ann/bot", "--private", "--json", HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN)
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["pushed"] == f"{hub.url}/ann/bot/commit/{'1' * 40}"
        assert hub.private == {"ann/bot": True}
        written = {path.relative_to(here / "out").as_posix(): path.read_bytes() for path in (here / "out").rglob("*")}
        assert hub.repos["ann/bot"] == written
        assert b'from_pretrained("ann/bot")' in written["README.md"]
        assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(written)


@pytest.mark.slow
def test_a_repository_that_is_in_use_is_left_alone(here: Path) -> None:
    with hub_server() as hub:
        hub.repos, hub.private = {"ann/bot": {"config.json": b"{}"}, "ann/open": {"README.md": b""}}, {
            "ann/bot": True, "ann/open": False,
        }  # fmt: skip
        ended = exported(here, "--to-hub", "ann/bot", HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN)
        assert ended.stderr.startswith("error: ann/bot already has 1 file (first: config.json)")
        ended = exported(here, "--to-hub", "ann/open", "--private", HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN)
        assert ended.stderr.startswith("error: ann/open is public\n       a private repository")
        assert not (here / "out").exists()
        hub.takes_commits = False
        ended = exported(here, "--to-hub", "ann/open", HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN)
        assert ended.stderr.startswith("error: ann/open: the push failed (")
        assert "the model is in out; push it with `hf upload ann/open out`" in ended.stderr
        assert (here / "out" / "README.md").exists()
        assert hub.repos["ann/open"] == {"README.md": b""}
