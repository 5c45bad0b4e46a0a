"""The dial: the models between the reference and a run, and beyond the run, without training again.

    θ(α) = θ_ref + α (θ_run − θ_ref),    0 ≤ α ≤ 1.5

α = 0 is the reference and α = 1 the run, bit for bit. With LoRA, θ_run − θ_ref = s · B A in every adapted weight, so α
scales the adapter (s is lora.alpha / lora.rank). With full fine-tuning it scales the change of all weights.

Several runs from one reference are averaged first: θ_run is then the mean of their weights. This averages the products
s · B A, whatever the runs' ranks and target modules. Averaging the factors would mix them: the product of the means of
two runs' factors is (B₁ + B₂)(A₁ + A₂) / 4, with the cross terms B₁A₂ and B₂A₁ that no run has learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.models.export import export_language_model
from preflab.models.language_model import LanguageModel, open_language_model
from preflab.models.loading import read_config
from preflab.models.packages import resolve_package
from preflab.models.trunk import Trunk
from preflab.words import number

MOST = 1.5
"""The highest setting. Further out the weights were never near anything that training saw."""
State = Mapping[str, Tensor]


def check_setting(setting: float) -> float:
    """The setting, if it is between 0 and `MOST`.

    Raises:
        PreflabError: it is outside.
    """
    if not 0 <= setting <= MOST:
        raise PreflabError(
            f"a dial setting of {number(setting)}",
            f"a number from 0 (the reference) over 1 (the run) to {MOST}",
            "choose a setting in this range",
        )
    return setting


def weights_at(reference: Tensor, run: Tensor, setting: float) -> Tensor:
    """reference + setting · (run − reference), computed in float64; exactly one of the two at 0 and at 1."""
    if setting in (0, 1):
        return run if setting else reference
    start = reference.double()
    return (start + setting * (run.double() - start)).to(run.dtype)


def average(runs: Sequence[Tensor]) -> Tensor:
    """The mean of several runs' weights, computed in float64; of one run the weights themselves."""
    if len(runs) == 1:
        return runs[0]
    return (sum(run.double() for run in runs[1:]) + runs[0].double()).div(len(runs)).to(runs[0].dtype)


@dataclass(frozen=True)
class Dial:
    """A reference, and a model whose weights `turn` sets."""

    reference: LanguageModel
    model: LanguageModel
    """The model that is turned; after `open` it stands at 1."""
    start: State
    """The reference's weights, float32."""
    end: State
    """The run's weights, or the mean of several runs', float32."""

    @classmethod
    def open(
        cls,
        reference: Path | str,
        runs: Sequence[Path],
        *,
        dtype: str | torch.dtype = "float32",
        device: torch.device | None = None,
    ) -> Dial:
        """Open the reference and the runs.

        Args:
            reference: the model that all runs started from.
            runs: the model folders of one or several runs; several are averaged.
            dtype: type of the weights that measure. Settings are always computed from float32 weights.
            device: where the measuring models go; None: they stay on the CPU.

        Raises:
            PreflabError: a model is quantised, has other weights or another vocabulary, or cannot be opened.
        """
        base, start = _open(reference, dtype, device)
        model, first = _open(runs[0], dtype, device)
        _check_alike(reference, base, start, runs[0], model, first)
        states: list[State] = [{name: tensor.clone() for name, tensor in first.items()}]
        for folder in runs[1:]:
            other, state = _open(folder, "float32", None)
            _check_alike(reference, base, start, folder, other, state)
            states.append(state)
        end = {name: average([state[name] for state in states]) for name in _floating(start)}
        dial = cls(base, model, start, end)
        dial.turn(1.0)
        return dial

    def turn(self, setting: float) -> None:
        """Set the model's weights to a setting.

        Raises:
            PreflabError: the setting is outside 0 to `MOST`.
        """
        check_setting(setting)
        state = self.model.model.state_dict()
        with torch.no_grad():
            for name, run in self.end.items():
                state[name].copy_(weights_at(self.start[name], run, setting))

    @cached_property
    def trunk(self) -> Trunk:
        """The turned model as policy, with the reference beside it, to measure KL."""
        return self.model.trunk(("policy",), reference=self.reference)

    def write(self, setting: float, folder: Path) -> float:
        """Write the model at a setting as a Hugging Face folder, in the type the dial was opened in.

        Returns:
            The largest difference between the logits of the reopened folder and of the model in memory.
        """
        self.turn(setting)
        return export_language_model(self.model.trunk(("policy",)), "policy", folder)


def _open(ref: Path | str, dtype: str | torch.dtype, device: torch.device | None) -> tuple[LanguageModel, State]:
    """A model for measuring, and its float32 weights on the CPU, which share memory with it where they can."""
    config = read_config(resolve_package(ref))
    if getattr(config, "quantization_config", None) is not None:
        raise PreflabError(
            f"{ref}: its weights are quantised",
            "weights in float32, bfloat16 or float16, since the dial adds to them",
            "use a version of the model that is not quantised",
        )
    opened = open_language_model(ref, dtype="float32")
    state = dict(opened.model.state_dict())
    if dtype not in ("float32", torch.float32):
        return open_language_model(ref, dtype=dtype, device=device), state
    if device is not None:
        opened.model.to(device)
    return opened, state


def _floating(state: State) -> list[str]:
    return [name for name, tensor in state.items() if tensor.is_floating_point()]


def _check_alike(
    reference: Path | str, base: LanguageModel, start: State, folder: Path, model: LanguageModel, state: State
) -> None:
    """Check that a run has the tensors and the vocabulary of the reference.

    Raises:
        PreflabError: it has not.
    """
    differing = sorted(start.keys() ^ state.keys()) or [n for n in start if start[n].shape != state[n].shape]
    if differing:
        raise PreflabError(
            f"{folder}: its weights differ from those of {reference} in name or shape (first: {differing[0]})",
            "a run that started from this reference",
            "name a run that was trained from the reference",
        )
    vocabularies: list[Any] = [base.tokenizer.get_vocab(), model.tokenizer.get_vocab()]
    if vocabularies[0] != vocabularies[1]:
        raise PreflabError(
            f"{folder}: its vocabulary differs from that of {reference}",
            "the tokenizer of the reference",
            "name a run that was trained from the reference",
        )
