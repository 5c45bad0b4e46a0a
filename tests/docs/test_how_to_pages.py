"""The how-to pages name alarms, settings, values, figures and messages that the code has, and leave none out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from docs.test_structure import settings_models
from docs_scripts import docs_script
from preflab.explain.replay_data import MOST_ROWS, MOST_STEPS
from preflab.explain.replay_rows import HEAD, MOST_TOKENS
from preflab.settings.learning import RunSettings
from preflab.settings.recipe import DeviceSettings
from preflab.training.alarms import Alarms
from preflab.training.metrics import GLOSSARY

PAGES = ("evaluate", "probes", "replay", "trackers", "precision-and-devices", "troubleshooting", "serve")


@pytest.fixture(scope="module")
def pages(repository: Path) -> dict[str, str]:
    folder = repository / "docs" / "how-to"
    return {name: (folder / f"{name}.md").read_text(encoding="utf-8") for name in PAGES}


def first_cells(text: str, heading: str) -> list[str]:
    """The first cell of every row of the tables below a heading."""
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [row.split(" | ")[0].removeprefix("| ") for row in rows if not row.startswith(("| ---", "| alarm", "| me"))]


def test_troubleshooting_has_every_alarm(pages: dict[str, str], tmp_path: Path) -> None:
    rules = Alarms(tmp_path / "alarms.jsonl", kl_budget=None).rules
    assert first_cells(pages["troubleshooting"], "Alarms") == [f"`{name}`" for name in rules]


def test_settings_named_on_the_pages_exist(pages: dict[str, str]) -> None:
    known = {name for model in settings_models() for name in model.model_fields}
    named = {
        part
        for text in pages.values()
        for word in re.findall(r"`([a-z]+(?:[_.][a-z_]+)+)(?:: [^`]*)?`", text)
        for part in word.split(".")
        if "_" in part
    }
    not_settings = {"right_told", "p_holm", "num_higher", "num_lower", "mismatch", "generation_config", "online_dpo"}
    assert {"kl_coef", "num_critic_warmup_steps", "tokens_per_micro_batch", "length_control"} <= named
    assert not named - known - not_settings


def test_metrics_named_in_troubleshooting_exist(pages: dict[str, str]) -> None:
    names = set(re.findall(r"`([a-z]+/[a-z_]+)`", pages["troubleshooting"] + pages["precision-and-devices"]))
    assert {"clip/policy", "value/explained_variance", "mismatch/logps_mean"} <= names
    assert names <= GLOSSARY.keys()


def test_messages_quoted_in_troubleshooting_stand_in_the_source(pages: dict[str, str], repository: Path) -> None:
    source = "\n".join(file.read_text(encoding="utf-8") for file in (repository / "src" / "preflab").rglob("*.py"))
    joined = re.sub(r'"\n\s+f?"', "", source)
    quoted = [
        text for cell in first_cells(pages["troubleshooting"], "Running") for text in re.findall("`([^`]+)`", cell)
    ]
    parts = [part.strip(" .,") for text in quoted for part in text.split("…")]
    missing = [part for part in parts if part and part not in joined]
    assert len(quoted) >= 7
    assert not missing, f"no message of preflab has these words: {missing}"


def test_trackers_page_has_every_value(pages: dict[str, str]) -> None:
    values = get_args(get_args(RunSettings.model_fields["log_with"].annotation)[0])
    assert {f"`{value}`" for value in values} == set(re.findall(r"^\| (`\w+`)", pages["trackers"], re.MULTILINE))


def test_replay_page_names_the_limits(pages: dict[str, str]) -> None:
    limits = f"{MOST_STEPS} steps with {MOST_ROWS} rollouts", f"{MOST_TOKENS:,} tokens", f"first {HEAD:,} and the"
    missing = [
        words for words in (*limits, f"last {MOST_TOKENS - HEAD:,}") if words not in " ".join(pages["replay"].split())
    ]
    assert not missing


def test_precision_page_has_every_value(pages: dict[str, str]) -> None:
    rows = re.findall(r"^\| `(\w+)`", pages["precision-and-devices"].partition("## Which")[0], re.MULTILINE)
    assert rows[1:] == list(get_args(DeviceSettings.model_fields["precision"].annotation))


def test_glossary_is_in_alphabetical_order_and_explains_what_contributing_asks_for(repository: Path) -> None:
    terms = list(docs_script(repository, "glossary").TERMS)
    spelled = [term.lower().replace("π", "pi") for term in terms]
    assert spelled == sorted(spelled)
    assert {"completion", "judgment", "preference", "labeler", "campaign", "policy", "reference", "reward"} <= {*terms}
