"""The pages of the GRPO family, Online DPO and best-of-n: their examples, sums, names and tables are the code's."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from enumerated.test_group_optimum import CASES
from preflab.maths.best_of_n import best_of_n_kl_bound
from preflab.policy.variants import KL_LOSSES, VARIANTS
from preflab.settings.best_of_n import BestOfNSettings
from preflab.settings.grpo import GrpoSettings
from preflab.settings.online_dpo import OnlineDpoSettings
from preflab.training.metrics import GLOSSARY

LOOPS = {"grpo": "grpo", "online-dpo": "online_dpo"}
PAGES = (*LOOPS, "dr-grpo", "dapo", "rloo", "gspo", "best-of-n")


def read(repository: Path, name: str) -> str:
    return (repository / "docs" / "algorithms" / f"{name}.md").read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """The text under `## N. heading` or `## heading`."""
    match = re.search(rf"^## (?:\d+\. )?{heading}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert match is not None, heading
    return match.group(1)


def numbered_rows(text: str) -> dict[str, list[float]]:
    """Table rows that start with a name in code: name → the numbers that fill a cell of the row."""
    rows = {}
    for name, rest in re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE):
        cells = [cell.strip() for cell in rest.split("|")]
        rows[name] = [float(cell) for cell in cells if re.fullmatch(r"-?[\d.]+", cell)]
    return rows


@pytest.mark.parametrize("name", LOOPS)
def test_loops_have_every_heading_of_the_template(repository: Path, name: str) -> None:
    ppo = re.findall(r"^## (.*)$", read(repository, "ppo"), re.MULTILINE)
    assert re.findall(r"^## (.*)$", read(repository, name), re.MULTILINE) == ppo


@pytest.mark.parametrize(("name", "file"), LOOPS.items())
def test_steps_of_the_page_stand_in_the_loop(repository: Path, name: str, file: str) -> None:
    on_the_page = re.findall(r"^(\d+)\. \*\*(\w+)\*\*", section(read(repository, name), "Pseudocode"), re.MULTILINE)
    loop = (repository / "src" / "preflab" / "policy" / f"{file}.py").read_text(encoding="utf-8")
    assert re.findall(r"^ *# (\d+) (\w+)", loop, re.MULTILINE) == on_the_page
    assert re.findall(r"^    (\d) (\w+)", loop, re.MULTILINE) == on_the_page
    assert len(on_the_page) == 5


@pytest.mark.parametrize("name", PAGES)
def test_files_and_metrics_on_the_page_exist(repository: Path, name: str) -> None:
    page = read(repository, name)
    for file in re.findall(r"`((?:src|tests|docs|benchmarks)/[\w/.*]+)`", page):
        assert list(repository.glob(file)), file
    named = set(re.findall(r"`([a-z]+/[a-z_]+)`", page))
    assert named <= set(GLOSSARY), named - set(GLOSSARY)


@pytest.mark.parametrize(
    ("name", "settings"), [("grpo", GrpoSettings), ("online-dpo", OnlineDpoSettings)], ids=LOOPS.keys()
)
def test_defaults_are_those_of_the_settings(repository: Path, name: str, settings: Any) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", section(read(repository, name), "Quick facts"), re.MULTILINE)
    assert len(rows) >= 4
    for setting, default in rows:
        assert str(settings.model_fields[setting].default) == default, setting


def test_best_of_n_names_its_default_and_its_bounds(repository: Path) -> None:
    page = read(repository, "best-of-n")
    assert f"(n, {BestOfNSettings.model_fields['num_completions'].default})" in page
    bounds = re.findall(r"^\| (\d+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert len(bounds) == 4
    for n, nats in bounds:
        assert best_of_n_kl_bound(int(n)) == pytest.approx(float(nats), abs=5e-4)


def test_worked_example_is_that_of_the_data_file(repository: Path) -> None:
    path = repository / "tests" / "by_hand" / "data" / "grpo_worked_example.json"
    example = json.loads(path.read_text(encoding="utf-8"))
    advantages, losses = section(read(repository, "grpo"), "Worked example on paper").split("| loss |")
    assert numbered_rows(advantages) == example["advantages"]
    assert numbered_rows(losses) == {name: [value] for name, value in example["losses"].items()}


@pytest.mark.parametrize(("name", "num"), [("grpo", 8), ("online-dpo", 4), ("best-of-n", 2)])
def test_sums_on_the_page_are_right(repository: Path, name: str, num: int) -> None:
    sums = re.findall(r"`([^`=]+) = (-?[\d.]+)`", read(repository, name))
    assert len(sums) >= num
    for left, right in sums:
        assert re.fullmatch(r"(?:ln\(|exp\(|[\d.+\-*/() ])+", left), left
        found = eval(left, {"__builtins__": {}, "ln": math.log, "exp": math.exp})
        assert found == pytest.approx(float(right), abs=1e-6), left


def test_table_of_variants_matches_the_code(repository: Path) -> None:
    variants = section(read(repository, "grpo"), "Variants")
    rows = re.findall(r"^\| \[?`(\w+)`\]?(?:\(([\w-]+)\.md\))? \|(.*)\|$", variants, re.MULTILINE)
    listed = {name: [cell.strip() for cell in rest.split("|")] for name, _, rest in rows if name in VARIANTS}
    assert listed.keys() == VARIANTS.keys()
    for name, cells in listed.items():
        variant = VARIANTS[name]
        assert [float(clip) for clip in cells[3].split(", ")] == [variant.clip_low, variant.clip_high], name
    for _, page, _ in rows:
        assert not page or (repository / "docs" / "algorithms" / f"{page}.md").is_file()
    treatments = set(get_args(GrpoSettings.model_fields["kl_treatment"].annotation))
    assert set(re.findall(r"^\| (?:\([abc]\) )?`(\w+)` \| `", variants, re.MULTILINE)) == treatments
    assert treatments == {"reward_k1", *KL_LOSSES}


def tables(repository: Path) -> dict[str, list[list[str]]]:
    """The rows of the two generated tables of the experiment."""
    page = (repository / "docs" / "experiments" / "fixed-points.md").read_text(encoding="utf-8")
    found = {}
    for name in ("enumerated", "loops"):
        body = page.partition(f"<!-- {name} -->")[2].partition(f"<!-- end of {name} -->")[0]
        lines = [line for line in body.splitlines() if line.startswith("| `")]
        found[name] = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    return found


def test_treatments_that_reach_the_optimum_match_the_page(repository: Path) -> None:
    rows = {(name, treatment): [float(x) for x in rest] for name, treatment, *rest in tables(repository)["enumerated"]}
    assert {name for name, _ in rows} == {*VARIANTS, "online_dpo"}
    there = {key for key, distances in rows.items() if max(distances) < 0.002}
    rloo = {("rloo", treatment) for treatment in ("reward_k1", "sequence_loss", "exact")}
    assert there == rloo | {(name, "reward_k1") for name in VARIANTS} | {("online_dpo", "soft labels")}


def test_distances_of_the_loops_are_below_the_tested_limit(repository: Path) -> None:
    rows = tables(repository)["loops"]
    cases = [(name, treatment, int(num), float(kl)) for name, treatment, num, kl, *_ in rows if name != "online_dpo"]
    assert cases == list(CASES)
    assert all(float(row[4]) < 0.02 for row in rows)
