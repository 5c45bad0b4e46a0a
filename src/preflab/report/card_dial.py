"""The part of a model card that says that the model is a setting of a run's dial, and what was measured at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preflab.report.escaped_markdown import cells, plain
from preflab.report.measures import measure_name, measure_order, quantity
from preflab.words import count, interval_text, listed, number


@dataclass(frozen=True)
class Dialled:
    """A setting of the dial of one run, or of the average of several."""

    setting: float
    runs: Sequence[str]
    """The names of the runs; several were averaged."""
    reference: str
    """The model at setting 0."""
    scales: str
    """`adapter` with LoRA, `weights` with full fine-tuning."""
    measured: Mapping[str, Any] | None
    """The content of the dial.json that has this setting; None: it was not measured."""

    @property
    def title(self) -> str:
        """The heading of the card."""
        return f"{plain(listed(list(self.runs)))} at dial setting {number(self.setting)}"

    def opening(self) -> str:
        """The kind of the weights."""
        run = f"`{self.runs[0]}`" if len(self.runs) == 1 else f"mean of {listed([f'`{run}`' for run in self.runs])}"
        setting = number(self.setting)
        what = {
            "adapter": "The adapter was scaled after training and merged",
            "weights": "The change of all weights was scaled after training",
        }[self.scales]
        return (
            f"**No stage trained this model.** It is a setting of a dial: its weights are "
            f"`{plain(self.reference)}` + {setting} × ({run} − `{plain(self.reference)}`). {what}. "
            "What follows about training and data is about the run, which is setting 1."
        )

    def figures(self) -> list[str]:
        """The measurements at this setting as paragraphs and a table, or the command that makes them."""
        data = self.measured
        if data is None:
            more = "".join(f" --average {name}" for name in self.runs[1:])
            wanted = f"preflab dial {self.runs[0]}{more} --at {number(self.setting)}"
            return [f"Nothing was measured at this setting. `{wanted}` measures it."]
        point = next(one for one in data["points"] if one["setting"] == self.setting)
        ends = {one["setting"]: one["figures"] for one in data["points"] if one["setting"] in (0, 1)}
        columns = [point["figures"], ends[0], ends[1]]
        heads = [f"setting {number(self.setting)}", f"0, {self.reference}", f"1, {listed(list(self.runs))}"]
        rows = [
            [measure_name(name), *(interval_text(each.get(name), quantity(name).form) for each in columns)]
            for name in sorted(point["figures"], key=measure_order)
        ]
        prompts = data["prompts"]
        caption = (
            f"{count(prompts['num'], 'prompt')} ({prompts['name']}), "
            f"{count(prompts['num_completions'], 'completion')} each, equal seeds for every setting; means with "
            f"95\u00a0% intervals over prompts. KL is measured to {plain(self.reference)}. If the setting was chosen "
            "by these figures, they flatter it: measure it on other prompts."
        )
        return [caption, cells(["measure", *heads], rows)]
