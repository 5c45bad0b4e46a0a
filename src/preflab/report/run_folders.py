"""Read run folders for the report: the manifest and the files that the stage's kind writes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.files import describe_cut_files, read_json, read_jsonl
from preflab.report.blocks import Link
from preflab.report.names import short_names, shorten_names
from preflab.seeds import split_seed, stages_of

POLICIES = ("ppo", "grpo", "online_dpo")
"""Kinds of on-policy stages; their metrics, rollouts and alarms have the same form."""

PLACES = ("", " second", " third", " fourth")
"""Class added to a role for its first, second, third and fourth line; the first is solid, the others are dashed."""

MOST_LABELS = 4
"""Most training seeds of a stage whose lines are labelled one by one."""


@dataclass(frozen=True)
class Run:
    """One run folder."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Run:
        """Read the run in a folder.

        Raises:
            PreflabError: the folder has no readable manifest.
        """
        if not (folder / "manifest.json").is_file():
            raise PreflabError(
                f"{folder}: no manifest.json", "the folder of a run", "name a folder below the workspace's runs/"
            )
        return cls(folder, read_json(folder / "manifest.json"))

    @property
    def name(self) -> str:
        """The stage's name in the recipe."""
        return str(self.manifest.get("stage", self.folder.name))

    @property
    def kind(self) -> str:
        """The stage's kind: sft, reward, ppo, …"""
        return str(self.manifest.get("kind", ""))

    @property
    def settings(self) -> Mapping[str, Any]:
        """The resolved settings."""
        return self.manifest.get("settings") or {}

    @property
    def seconds(self) -> float | None:
        """Wall-clock time in seconds; None if it was not recorded."""
        return self.manifest.get("seconds")

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one per logged step."""
        return read_jsonl(self.folder / "metrics.jsonl")

    @cached_property
    def cut(self) -> list[str]:
        """Files of a finished stage that have lost rows since: `metrics cut: 30 of 60 rows`."""
        if self.manifest.get("state") != "done":
            return []
        return describe_cut_files(self.folder, self.manifest.get("rows") or {})

    @cached_property
    def alarms(self) -> list[dict[str, Any]]:
        """Alarms that fired, in order."""
        return read_jsonl(self.folder / "alarms.jsonl")

    @cached_property
    def rollouts(self) -> list[dict[str, Any]]:
        """The columns of the kept rollouts that the report shows; runs of earlier versions kept them as JSON lines."""
        from preflab.explain.rollout_files import columns_in, read_rollouts

        wanted = ("step", "prompt", "completion", "reward", "tokens", "kl")
        of_dialogues = ("written", "turns", "turn_rewards", "last_turn")
        there = columns_in(self.folder)
        table = read_rollouts(self.folder, (*wanted, *(name for name in of_dialogues if name in there)))
        return read_jsonl(self.folder / "rollouts.jsonl") if table is None else table.to_pylist()

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; {} if it does not exist."""
        path = self.folder / name
        return read_json(path) if path.is_file() else {}

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """The measurements of an evaluate stage, with short model names; {} for other stages."""
        return shorten_names(self.json("evaluation.json"), self._short_names)

    @cached_property
    def samples(self) -> list[dict[str, Any]]:
        """The completions of an evaluate stage, one row per prompt, with short model names."""
        rows = read_jsonl(self.folder / "samples.jsonl")
        short = self._short_names
        return [
            {
                **row,
                "completions": {short.get(name, name): completion for name, completion in row["completions"].items()},
            }
            for row in rows
        ]

    @cached_property
    def _short_names(self) -> dict[str, str]:
        return short_names([model["name"] for model in self.json("evaluation.json").get("models", [])])

    def series(self, name: str) -> tuple[list[float], list[float]]:
        """Steps and values of one metric, at the steps where it was logged."""
        rows = [(row["step"], row[name]) for row in self.metrics if row.get(name) is not None]
        return [float(step) for step, _ in rows], [float(value) for _, value in rows]


@dataclass(frozen=True)
class Page:
    """The input of every section: the runs, and the page's folder, from which links are made."""

    runs: Sequence[Run]
    """The reported runs."""
    base: Path
    """The folder in which the page will be stored."""
    num_samples: int = 12
    """Number of prompts shown with completions."""
    before: Sequence[Run] = ()
    """Stages that led to the reported runs; the page includes their time and their labels."""

    @property
    def everything(self) -> list[Run]:
        """The reported runs and those before them, each once, in the order in which they finished."""
        runs = {run.folder.resolve(): run for run in (*self.before, *self.runs)}
        return sorted(runs.values(), key=lambda run: str(run.manifest.get("finished") or "~"))

    def of_kind(self, *kinds: str) -> list[Run]:
        """The reported runs of these kinds, in their order."""
        return [run for run in self.runs if run.kind in kinds]

    def link(self, run: Run, name: str = "", text: str = "") -> Link:
        """A relative link to a run's file, or to its folder."""
        target = run.folder / name if name else run.folder
        href = Path(os.path.relpath(target.resolve(), self.base.resolve())).as_posix()
        return Link(text or f"{run.name}/{name}", href if name else href + "/")

    def files(self, run: Run, *names: str) -> list[Link]:
        """Links to those of the files that exist."""
        return [self.link(run, name) for name in names if (run.folder / name).exists()]

    def role(self, model: str) -> str:
        """The colour class of a model: grey (`reference`) for baselines, blues for policies, green for people."""
        policies = [run.name for run in self.of_kind(*POLICIES)]
        evaluations = [run.evaluation for run in self.of_kind("evaluate")]
        if model in [evaluation.get("human") for evaluation in evaluations]:
            return "gold"
        for evaluation in evaluations:
            others = [entry["model"] for entry in evaluation.get("comparisons", [])]
            policies += [name for name in others if name not in policies]
        stages, stage = list(stages_of(policies)), split_seed(model)[0]
        return place_role("policy", stages.index(stage)) if stage in stages else "reference"


def place_role(role: str, index: int) -> str:
    """The class of the index-th stage of a role."""
    return role + PLACES[min(index, len(PLACES) - 1)]


def line_role(role: str, names: Sequence[str], name: str) -> str:
    """The class of a run's line among those of these runs; the seeds of a stage are thin lines of one class."""
    stages, stage = stages_of(names), split_seed(name)[0]
    return place_role(role, list(stages).index(stage)) + (" seed" if len(stages[stage]) > 1 else "")


def line_label(names: Sequence[str], name: str) -> str:
    """The label of a run's line: "" if it is alone; of a stage with many seeds one line is labelled for all."""
    if len(names) == 1:
        return ""
    stage = split_seed(name)[0]
    seeds = stages_of(names)[stage]
    if len(seeds) <= MOST_LABELS:
        return name
    return f"{stage}, {len(seeds)} seeds" if name == seeds[0] else ""
