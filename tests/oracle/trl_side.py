"""Run by TRL's own Python, not by the tests': TRL's losses and gradients on the tensors read from stdin, as JSON.

TRL keeps its losses inside trainer methods. They are called here as they stand, with a stand-in for the trainer that
holds nothing but the attributes the methods read, and a stand-in for the model that answers with given tensors.
"""

import json
import sys
from collections import defaultdict
from types import SimpleNamespace

import torch


class Model:
    """Answers with the given log-probabilities (B, L − 1), whatever it is asked."""

    training = True

    def __init__(self, logps):
        self.logps = logps

    def __call__(self, **_):
        zeros = torch.zeros_like(self.logps)
        return SimpleNamespace(log_probs=self.logps, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())


def trainer(**attributes):
    same = SimpleNamespace(
        device=torch.device("cpu"), gather_for_metrics=lambda value: value, gather=lambda value: value
    )
    return SimpleNamespace(
        accelerator=same,
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        **attributes,
    )


def with_prompt(mask):
    """A column for the one prompt token before the completion."""
    return torch.cat([torch.zeros_like(mask[:, :1]), mask], 1)


def dpo(loss_type, given, beta=0.1, label_smoothing=0.0):
    from trl.trainer.dpo_trainer import DPOTrainer

    logps = torch.cat([given["chosen"], given["rejected"]]).requires_grad_()
    mask = with_prompt(torch.cat([given["chosen_mask"], given["rejected_mask"]]).long())
    ids = torch.zeros_like(mask)
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "completion_mask": mask,
        "ref_chosen_logps": given["ref_chosen"],
        "ref_rejected_logps": given["ref_rejected"],
    }
    this = trainer(
        ld_alpha=None, f_divergence_type="reverse_kl", loss_types=[loss_type], loss_weights=[1.0], use_weighting=False,
        beta=beta, label_smoothing=label_smoothing,
    )  # fmt: skip
    return DPOTrainer._compute_loss(this, Model(logps), inputs, False), logps


def kto(given, beta=0.1, desirable_weight=1.0, undesirable_weight=1.0):
    from trl.trainer.kto_trainer import KTOTrainer

    logps = torch.cat([given["chosen"], given["rejected"]]).requires_grad_()
    mask = with_prompt(torch.cat([given["chosen_mask"], given["rejected_mask"]]).long())
    ids, num = torch.zeros_like(mask), len(given["chosen"])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "completion_mask": mask,
        "label": torch.tensor([True] * num + [False] * num),
        "ref_logps": torch.cat([given["ref_chosen"], given["ref_rejected"]]),
        "ref_KL_logps": given["ref_mismatched"],
    }
    this = trainer(
        loss_type="kto", calculate_KL=True, _compute_kl_logps=lambda model, batch: given["mismatched"],
        beta=beta, desirable_weight=desirable_weight, undesirable_weight=undesirable_weight,
    )  # fmt: skip
    return KTOTrainer._compute_loss(this, Model(logps), inputs, False), logps


def means(given):
    logps = torch.cat([given["chosen"], given["rejected"]]).requires_grad_()
    mask = torch.cat([given["chosen_mask"], given["rejected_mask"]])
    return logps, ((logps * mask).sum(1) / mask.sum(1)).chunk(2), (logps * mask).sum(1).chunk(2)


def simpo(given, beta, gamma):
    from trl.experimental.cpo.cpo_trainer import CPOTrainer

    logps, mean, _ = means(given)
    this = trainer(alpha=0.0, loss_type="simpo", beta=beta, simpo_gamma=gamma, label_smoothing=0.0)
    return CPOTrainer.cpo_loss(this, *mean)[0].mean(), logps


def smoothed(given, beta, label_smoothing):
    """CPO's sigmoid loss: conservative DPO where the reference says 0 of everything."""
    from trl.experimental.cpo.cpo_trainer import CPOTrainer

    logps, _, total = means(given)
    this = trainer(alpha=0.0, loss_type="sigmoid", beta=beta, label_smoothing=label_smoothing)
    return CPOTrainer.cpo_loss(this, *total)[0].mean(), logps


def odds_ratio(given, beta):
    """ORPO's second term, as TRL subtracts it from the likelihood."""
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    logps, mean, _ = means(given)
    return -ORPOTrainer.odds_ratio_loss(trainer(beta=beta), *mean)[0].mean(), logps


LOSSES = {
    **{kind: lambda given, kind=kind, **options: dpo(kind, given, **options)
       for kind in ("sigmoid", "hinge", "ipo", "robust", "sigmoid_norm")},
    "kto": kto,
    "simpo": simpo,
    "smoothed": smoothed,
    "odds_ratio": odds_ratio,
}  # fmt: skip


def main():
    import trl

    asked = json.load(sys.stdin)
    given = {name: torch.tensor(value) for name, value in asked["given"].items()}
    found = {"version": trl.__version__}
    for name, (kind, options) in asked["losses"].items():
        loss, logps = LOSSES[kind](given, **options)
        (gradient,) = torch.autograd.grad(loss, logps)
        found[name] = [loss.item(), gradient.tolist()]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
