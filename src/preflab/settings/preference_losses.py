"""The table of preference losses: one class per loss, one `Row` per class.

A class has the loss's settings; its row names the function of `preflab.maths.dpo`, the implicit reward of the trained
policy, and the meaning of the loss curve. The loop, the report, the glossary of metrics, the reference pages and the
tests read this table and mention no loss by name.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from preflab.settings.base import Settings, setting

RAFAILOV = "Rafailov et al. 2023, section 6: 0.1"


class Curve(NamedTuple):
    """The description of the curve `loss/<kind>`, in the form of `preflab.training.metrics`."""

    meaning: str
    unit: str
    healthy: str
    trouble: str


@dataclass(frozen=True)
class Row:
    """The properties of a preference loss besides its settings."""

    function: str
    """Name of the function in `preflab.maths.dpo`, which is not imported here because it loads torch. The function
    takes pairs (or verdicts), the settings by name, `denominator`, and for verdicts `kl`, KTO's z₀."""
    reward: str
    """The quantity of `preflab.maths.dpo.IMPLICIT` that, times `scale`, is the implicit reward of a completion."""
    scale: str | None
    """The setting that the quantity is multiplied by; None: 1."""
    formula: str
    """The loss of a pair, or of a single completion, in a few words."""
    ends_at: str
    """The fixed point in a few words, with a link to its page in docs/algorithms if there is one."""
    curve: Curve | None = None
    """None if other stages log `loss/<kind>` too; the glossary then describes it with theirs."""
    learns_from: Literal["pairs", "verdicts"] = "pairs"
    """Pairs of completions, or single completions marked good or bad."""
    reads_reference: bool = True
    """Whether the loss depends on the reference's log-probabilities."""


