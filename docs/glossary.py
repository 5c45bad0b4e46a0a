"""What docs/generate.py writes into docs/reference/glossary.md: terms, and the rows of tables of the code."""

from __future__ import annotations

import inspect
from typing import Any, get_args

TERMS: dict[str, str] = {
    "adapter, LoRA": "Small matrices added to a frozen model's layers. They learn; the model does not.",
    "advantage": "How much better a completion, or a token of it, was than expected. Positive: made more likely.",
    "alarm": "A rule that looks at the metrics of a run and names the setting to change.",
    "best-of-n": "Sample n completions and keep the one with the highest reward. Nothing is trained.",
    "Bradley–Terry": "P(a is preferred to b) = σ(r(a) − r(b)): the model by which a reward is learned from pairs.",
    "campaign": "A question put to labelers about completions, with its tasks, members and judgments.",
    "chosen, rejected": "The better and the worse completion of a pair.",
    "chunked": "Log-probabilities from hidden states, some tokens at a time. All logits never exist at once.",
    "completion": "What a model wrote for a prompt.",
    "consensus": "The order of a task's completions on which its labelers agree, weighed by how reliable they are.",
    "constitution": "Principles by which a model criticises, revises and compares completions.",
    "entropy": "How undecided the policy is about the next token, in nats.",
    "F": "A labeler's mark for a completion that is nonsense. It takes no part in the order.",
    "gold task": "A task whose answer is known. It measures labelers.",
    "held out": "Prompts, or preferences, that training does not see. All rows of a prompt are on one side.",
    "implicit reward": "β log π/π_ref: the reward that a policy trained by DPO stands for.",
    "judge": "What scores completions: a function, a reward model, an AI. Evaluate by one that training never saw.",
    "judgment": "One act of one labeler on one task: what was shown, what was answered, how long it took.",
    "KL": "How far the policy is from its reference: mean log π/π_ref of the policy's own completions, in nats.",
    "labeler": "Who judges: a person, an AI judge or a simulated labeler.",
    "log-ratio": "log π − log π_ref of a completion, summed over its tokens.",
    "micro-batch": "The rows of one forward pass. How a step is split into them changes memory, never the result.",
    "nat": "The unit of log-probabilities with the natural logarithm. 0.69 nats halve a probability.",
    "π*": "The optimum of reward minus β · KL: π* ∝ π_ref exp(r/β).",
    "π_old": "The policy that wrote the completions of a step, before the step's updates.",
    "policy": "The model that writes and learns.",
    "preference": "What is learned from judgments: a prompt, its completions, their order, pairs, scores or thumbs.",
    "probe": "A fixed set of questions for a known fault, such as sycophancy.",
    "ratio": "π/π_old of a token or a completion. 1 before the first update.",
    "recipe": "One YAML file that says all of a run.",
    "reference": "The model that the policy is kept near to; usually its start.",
    "reward": "The number per completion that is learned from: of a model, a function, a classifier or a judge.",
    "reward hacking": "The reward rises while what it stands for falls.",
    "rollout": "A completion with its log-probabilities, values and reward, as one training step uses it.",
    "round": "One pass through sampling, judging and learning; the next starts from the new policy.",
    "stage": "One step of a recipe, with a folder and a key of its own.",
    "trunk": "A base model with the roles that share it: policy, reference, value, reward.",
    "value": "The expected reward from a token on, as the critic of PPO estimates it.",
    "whitening": "Subtracting the mean and dividing by the standard deviation.",
}
"""Term → its meaning, in the order of the alphabet; Greek letters stand where their names do."""


def sections() -> dict[str, list[tuple[str, str]]]:
    """Heading → rows of (name, meaning); all but the terms are read off the code."""
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
    """The sentence of a stage's settings, without the words `Stage ‹kind›:`."""
    _, _, meaning = _first_sentence(settings).partition(": ")
    return meaning[:1].upper() + meaning[1:]
