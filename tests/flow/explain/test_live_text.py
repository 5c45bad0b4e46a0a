"""New text from real models: the ends are those of the sampler, and `simulate --live` scores with the real rewards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from flow.explain.test_simulate_stage import RECIPE, REWARD, WORDS, make_base
from preflab import pipeline
from preflab.cli import run_command
from preflab.errors import PreflabError
from preflab.explain.live import Live
from preflab.explain.realign import Ended, Realigner, WrittenToken
from preflab.models.language_model import LanguageModel, open_language_model
from preflab.recipe import load_recipe
from preflab.sampling.engines import EngineSource, make_engine
from preflab.settings.sampling import DecodingSettings
from preflab.training.protocols import SampleRequest
from preflab.web import live as web_live
from tiny_encoder_decoders import save_encoder_decoder

DECODING = DecodingSettings(max_new_tokens=8)
PROMPT = (5, 6, 7)


@pytest.fixture(scope="module", params=["llama", "t5"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, ...]:
    """A reference, and a run whose weights are a bit away from it."""
    folder = tmp_path_factory.mktemp("models")
    if request.param == "llama":
        make_base(folder / "base")
    else:
        save_encoder_decoder("t5 1.1", folder / "base", [" ".join(WORDS)])
    run = open_language_model(folder / "base", dtype="float32")
    with torch.no_grad():
        for number, parameter in enumerate(run.model.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.add_(0.1 * noise * parameter.abs().mean())
    return open_language_model(folder / "base", dtype="float32"), run


def realigned(models: tuple[LanguageModel, ...], alpha: float, seed: int) -> tuple[list[WrittenToken], Ended]:
    *tokens, end = Realigner(*models).write(PROMPT, alpha, seed, DECODING, models[0].renderer().decode)
    assert isinstance(end, Ended)
    return [token for token in tokens if isinstance(token, WrittenToken)], end


@pytest.mark.parametrize("alpha", [0, 1])
def test_ends_are_the_sampler_token_for_token(models: tuple[LanguageModel, ...], alpha: int) -> None:
    model = models[alpha]
    engine = make_engine(EngineSource(model.model, model.tokenizer, model.renderer().stop_token_ids))
    sampled = engine.sample([SampleRequest(PROMPT, seed) for seed in range(12)], DECODING)
    for seed, expected in enumerate(sampled):
        tokens, end = realigned(models, float(alpha), seed)
        assert end.token_ids == expected.token_ids
        assert end.finish_reason == expected.finish_reason
        assert [token.logp for token in tokens] == pytest.approx(list(expected.logps), abs=1e-5)
        if alpha == 0:
            assert all(abs(token.log_ratio) < 1e-5 for token in tokens)


def test_log_probabilities_are_those_of_the_mixture(models: tuple[LanguageModel, ...]) -> None:
    """At α = 2.5, from the models' own passes over the whole row: log_softmax(2.5 · run − 1.5 · reference)."""
    from preflab.models.families import token_logits
    from preflab.training.batches import TokenSequence

    for seed in range(4):
        tokens, end = realigned(models, 2.5, seed)
        row = [TokenSequence(PROMPT, end.token_ids)]
        ref, run = (
            token_logits(one.trunk(("policy",)).family, one.model, row, 0).reshape(-1, len(one.tokenizer)).detach()
            for one in models
        )
        mixed = (2.5 * run - 1.5 * ref).log_softmax(-1)
        where = range(len(mixed) - len(end.token_ids), len(mixed)) if len(mixed) == len(end.token_ids) else None
        if where is None:  # a decoder: logits before each completion token
            mixed, ref = mixed[len(PROMPT) - 1 : -1], ref[len(PROMPT) - 1 : -1]
        ids = list(end.token_ids)
        assert [token.logp for token in tokens] == pytest.approx(mixed[range(len(ids)), ids].tolist(), abs=1e-4)
        expected = ref.log_softmax(-1)[range(len(ids)), ids].tolist()
        assert [token.ref_logp for token in tokens] == pytest.approx(expected, abs=1e-4)


def test_an_abandoned_completion_leaves_nothing_behind(models: tuple[LanguageModel, ...]) -> None:
    realigner = Realigner(*models)
    writing = realigner.write(PROMPT, 0.5, 0, DECODING, models[0].renderer().decode)
    next(writing)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    writing.close()
    assert realigned(models, 0.5, 1) == realigned(models, 0.5, 1)


