"""The content of docs/reference/glossary.md: the terms, and rows that come from the code."""

from __future__ import annotations

import inspect
from typing import Any, get_args

TERMS: dict[str, str] = {
    "action value, Q": "The expected reward from a token onwards if that token is written; V is the value before it.",
    "adapter, LoRA": "Small matrices added to the layers of a frozen model. Only the matrices are trained.",
    "advantage": "How much better a completion, or a token of it, was than expected. If positive, it becomes likelier.",
    "alarm": "A rule that checks the metrics of a run and names the setting to change.",
    "best-of-n": "Sample n completions and keep the one with the highest reward. Nothing is trained.",
    "Bradley–Terry": "P(a is preferred to b) = σ(r(a) − r(b)): the model with which a reward is learned from pairs.",
    "campaign": "A question put to labelers about completions, with its tasks, members and judgments.",
    "chosen, rejected": "The better and the worse completion of a pair.",
    "chunked": "Log-probabilities from hidden states, a few tokens at a time, so that not all logits are in memory.",
    "completion": "What a model wrote for a prompt.",
    "consensus": "The order of a task's completions that fits its labelers' votes best, weighted by reliability.",
    "constitution": "Principles by which a model criticises, revises and compares completions.",
    "dial": "The models between a reference and a run, and some beyond: reference + setting · (run − reference).",
    "effective number": "1 / Σ w² of importance weights: how many samples of equal weight would tell as much.",
    "entropy": "How uncertain the policy is about the next token, in nats.",
    "expectile": "A mean that weighs what lies above it by τ, below it by 1 − τ: at ½ the mean, towards 1 the maximum.",
    "F": "A labeler's mark for an unusable completion. It is left out of the order.",
    "gold task": "A task whose answer is known. It measures how reliable labelers are.",
    "held out": "Prompts, or preferences, that training does not see. All rows of a prompt are on the same side.",
    "implicit reward": "β log π/π_ref: the reward for which a policy trained by DPO is optimal.",
    "importance weight": "How much a sample counts for another policy than the one that wrote it.",
    "judge": "A function, reward model or AI that scores completions. Evaluate with one that training never saw.",
    "judgment": "One answer of one labeler to one task, with what was shown and the time it took.",
    "KL": "How far the policy is from its reference: mean log π/π_ref of the policy's own completions, in nats.",
    "labeler": "A person, an AI judge or a simulated labeler that judges completions.",
    "log-ratio": "log π − log π_ref of a completion, summed over its tokens.",
    "micro-batch": "The rows of one forward pass. How a step is split into them changes the memory but not the result.",
    "nat": "The unit of log-probabilities with the natural logarithm. 0.69 nats halve a probability.",
    "π*": "The optimum of reward minus β · KL: π* ∝ π_ref exp(r/β).",
    "π_old": "The policy that wrote the completions of a step, before the step's updates.",
    "policy": "The model that writes completions and is trained.",
    "pool": "Samples of several policies, each with its log-probability under all of them; see `simulate`.",
    "preference": "The result of judgments: a prompt, its completions, their order, pairs, scores or thumbs.",
    "probe": "A fixed set of questions for a known fault, such as sycophancy.",
    "ratio": "π/π_old of a token or a completion. 1 before the first update.",
    "realignment": "Text from the logits of a reference and a run, mixed token by token; see `simulate --live`.",
    "recipe": "One YAML file that describes a run completely.",
    "reference": "The model that the policy is kept close to, usually its start.",
    "reward": "The number per completion that training maximises, from a model, function, classifier or judge.",
    "reward hacking": "The reward rises while the quality it should measure falls.",
    "rollout": "A completion with its log-probabilities, values and reward, as one training step uses it.",
    "round": "One pass through sampling, judging and training; the next round starts from the new policy.",
    "stage": "One step of a recipe, with its own folder and key.",
    "trunk": "A base model with the roles that share it: policy, reference, value, reward.",
    "value": "The expected reward from a token onwards, as PPO's critic estimates it.",
    "whitening": "Subtracting the mean and dividing by the standard deviation.",
}
"""Term → its meaning, in alphabetical order; Greek letters are sorted by their names."""


def sections() -> dict[str, list[tuple[str, str]]]:
    """Heading → rows of (name, meaning); all but the terms come from the code."""
    from preflab.settings.dpo import PreferenceLoss
    from preflab.settings.recipe import STAGE_SETTINGS
    from preflab.ways.registry import WAYS

    losses = get_args(get_args(PreferenceLoss)[0])
    return {
        "Terms": list(TERMS.items()),
        "Ways of judging": [(f"`{name}`", _first_sentence(inspect.getmodule(type(way)))) for name, way in WAYS.items()],
        "Kinds of stages": [(f"`{kind}`", _of_stage(settings)) for kind, settings in STAGE_SETTINGS.items()],
        "Losses of `dpo`": [(f"`{loss.model_fields['kind'].default}`", _first_sentence(loss)) for loss in losses],
    }


def _first_sentence(thing: Any) -> str:
    return " ".join(inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0].split())


def _of_stage(settings: Any) -> str:
    """The first sentence of a stage's settings without its beginning `Stage ‹kind›:`."""
    _, _, meaning = _first_sentence(settings).partition(": ")
    return meaning[:1].upper() + meaning[1:]
