"""Makes the source of new text for `preflab simulate --live`, from the checked inputs of the stage `simulate`."""

from __future__ import annotations

from preflab.errors import PreflabError
from preflab.explain.live import Live, LiveRun, Scored
from preflab.models.language_model import LanguageModel, open_language_model
from preflab.models.loading import best_device
from preflab.rewards.sources import PolicySide
from preflab.stages.common.pooled import Asked
from preflab.stages.common.pooled_policies import term_name
from preflab.training.protocols import ScoringItem


def live_runs(asked: Asked) -> list[LiveRun]:
    """The runs with a KL coefficient in reward units, that learned from the reward of the page.

    Raises:
        PreflabError: there are none.
    """
    reward = {term_name(source): source.weight for source in asked.sources}
    runs = [
        LiveRun(policy.name, policy.kl_coef)
        for policy in asked.policies[1:]
        if policy.kl_coef and dict(policy.trained_on) == reward
    ]
    if not runs:
        raise PreflabError(
            f"--live: none of {', '.join(asked.names[1:])} has a KL coefficient above 0 in units of the page's reward",
            "a run with kl_coef, which tells how far to go from the reference for another penalty",
            "add such a run, or leave --live out",
        )
    return runs


def live_text(asked: Asked) -> Live:
    """Opens the reference and the rewards.

    Raises:
        PreflabError: no run can be mixed, or a model cannot be opened.
    """
    runs = live_runs(asked)

    def opened(name: str) -> LanguageModel:
        return open_language_model(asked.folders[name], dtype=asked.stage.precision, device=best_device())

    reference = opened(asked.names[0])
    renderer = reference.renderer(asked.decoding.stop_token_ids)
    prompts = [(prompt, renderer.prompt_ids(prompt)) for prompt in asked.prompts]
    side = PolicySide(reference.tokenizer, prompts=prompts, max_new_tokens=asked.decoding.max_new_tokens)
    scorers = [make(side).terms[0] for make in asked.make_scorers]
    weights = {term.name: source.weight for term, source in zip(scorers, asked.sources, strict=True)}

    def score(item: ScoringItem) -> Scored:
        terms = {term.name: float(term.scorer.score([item]).total[0]) for term in scorers}
        criteria = {judge.name: judge.scores([item.prompt], [item.text])[0] for judge in asked.judges}
        reward = sum(weights[name] * value for name, value in terms.items())
        return Scored(reward, terms, {name: None if v is None else float(v) for name, v in criteria.items()})

    return Live(reference, opened, runs, asked.prompts, asked.decoding, score)