class LossSettings(Settings):
    """The settings that every preference loss has; each subclass is a loss, with its row."""

    row: ClassVar[Row]
    kind: str
    weight: float = setting(1.0, "Factor of this loss in the sum.", "choice")

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The settings that the function of the row takes."""
        return {name: value for name, value in self if name not in ("kind", "weight")}

    @property
    def reward(self) -> tuple[str, float]:
        """Quantity and scale of the implicit reward; `length_normalised` divides the log-ratio by its tokens."""
        per_token = "mean_" if self.hyperparameters.get("length_normalised") else ""
        return per_token + self.row.reward, getattr(self, self.row.scale) if self.row.scale else 1.0


class DpoLoss(LossSettings):
    """Direct preference optimisation: −log σ(beta · h − margin), h the difference of log-ratios."""

    row = Row(
        function="dpo_loss",
        reward="log_ratio",
        scale="beta",
        formula="Bradley–Terry, optional `margin`",
        ends_at="π_ref · exp(u / beta)",
        curve=Curve(
            "−log σ(β · difference of log-ratios) against the labels", "nats", "below ln 2 = 0.69", "stays at 0.69"
        ),
    )
    kind: Literal["dpo"] = "dpo"
    beta: float = setting(0.1, "Reward units per nat of log-ratio.", RAFAILOV, gt=0)
    margin: float = setting(0.0, "What beta · h has to exceed.", "choice: none, as in Rafailov et al. 2023", ge=0)
    length_normalised: bool = setting(
        False, "Log-ratios per token.", "choice: off; Lambert et al. 2024 (Tülu 3): on, with beta 5"
    )


class ConservativeLoss(LossSettings):
    """Conservative DPO: labels smoothed by the assumed rate of flipped labels."""

    row = Row(
        function="cdpo_loss",
        reward="log_ratio",
        scale="beta",
        formula="Bradley–Terry on smoothed labels",
        ends_at="its own projection: [page](robust-dpo.md)",
        curve=Curve("conservative DPO on smoothed labels", "nats", "falls from ln 2 = 0.69", "stays: learns nothing"),
    )
    kind: Literal["cdpo"] = "cdpo"
    beta: float = setting(0.1, "Reward units per nat of log-ratio.", RAFAILOV, gt=0)
    flip_rate: float = setting(0.1, "Assumed share of flipped labels.", "Mitchell 2023: 0.1 as example", ge=0, lt=0.5)


class RobustLoss(LossSettings):
    """Robust DPO: unbiased if a known share of labels is flipped at random."""

    row = Row(
        function="robust_loss",
        reward="log_ratio",
        scale="beta",
        formula="Bradley–Terry on labels made unbiased",
        ends_at="π_ref · exp(u / beta) through known flips: [page](robust-dpo.md)",
        curve=Curve(
            "robust DPO; may fall below 0", "nats", "falls from ln 2 = 0.69", "far below 0: flip_rate is set too high"
        ),
    )
    kind: Literal["robust"] = "robust"
    beta: float = setting(0.1, "Reward units per nat of log-ratio.", RAFAILOV, gt=0)
    flip_rate: float = setting(
        0.1,
        "Known share of flipped labels.",
        "choice: a tenth; best estimated from labelers' agreement",
        ge=0,
        lt=0.5,
    )


class IpoLoss(LossSettings):
    """Identity preference optimisation: (h − 1/(2 tau))²."""

    row = Row(
        function="ipo_loss",
        reward="log_ratio",
        scale="tau",
        formula="(h − 1/(2 tau))²",
        ends_at="π_ref · exp(P(y ≻ μ) / tau): [page](ipo.md)",
        curve=Curve("IPO: (h − 1/(2τ))²", "nats²", "falls from 1/(4τ²)", "rises: too fast"),
    )
    kind: Literal["ipo"] = "ipo"
    tau: float = setting(
        0.1,
        "A certain label has the target h = 1/(2 tau) nats.",
        "choice: as DPO's beta; Azar et al. 2023 try 0.1 to 1",
        gt=0,
    )
    length_normalised: bool = setting(
        False, "Log-ratios per token.", "choice: off, as in the paper's equation; TRL 1.16 has it on"
    )


class HingeLoss(LossSettings):
    """max(0, 1 − beta · h)."""

    row = Row(
        function="hinge_loss",
        reward="log_ratio",
        scale="beta",
        formula="max(0, 1 − beta · h)",
        ends_at="every pair at beta · h = ± 1, as far as a policy can",
        curve=Curve("max(0, 1 − β h)", "", "falls from 1", "0: nothing more to learn from these pairs"),
    )
    kind: Literal["hinge"] = "hinge"
    beta: float = setting(0.1, "Reward units per nat of log-ratio.", "choice: as DPO", gt=0)


class SimpoLoss(LossSettings):
    """SimPO: −log σ(beta · difference of mean log-probabilities − margin); no reference."""

    row = Row(
        function="simpo_loss",
        reward="mean_logp",
        scale="beta",
        formula="Bradley–Terry with `margin`",
        ends_at="exp(tokens · (u / beta + c)): [page](simpo.md)",
        curve=Curve(
            "SimPO: −log σ(β · difference of mean log-probabilities − γ)", "nats", "falls", "near 0: memorises"
        ),
        reads_reference=False,
    )
    kind: Literal["simpo"] = "simpo"
    beta: float = setting(2.0, "Reward units per nat per token.", "Meng et al. 2024: 2.0 to 2.5", gt=0)
    margin: float = setting(1.0, "What the difference has to exceed (γ).", "Meng et al. 2024: 0.5 to 1.6", ge=0)


class OrpoLoss(LossSettings):
    """ORPO: likelihood of the chosen + odds_weight · −log σ(difference of log odds); no reference."""

    row = Row(
        function="orpo_loss",
        reward="log_odds",
        scale=None,
        formula="likelihood + Bradley–Terry",
        ends_at="between imitation and preference: [page](orpo.md)",
        curve=Curve("ORPO: likelihood of the chosen and the odds ratio", "nats", "falls", "rises: too fast"),
        reads_reference=False,
    )
    kind: Literal["orpo"] = "orpo"
    odds_weight: float = setting(0.1, "Weight of the odds ratio (λ).", "Hong et al. 2024: 0.1", ge=0)


class NllLoss(LossSettings):
    """Mean negative log-probability of the chosen completion; added to another loss, it keeps the chosen likely."""

    row = Row(
        function="chosen_nll_loss",
        reward="mean_logp",
        scale=None,
        formula="likelihood of the chosen",
        ends_at="imitates the chosen; to be mixed in",
        reads_reference=False,
    )
    kind: Literal["nll"] = "nll"
    weight: float = setting(1.0, "Factor of this loss in the sum.", "Pang et al. 2024, eq. 1: 1")


class KtoLoss(LossSettings):
    """KTO on single completions with thumbs or Likert scores; no pairs."""

    row = Row(
        function="kto_loss",
        reward="log_ratio",
        scale="beta",
        formula="no pairs: 1 − σ(±) of single completions",
        ends_at="[page](kto.md)",
        curve=Curve("KTO: 1 − σ(± β (log-ratio − z₀))", "", "falls from 0.5", "stays at 0.5: learns nothing"),
        learns_from="verdicts",
    )
    kind: Literal["kto"] = "kto"
    beta: float = setting(0.1, "Reward units per nat of log-ratio.", "Ethayarajh et al. 2024: 0.1", gt=0)
    desirable_weight: float = setting(1.0, "Weight of good completions.", "Ethayarajh et al. 2024: 1", ge=0)
    undesirable_weight: float = setting(1.0, "Weight of bad completions.", "Ethayarajh et al. 2024: 1", ge=0)


def _by_kind() -> dict[str, type[LossSettings]]:
    return {loss.model_fields["kind"].default: loss for loss in LossSettings.__subclasses__()}


LOSSES: Mapping[str, type[LossSettings]] = _by_kind()
"""Kind → loss: every class above, in their order."""
CURVES: Mapping[str, Curve] = {kind: loss.row.curve for kind, loss in LOSSES.items() if loss.row.curve is not None}
"""Kind → description of the curve `loss/<kind>`, for the losses that no other stage logs."""

if TYPE_CHECKING:
    PreferenceLoss = LossSettings
else:
    PreferenceLoss = Annotated[functools.reduce(operator.or_, LOSSES.values()), Field(discriminator="kind")]
"""One loss of a recipe, discriminated by its `kind`."""
