"""Steps over fixed buffers, recorded and replayed, write what the plain loop writes on the same noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from architecture_trials import LORA, load_trunk, save
from captured_trials import DECODING, differing, engine_of, record_steps, requests, try_capture
from preflab.errors import PreflabError
from preflab.models.trunk import Trunk
from preflab.sampling import bucketed
from preflab.sampling.draw import draw, draw_without_waiting
from preflab.sampling.engine import TransformersEngine
from preflab.settings.learning import LoraSettings
from preflab.settings.sampling import DecodingSettings
from preflab.training.batches import TokenSequence
from preflab.training.protocols import SampleRequest
from recorded_graph import WAITS

QUICK = ("llama", "mistral", "gemma3", "qwen3_moe", "qwen3_next", "zamba2", "t5", "bart")
"""Plain, two kinds of windows, experts, two kinds of states between tokens, two encoder–decoders."""
NOT_CAPTURED = ("dbrx", "falcon")
"""The host waits in the model's own code (experts one by one), or sends numbers to the device in every step."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny Llama."""
    return save("llama", tmp_path_factory.mktemp("captured") / "llama")


def trunk_of(folder: Path, lora: LoraSettings | None = LORA, **other: Any) -> Trunk:
    return load_trunk(folder, ("policy",), lora=lora, **other)


@pytest.mark.parametrize("name", QUICK)
def test_recorded_steps_write_what_the_plain_loop_writes(name: str, tmp_path: Path) -> None:
    """With an adapter; 12 rows of six prompts, in buckets of 12, 8, 6 and 4 rows and of 16 to 64 keys.

    tests/docs/test_captured_page.py tries every other architecture.
    """
    trial = try_capture(name, tmp_path)
    assert trial.wrong == ()
    assert trial.fixed
    assert trial.why_not is None


@pytest.mark.parametrize("name", NOT_CAPTURED)
def test_what_cannot_be_captured_is_decoded_by_the_plain_loop(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trunk, asked = load_trunk(save(name, tmp_path), ("policy",)), requests()
    engine = engine_of(trunk, "on")
    record_steps(engine)
    plain = engine_of(trunk, "off").sample(asked, DECODING)
    for _ in range(2):
        assert differing(trunk, asked, plain, engine.sample(asked, DECODING)) == []
    assert engine.decode_path == "cache", "the pass of the plain loop"
    said = [r.getMessage() for r in caplog.records if "cannot be captured" in r.getMessage()]
    assert len(said) == 1


def test_a_completion_does_not_depend_on_what_shares_the_batch(folder: Path) -> None:
    trunk, asked = trunk_of(folder), requests()
    engine = engine_of(trunk, "on")
    record_steps(engine)
    together = engine.sample(asked, DECODING)
    assert len({len(one.token_ids) for one in together}) > 3
    backwards = engine.sample(asked[::-1], DECODING)[::-1]
    few = DECODING.model_copy(update={"max_batch_rows": 5})
    alone = [engine.sample([one], DECODING)[0] for one in asked]
    for others in (backwards, alone, engine.sample(asked, few), engine.sample(asked * 2, DECODING)[12:]):
        assert differing(trunk, asked, together, others) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"top_k": 3},
        {"top_p": 0.7},
        {"top_p": 0.999},
        {"min_p": 0.05},
        {"temperature": 0.0},
        {"temperature": 0.6},
        {"stop_token_ids": (5, 6, 7, 8)},
        {"max_new_tokens": 1},
        {"max_new_tokens": 8},
        {"max_new_tokens": 9},
    ],
)
def test_all_ways_of_drawing(folder: Path, changes: dict[str, Any]) -> None:
    trunk, asked, decoding = trunk_of(folder), requests(), DECODING.model_copy(update=changes)
    engine = engine_of(trunk, "on")
    record_steps(engine)
    plain = engine_of(trunk, "off").sample(asked, decoding)
    engine.sample(asked, DECODING)  # graphs of another way of drawing are not used
    for _ in range(3):
        assert engine.sample(asked, decoding) == approximately(plain)