def test_prompts_without_room_are_refused(models: tuple[LanguageModel, ...]) -> None:
    long = Realigner(*models).write(PROMPT * 40, 0.5, 0, DECODING, models[0].renderer().decode)
    with pytest.raises(PreflabError, match="120 prompt tokens and 8 new ones"):
        next(long)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two runs of different KL coefficients were trained."""
    folder = tmp_path_factory.mktemp("live")
    make_base(folder / "base")
    prompts = [f"{first} {second}" for first in WORDS[:5] for second in WORDS[:5] if first != second]
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
    (folder / "sim_rewards.py").write_text(REWARD)
    (folder / "recipe.yaml").write_text(RECIPE)
    pipeline.run(load_recipe(folder / "recipe.yaml"), until=["low", "high"])
    return folder


@pytest.fixture
def live(project: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Live]:
    """The page and the source that the command would serve."""
    given: list[Any] = []
    monkeypatch.chdir(project)
    monkeypatch.setattr(web_live, "serve_live", lambda page, source, key, port, ready: given.extend([page, source]))
    words = ["simulate", "low", "high", "--prompts", "prompts.held_out", "--num-prompts", "4", "--live"]
    assert run_command([*words, "--num-completions", "2"]) == 0
    return given[0], given[1]


def test_command_serves_the_runs_with_their_coefficients(live: tuple[str, Live]) -> None:
    page, source = live
    assert [(run.name, run.kl_coef) for run in source.runs] == [("low", 0.05), ("high", 0.5)]
    assert '"live":{"url":"/live","token":"' in page
    assert "Write new text with the model" in page


def test_text_is_scored_with_the_real_rewards(live: tuple[str, Live]) -> None:
    """reward = number of "late" − 0.5 · number of words; gold is the number of "my", None where "is" occurs."""
    _, source = live
    prompt = next(iter(source.prompts))
    ends = []
    for seed in range(6):
        wanted = source.check({"prompt": prompt, "run": "low", "alpha": 0.5, "seed": seed})
        *tokens, end = source.write(wanted)
        text = "".join(token["text"] for token in tokens)
        assert end["terms"] == {"late": text.count("late"), "short": -len(text.split())}
        assert end["reward"] == pytest.approx(text.count("late") - 0.5 * len(text.split()))
        assert "gold" not in end["criteria"] or end["criteria"]["gold"] in (None, text.count("my"))
        assert end["log_ratio"] == pytest.approx(sum(token["log_ratio"] for token in tokens))
        assert end["num_tokens"] == len(tokens)
        ends.append(end)
    assert len({end["reward"] for end in ends}) > 1


@pytest.mark.parametrize(
    "request_",
    [
        {},
        [],
        {"prompt": "other", "run": "low", "alpha": 1, "seed": 0},
        {"prompt": 0, "run": "low", "alpha": 1, "seed": 0},
        {"run": "base", "alpha": 1, "seed": 0},
        {"run": "low", "alpha": "1", "seed": 0},
        {"run": "low", "alpha": True, "seed": 0},
        {"run": "low", "alpha": float("nan"), "seed": 0},
        {"run": "low", "alpha": 11, "seed": 0},
        {"run": "low", "alpha": 10**400, "seed": 0},
        {"run": "low", "alpha": 1, "seed": -1},
        {"run": "low", "alpha": 1, "seed": 2**53},
        {"run": "low", "alpha": 1, "seed": 0.5},
        {"run": ["low"], "alpha": 1, "seed": 0},
    ],
)
def test_requests_are_checked(live: tuple[str, Live], request_: Any) -> None:
    _, source = live
    if isinstance(request_, dict) and request_ and "prompt" not in request_:
        request_ = {"prompt": next(iter(source.prompts)), **request_}
    with pytest.raises(PreflabError):
        source.check(request_)


def test_error_of_a_users_function_is_one_of_preflab(live: tuple[str, Live], monkeypatch: pytest.MonkeyPatch) -> None:
    """The server sends such errors to the page; any other would cut the response."""
    _, source = live
    monkeypatch.setattr(source, "score", lambda item: 1 / 0)
    wanted = source.check({"prompt": next(iter(source.prompts)), "run": "low", "alpha": 0.5, "seed": 0})
    with pytest.raises(PreflabError, match=r"scoring it failed \(ZeroDivisionError: division by zero\)"):
        list(source.write(wanted))


def test_runs_without_a_coefficient_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(project)
    path = next((project / "runs").glob("high-*")) / "manifest.json"
    before = path.read_text(encoding="utf-8")
    manifest = json.loads(before)
    manifest["settings"]["kl_coef"] = 0.0
    path.write_text(json.dumps(manifest), encoding="utf-8")
    try:
        with pytest.raises(SystemExit):
            run_command(["simulate", "high", "--prompts", "prompts.held_out", "--num-prompts", "2", "--live"])
    finally:
        path.write_text(before, encoding="utf-8")
    assert "--live: none of high has a KL coefficient above 0" in capsys.readouterr().err
