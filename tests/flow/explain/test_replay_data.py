"""The replay's data: exact numbers, a bounded size that says what it leaves out, plain errors, the command."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from preflab.cli import run_command
from preflab.errors import PreflabError
from preflab.explain.inline import content_policy, json_in_script
from preflab.explain.replay_alarms import VIEWS
from preflab.explain.replay_data import MOST_BYTES, replay_data
from preflab.explain.replay_page import replay_page
from preflab.explain.replay_rows import MOST_TOKENS, pack_floats, shown_places, spread_order
from preflab.files import read_json
from preflab.report.measures import measure_name
from preflab.training.alarms import Alarms
from replay_runs import dialogue, pairs_run, ppo_run, rollout, sentence
from report_runs import write_run


def unpacked(text: str) -> list[float]:
    content = base64.b64decode(text)
    return list(struct.unpack(f"<{len(content) // 4}f", content))


def test_floats_are_packed_as_little_endian_float32() -> None:
    """1.0 is 0x3f800000 and −2.0 is 0xc0000000 in IEEE 754; a quantity that does not exist is NaN, 0x7fc00000."""
    assert base64.b64decode(pack_floats([1.0, -2.0])).hex() == "0000803f000000c0"
    assert base64.b64decode(pack_floats([None])).hex() == "0000c07f"


def test_rows_keep_every_number_of_the_record(tmp_path: Path) -> None:
    tokens = ["good", " ", ""]
    row = rollout(0, 0, tokens, kl=[0.1, 0.25, 0.0], written=[True, False, True])
    data = replay_data([ppo_run(tmp_path, steps=1, rows={0: [row]})])
    packed = data["runs"][0]["rows"][0]
    assert unpacked(packed["per"]["kl"]) == [struct.unpack("<f", struct.pack("<f", 0.1))[0], 0.25, 0.0]
    assert unpacked(packed["per"]["values"]) == row["values"]
    assert (packed["tokens"], packed["ids"], packed["unwritten"]) == (tokens, [0, 99, 13], [1])
    assert (packed["reward"], packed["terms"]) == (0.0, [("rm", 0.0), ("brief", 0.0)])
    assert (packed["num"], packed["gap"]) == (3, 0)


def test_dialogues_keep_their_turns_and_no_nan_reaches_json(tmp_path: Path) -> None:
    """Tokens 0–2 and 11–12 are the policy's, 3–10 the environment's."""
    uneven = dialogue(0, 1, turns=["one text alone"])
    data = replay_data([ppo_run(tmp_path, steps=1, rows={0: [dialogue(0, 0), uneven]})])
    packed, other = data["runs"][0]["rows"]
    assert packed["turns"] == [
        {"start": 0, "text": "hello .", "reward": 0.5},
        {"start": 3, "text": "what is 2 + 2 ?"},
        {"start": 11, "text": "four", "reward": 2.0},
    ]
    assert (packed["lastTurn"], packed["completion"], packed["unwritten"]) == ("right", "", list(range(3, 11)))
    assert "turns" not in other, "texts that do not match the tokens"
    json.dumps(data, allow_nan=False)


def test_metrics_of_an_environment_are_described(tmp_path: Path) -> None:
    run = ppo_run(tmp_path, steps=1)
    row = {"step": 0, "reward/environment": 1.0, "reward/environment/num_turns": 2.0, "reward/environment/won": 0.5}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    glossary = replay_data([run])["glossary"]
    assert glossary["reward/environment/num_turns"]["meaning"] == "turns of the policy in a dialogue"
    assert glossary["reward/environment/won"]["meaning"].startswith("`won` of the environment's last reply")
    assert measure_name("reward/environment") == "reward of the environment"
    assert measure_name("reward/environment/num_turns") == "turns of the policy"
    assert measure_name("reward/environment/won") == "won (environment)"
    assert measure_name("reward/rm") == "rm (reward model)"


def test_steps_spread_over_the_run() -> None:
    """Of 9: both ends, the middle of 0–8, the middles of 0–4 and 4–8, then those between."""
    assert list(spread_order(9)) == [0, 8, 4, 2, 6, 1, 3, 5, 7]
    assert list(spread_order(1)) == [0]
    assert list(spread_order(0)) == []


def test_a_limited_page_has_the_steps_of_alarms_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    run = replay_data([ppo_run(tmp_path, steps=30)], most_steps=4, most_rows=2)["runs"][0]
    assert sorted({row["step"] for row in run["rows"]}) == [0, 3, 5, 29]
    assert {row["row"] for row in run["rows"]} == {0, 1}
    assert run["leftOut"] == [
        "4 of 30 kept steps are on this page, those of alarms among them.",
        "8 kept rollouts of these steps had no room on this page.",
    ]


def test_a_page_stays_under_five_megabytes(tmp_path: Path) -> None:
    rows = {step: [rollout(step, row, sentence(row, 5_000)) for row in range(4)] for step in range(6)}
    data = replay_data([ppo_run(tmp_path, rows=rows)])
    size = len(json_in_script({"rows": data["runs"][0]["rows"]}).encode())
    assert 0.8 * MOST_BYTES < size < MOST_BYTES
    assert len(replay_page(data).encode()) < 5_000_000
    assert len(data["runs"][0]["rows"]) < 24
    assert data["runs"][0]["leftOut"]


def test_a_very_long_rollout_has_its_first_and_last_tokens(tmp_path: Path) -> None:
    row = rollout(0, 0, sentence(0, 100_000))
    data = replay_data([ppo_run(tmp_path, steps=1, rows={0: [row]})])
    packed = data["runs"][0]["rows"][0]
    assert len(packed["tokens"]) == MOST_TOKENS == 6_000
    assert (packed["num"], packed["gap"], packed["head"], packed["gapWritten"]) == (100_000, 94_000, 4_000, 94_000)
    assert unpacked(packed["per"]["kl"])[4_000] == row["kl"][98_000]
    assert shown_places(100_000)[3_999:4_001] == [3_999, 98_000]
    assert packed["completion"][2] == len(row["completion"]) - 20_000
    assert len(replay_page(data)) < 1_000_000


def test_pairs_keep_both_sides(tmp_path: Path) -> None:
    run = replay_data([pairs_run(tmp_path)], most_rows=3)["runs"][0]
    at_two = [row for row in run["rows"] if row["step"] == 2]
    assert [(row["pair"], row["side"]) for row in at_two] == [(0, "chosen"), (0, "rejected")]
    assert at_two[0]["margin"] == pytest.approx(0.24)
    assert unpacked(at_two[1]["per"]["logps"])[0] == pytest.approx(-1.2)


def test_a_stage_of_pairs_without_a_record_names_the_setting(tmp_path: Path) -> None:
    run = replay_data([pairs_run(tmp_path, "reward", kept=False)])["runs"][0]
    assert run["rows"] == []
    assert "stages.reward.num_kept_pairs=8" in run["note"]


def broken(folder: Path, kind: str) -> Path:
    if kind == "old":
        run = write_run(folder, "ppo", "ppo", seconds=1.0, summary="", lines={"rollouts.jsonl": [{"step": 0}]})
    elif kind == "none":
        run = write_run(folder, "ppo", "ppo", seconds=1.0, summary="")
    elif kind == "judge":
        run = write_run(folder, "labels", "judge", seconds=1.0, summary="")
    elif kind == "no Parquet":
        run = ppo_run(folder, steps=1)
        (run / "rollouts" / "step-000000.parquet").write_text("not one")
    else:
        run = folder / "empty"
        run.mkdir()
    return run


@pytest.mark.parametrize(
    ("kind", "found", "do"),
    [
        ("old", "rollouts.jsonl, the record of an older version", "preflab run --fresh ppo"),
        ("none", "no kept rollouts", "num_kept_rollouts"),
        ("judge", "a stage of kind judge", "name the folder of such a stage"),
        ("no Parquet", "step-000000.parquet", "run the stage again"),
        ("no run", "no manifest.json", "name a folder below"),
    ],
)
def test_a_run_that_cannot_be_replayed_says_why(tmp_path: Path, kind: str, found: str, do: str) -> None:
    with pytest.raises(PreflabError) as error:
        replay_data([broken(tmp_path, kind)])
    assert found in error.value.found
    assert do in error.value.do


def test_every_alarm_has_a_view(tmp_path: Path) -> None:
    assert set(VIEWS) == set(Alarms(tmp_path / "alarms.jsonl", kl_budget=None).rules)


def test_json_cannot_end_its_script_element() -> None:
    hostile = {"text": "</script><!--<script>&\u2028\u202e\ud800"}
    text = json_in_script(hostile)
    assert not {"<", ">", "&", "\u2028", "\u202e", "\ud800"} & set(text)
    assert json.loads(text) == hostile
    with pytest.raises(PreflabError, match="JSON compliant"):
        json_in_script({"number": float("nan")})


def test_the_policy_names_the_script_by_its_hash() -> None:
    """SHA-256 of the empty text, in base64."""
    assert "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='" in content_policy("")
    assert "connect-src" not in content_policy("")
    assert content_policy("", "'self'").endswith("; connect-src 'self'")


def test_the_command_finds_a_stage_and_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    ppo_run(tmp_path / "runs")
    ppo_run(tmp_path / "runs", "ppo_free")
    monkeypatch.chdir(tmp_path)
    assert run_command(["replay", "ppo", str(next((tmp_path / "runs").glob("ppo_free-*")))]) == 0
    assert "open replay-ppo-and-ppo_free.html in a browser" in capsys.readouterr().out
    assert "<title>Replay of ppo and ppo_free</title>" in (tmp_path / "replay-ppo-and-ppo_free.html").read_text()
    assert run_command(["replay", "ppo", "--out", "page.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == "page.html"
    with pytest.raises(SystemExit):
        run_command(["replay", "nowhere"])
    assert "neither the folder of a run nor a stage with a run" in capsys.readouterr().err


def test_the_command_searches_the_workspace_of_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `simulate` and `dial` do; of two runs of the stage the newer one, which is still in progress, is shown."""
    ppo_run(tmp_path / "out" / "runs")
    newer = ppo_run(tmp_path / "out" / "runs" / "later").rename(tmp_path / "out" / "runs" / "ppo-later")
    manifest = read_json(newer / "manifest.json")
    in_progress = {"state": "running", "started": "2030-01-02T10:00:00+00:00", "finished": None}
    (newer / "manifest.json").write_text(json.dumps({**manifest, **in_progress}))
    stages = "stages: {base: {kind: tiny, text: corpus}}"
    (tmp_path / "recipe.yaml").write_text(f"recipe: 1\ndata: {{corpus: {{path: c.jsonl}}}}\nworkspace: out\n{stages}\n")
    (tmp_path / "c.jsonl").write_text('{"text": "my parcel is late"}\n')
    monkeypatch.chdir(tmp_path)
    assert run_command(["replay", "ppo", "--out", "page.html"]) == 0
    assert '"folder":"ppo-later"' in (tmp_path / "page.html").read_text()