def approximately(completions: Any) -> Any:
    """The same tokens and ends, log-probabilities to 1e-5."""

    class Same:
        def __eq__(self, others: Any) -> bool:
            return all(
                (a.token_ids, a.finish_reason, a.policy_version) == (b.token_ids, b.finish_reason, b.policy_version)
                and a.logps == pytest.approx(b.logps, abs=1e-5)
                for a, b in zip(completions, others, strict=True)
            )

        __hash__ = None  # type: ignore[assignment]

    return Same()


def test_rows_end_at_their_stop_string(folder: Path) -> None:
    """Texts are looked at every few steps only; a row that wrote on is cut, and one that ended before stays so."""
    trunk, asked = trunk_of(folder), requests()
    tokenizer = trunk.tokenizer
    free = engine_of(trunk, "off").sample(asked, DECODING)
    texts = [tokenizer.decode(one.token_ids) for one in free if len(one.token_ids) > 12]
    strings = tuple({text.split()[3] for text in texts} | {text.split()[9] for text in texts})
    decoding = DECODING.model_copy(update={"stop_strings": strings})
    plain = engine_of(trunk, "off", tokenizer=tokenizer).sample(asked, decoding)
    assert sum(len(a.token_ids) < len(b.token_ids) for a, b in zip(plain, free, strict=True)) >= 4
    engine = engine_of(trunk, "on", tokenizer=tokenizer)
    for _ in range(3):
        assert engine.sample(asked, decoding) == approximately(plain)


def test_a_look_for_stop_strings_copies_the_tokens_once(folder: Path) -> None:
    trunk = trunk_of(folder)
    engine = engine_of(trunk, "on", tokenizer=trunk.tokenizer)
    engine.stop_token_ids = ()
    decoding = DECODING.model_copy(update={"stop_strings": ("never written",)})
    copied: list[tuple[int, ...]] = []
    with patch.object(Tensor, "cpu", lambda tensor: (copied.append(tensor.shape), tensor)[1]):
        engine.sample(requests(), decoding)
    assert copied == [(1 + t, 12) for t in (1, 8, 16, 24)], "the lengths, and the tokens up to the look"


def test_ids_without_a_token_are_never_drawn(folder: Path) -> None:
    """The embedding has rows beyond the tokenizer's ids, and the tokenizer has holes."""
    trunk, asked = trunk_of(folder), requests(40)
    engine = engine_of(trunk, "on", tokenizer=trunk.tokenizer)
    assert engine.vocabulary is not None
    engine.vocabulary = type(engine.vocabulary)(60, (20, 21, 22))
    record_steps(engine)
    for _ in range(2):
        drawn = {token for one in engine.sample(asked, DECODING) for token in one.token_ids}
        assert max(drawn) < 60
        assert not drawn & {20, 21, 22}


@pytest.mark.parametrize("name", ["llama", "qwen3_next", "t5"])
def test_states_are_those_of_the_plain_loop(name: str, tmp_path: Path) -> None:
    trunk, asked = load_trunk(save(name, tmp_path), ("policy",)), requests()
    plain = engine_of(trunk, "off", keep_states=True).sample(asked, DECODING)
    engine = engine_of(trunk, "on", keep_states=True)
    record_steps(engine)
    for _ in range(3):
        for ours, theirs in zip(engine.sample(asked, DECODING), plain, strict=True):
            assert ours.token_ids == theirs.token_ids
            assert ours.states is not None
            assert theirs.states is not None
            torch.testing.assert_close(ours.states, theirs.states, atol=1e-5, rtol=1e-4)
    assert engine_of(trunk, "on").sample(asked, DECODING)[0].states is None


