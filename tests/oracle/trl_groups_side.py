"""Run by TRL's own Python, not by the tests': the losses of GRPO and RLOO on the tensors read from stdin, as JSON.

They are called as they stand in TRL's trainers, with a stand-in for the trainer that holds nothing but the attributes
the methods read.
"""

import json
import sys
from collections import defaultdict
from types import SimpleNamespace

import torch


def trainer(given, **attributes):
    logps = given["logps"].clone().requires_grad_()
    same = SimpleNamespace(
        num_processes=1, gather=lambda value: value, reduce=lambda value, reduction: value, sync_gradients=True
    )
    this = SimpleNamespace(
        accelerator=same,
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        current_gradient_accumulation_steps=1,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (logps, torch.zeros_like(logps), None),
        **attributes,
    )
    mask = given["mask"].long()
    inputs = {
        "prompt_ids": mask[:, :1],
        "prompt_mask": mask[:, :1],
        "completion_ids": mask,
        "completion_mask": mask,
        "old_per_token_logps": given["old_logps"],
        "old_logps": (given["old_logps"] * mask).sum(1),
        "ref_per_token_logps": given["ref_logps"],
        "advantages": given["advantages"],
        "num_items_in_batch": mask.sum(),
    }
    return this, inputs, logps


def grpo(given, loss_type, level, low, high, beta=0.0, max_tokens=1):
    from trl.trainer.grpo_trainer import GRPOTrainer

    this, inputs, logps = trainer(
        given, loss_type=loss_type, importance_sampling_level=level, epsilon_low=low, epsilon_high=high, beta=beta,
        max_completion_length=max_tokens, top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False,
        _entropy_bonus_enabled=False,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
    )  # fmt: skip
    return GRPOTrainer._compute_loss(this, None, inputs), logps


def rloo(given, low, high):
    from trl.trainer.rloo_trainer import RLOOTrainer

    this, inputs, logps = trainer(given, epsilon_low=low, epsilon_high=high)
    return RLOOTrainer._compute_loss(this, None, inputs), logps


def main():
    import trl

    asked = json.load(sys.stdin)
    given = {name: torch.tensor(value) for name, value in asked["given"].items()}
    found = {"version": trl.__version__}
    for name, (kind, options) in asked["losses"].items():
        loss, logps = {"grpo": grpo, "rloo": rloo}[kind](given, **options)
        (gradient,) = torch.autograd.grad(loss, logps)
        found[name] = [loss.item(), gradient.tolist()]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