@pytest.mark.parametrize("lora", [LORA, None])
def test_the_first_ratio_is_one(folder: Path, lora: LoraSettings | None) -> None:
    """exp(trainer's log-probability − sampler's), token by token, within 1e-5 in float32."""
    trunk, asked = trunk_of(folder, lora), requests()
    engine = engine_of(trunk, "on", tokenizer=trunk.tokenizer)
    record_steps(engine)
    for _ in range(3):
        sampled = engine.sample(asked, DECODING)
    batch = trunk.collate([TokenSequence(r.prompt_ids, s.token_ids) for r, s in zip(asked, sampled, strict=True)])
    with torch.no_grad():
        logps = trunk(batch, ("policy",))["policy"].logps[batch.completion_mask]
    theirs = torch.tensor([logp for one in sampled for logp in one.logps])
    torch.testing.assert_close((logps - theirs).exp(), torch.ones_like(theirs), atol=1e-5, rtol=0)


@pytest.mark.parametrize("lora", [LORA, None])
def test_replayed_steps_use_the_weights_as_they_are_now(folder: Path, lora: LoraSettings | None) -> None:
    """An optimiser writes in place, so graphs stay; weights that have moved make new ones."""
    trunk, asked = trunk_of(folder, lora), requests()
    engine = engine_of(trunk, "on")
    graphs = record_steps(engine)
    before = [engine.sample(asked, DECODING) for _ in range(3)][-1]
    num_graphs = len(graphs)
    with torch.no_grad():
        for _, parameter in trunk.parameters_of("policy"):
            parameter.mul_(1.3)
    after = engine.sample(asked, DECODING)
    assert differing(trunk, asked, engine_of(trunk, "off").sample(asked, DECODING), after) == []
    assert [one.token_ids for one in after] != [one.token_ids for one in before]
    sizes_seen = len(graphs)
    assert sizes_seen - num_graphs <= 2, "rows end elsewhere, so a size may be new; the old graphs stay"
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.data = parameter.data.clone() * 0.9
    again = engine.sample(asked, DECODING)
    assert differing(trunk, asked, engine_of(trunk, "off").sample(asked, DECODING), again) == []
    assert len(graphs) > sizes_seen


def test_another_size_makes_new_buffers_and_the_old_one_serves_again(folder: Path) -> None:
    trunk, asked = trunk_of(folder), requests()
    engine = engine_of(trunk, "on")
    graphs = record_steps(engine)
    longer = DECODING.model_copy(update={"max_new_tokens": 60})
    for decoding in (DECODING, longer, DECODING, longer, DECODING):
        plain = engine_of(trunk, "off").sample(asked, decoding)
        assert differing(trunk, asked, plain, engine.sample(asked, decoding)) == []
    num_graphs, buffers = len(graphs), engine.fitting_decoder().forward.made  # type: ignore[union-attr]
    engine.sample(asked, DECODING)
    assert len(graphs) == num_graphs
    engine.sample(asked[:3], DECODING)
    assert engine.fitting_decoder().forward.made is buffers, "a smaller batch fits into them"  # type: ignore[union-attr]


@pytest.mark.parametrize("lora", [LORA, None])
def test_half_precision_leaves_the_weights_as_they_are(folder: Path, lora: LoraSettings | None) -> None:
    """Masters and their gradients are as before; samples are the plain loop's, but for attention's own rounding."""
    trunk, asked = trunk_of(folder, lora, compute="bfloat16"), requests()
    for _, parameter in trunk.parameters_of("policy"):
        parameter.grad = torch.ones_like(parameter)
    before = {name: (p.clone(), p.data_ptr()) for name, p in trunk.named_parameters()}
    plain = engine_of(trunk, "off").sample(asked, DECODING)
    engine = engine_of(trunk, "on")
    record_steps(engine)
    for _ in range(3):
        ours = engine.sample(asked, DECODING)
        assert sum(a.token_ids == b.token_ids for a, b in zip(ours, plain, strict=True)) >= 9
    for name, parameter in trunk.named_parameters():
        assert torch.equal(parameter, before[name][0])
        assert parameter.data_ptr() == before[name][1]
        assert parameter.dtype == before[name][0].dtype
    assert torch.is_autocast_cache_enabled()


def test_progress_is_told_once_for_each_completion(folder: Path) -> None:
    engine, told = engine_of(trunk_of(folder), "on"), []
    engine.sample(requests(), DECODING, on_done=told.append)
    assert sum(told) == 12
    assert len(told) > 1


@pytest.mark.parametrize("temperature", [DECODING.temperature, 0.0])
def test_logits_that_are_not_numbers_are_named(temperature: float, folder: Path) -> None:
    trunk = trunk_of(folder, None)
    engine = engine_of(trunk, "on")
    decoding = DECODING.model_copy(update={"temperature": temperature})
    engine.sample(requests(), decoding)
    with torch.no_grad():
        trunk.model.get_input_embeddings().weight[5:] = float("nan")
    with pytest.raises(PreflabError, match="not numbers"):
        engine.sample(requests(), decoding)


def test_two_ways_to_draw_agree_on_every_uniform_number() -> None:
    logits = torch.randn(40, 700, generator=torch.Generator().manual_seed(0)) * 3
    uniforms = torch.linspace(0, 1 - 1e-9, 40, dtype=torch.float64)
    for options in ({}, {"top_p": 0.9}, {"top_p": 0.9999, "temperature": 4.0}, {"top_k": 5, "min_p": 0.1}):
        tokens, logps, drawn = draw_without_waiting(logits, uniforms, **options)
        assert bool(drawn.all())
        expected = draw(logits, uniforms, **options)
        assert torch.equal(tokens, expected[0])
        assert torch.equal(logps, expected[1])
    logits[3, 5] = float("nan")
    tokens, _, drawn = draw_without_waiting(logits, uniforms)
    assert [row for row, could in enumerate(drawn.tolist()) if not could] == [3]
    assert set(tokens.tolist()) <= set(range(700)), "an index of a row that failed is still an index"


class _Waits(TorchDispatchMode):
    """Counts what a host waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.num = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.num += str(function).rpartition(".")[0] in WAITS or str(function) == "aten.where.default"
        return function(*args, **(kwargs or {}))


@contextmanager
def counting_waits() -> Iterator[_Waits]:
    counted, tolist = _Waits(), Tensor.tolist

    def counting(tensor: Tensor) -> Any:
        counted.num += 1
        return tolist(tensor)

    with counted, patch.object(Tensor, "tolist", counting):
        yield counted


def waits(engine: TransformersEngine, num_tokens: int) -> int:
    """What the host waits for while no row ends."""
    engine.stop_token_ids = ()
    asked = [SampleRequest((1, 5, 6), seed) for seed in range(4)]
    with counting_waits() as counted:
        engine.sample(asked, DecodingSettings(max_new_tokens=num_tokens))
    return counted.num


@pytest.mark.parametrize("capture", ["on", "off"])
@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3_moe", "mamba2", "t5"])
def test_the_host_waits_at_the_look_every_few_steps_and_nowhere_else(name: str, capture: str, tmp_path: Path) -> None:
    trunk = load_trunk(save(name, tmp_path), ("policy",))
    engine = engine_of(trunk, capture)
    engine.sample(requests(), DECODING)
    few, many = waits(engine, 16), waits(engine, 16 + 5 * bucketed.LOOK_EVERY)
    if capture == "on":
        assert many - few == 5, "one look every eight tokens"
        assert few <= 16, "the prompts, the two looks, the completions"
    else:
        assert many - few >= 5 * bucketed.LOOK_EVERY, "the plain loop waits at every token"


def test_a_look_is_one_wait(folder: Path) -> None:
    engine = engine_of(trunk_of(folder), "on")
    engine.sample(requests(), DECODING)
    decoder = engine.fitting_decoder()
    assert decoder is not None
    assert decoder.rows is not None
    with counting_waits() as counted:
        decoder.rows.look(4)
    assert counted.num == 1
