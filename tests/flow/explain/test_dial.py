"""`preflab dial` and `export model --dial` on runs of a small recipe, with LoRA and with full fine-tuning; a T5."""

from __future__ import annotations

import json
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from preflab import pipeline
from preflab.cli import app, run_command
from preflab.errors import PreflabError
from preflab.explain.dial import Dial
from preflab.files import read_json
from preflab.models.language_model import open_language_model
from preflab.models.tiny import build_model, build_tokenizer
from preflab.recipe import load_recipe
from preflab.report.dial import dial_page, lead_measure
from preflab.sampling.engines import EngineSource, make_engine
from preflab.settings.sampling import DecodingSettings
from preflab.training.batches import TokenSequence
from preflab.training.protocols import SampledCompletion, SampleRequest
from tiny_encoder_decoders import save_encoder_decoder

WORDS = ("where", "is", "my", "parcel", "late")
REWARD = """
def silent(prompt, completion):
    return None

def likes_late(prompt, completion):
    return float(completion.count("late"))

def variety(prompt, completion):
    return float(len(set(completion.split())))
"""
STAGE = """
    kind: grpo
    model: {model}
    prompts: prompts
    rewards: [{{function: "dial_rewards:likes_late", weight: 2.0}}]
    num_steps: 3
    num_prompts_per_step: 2
    num_completions_per_prompt: 4
    decoding: {{max_new_tokens: 6}}
    optimiser: {{learning_rate: 0.05}}
    lora: {lora}
"""
STAGES = {
    "low": STAGE.format(model="base", lora="{rank: 2}"),
    "other": STAGE.format(model="base", lora="{rank: 3, target_modules: [q_proj, down_proj]}"),
    "full": STAGE.format(model="base", lora="null"),
    "later": STAGE.format(model="low", lora="{rank: 2}"),
}
RECIPE = """
recipe: 1
data: {{prompts: {{path: prompts.jsonl}}, pairs: {{path: pairs.jsonl}}}}
stages:
{stages}
  dpo:
    {{kind: dpo, model: base, preferences: pairs, lora: {{rank: 2}}, optimiser: {{learning_rate: 0.05}},
     watch: {{decoding: {{max_new_tokens: 6}}}}}}
  eval:
    kind: evaluate
    models: [base, low, full]
    prompts: prompts
    judges: {{variety: "dial_rewards:variety"}}
    decoding: {{max_new_tokens: 6}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the recipe was run."""
    folder = tmp_path_factory.mktemp("dial")
    tokenizer = build_tokenizer([" ".join(WORDS)], context=32)
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=32, seed=0)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    prompts = [f"{first} {second}" for first in WORDS for second in WORDS if first != second]
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
    pairs = [{"prompt": text, "chosen": " late", "rejected": " my parcel"} for text in prompts]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    (folder / "dial_rewards.py").write_text(REWARD)
    stages = "".join(f"  {name}:{text}" for name, text in STAGES.items())
    (folder / "recipe.yaml").write_text(RECIPE.format(stages=stages))
    pipeline.run(load_recipe(folder / "recipe.yaml"))
    return folder


@pytest.fixture
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project as the current folder."""
    monkeypatch.chdir(project)
    return project


def run_folder(project: Path, stage: str) -> Path:
    (folder,) = (project / "runs").glob(f"{stage}-*")
    return folder


def weights(folder: Path) -> dict[str, Tensor]:
    return dict(open_language_model(folder, dtype="float32").model.state_dict())


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def dialled(project: Path) -> dict[str, Any]:
    """dial.json of the LoRA run beside the two others, by the command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        done = CliRunner().invoke(app, ["dial", "low", "other", "full", "--at", "0.7,1.5", "--json"])
    assert done.exit_code == 0, done.output
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["dial"] == read_json(Path(said["result"]).parent / "dial.json")
    data: dict[str, Any] = said["dial"]
    return data


def test_ends_have_the_figures_of_the_evaluation(dialled: dict[str, Any], project: Path) -> None:
    """Setting 0 and 1 are the reference and the run as `evaluate` measured them, number for number."""
    evaluation = read_json(run_folder(project, "eval") / "evaluation.json")
    evaluated = {one["name"]: one for one in evaluation["models"]}
    points = {one["setting"]: one for one in dialled["points"]}
    assert list(points) == [0.0, 0.7, 1.0, 1.5]
    for setting, name in ((0.0, "base"), (1.0, "low")):
        assert points[setting]["weights"] == evaluated[name]["weights"]
        for measure in ("judge/variety", "distinct/2", "length/tokens", "entropy/token", "finished/share"):
            assert points[setting]["figures"][measure] == evaluated[name]["figures"][measure]
    assert points[1.0]["figures"]["kl/exact"] == evaluated["low"]["figures"]["kl/exact"]
    assert points[0.0]["figures"]["kl/exact"]["value"] == 0
    assert evaluated["full"]["figures"]["judge/variety"] == next(
        one["figures"]["judge/variety"] for one in dialled["runs"] if one["name"] == "full"
    )


def test_reward_is_the_weighted_sum_that_was_learned(dialled: dict[str, Any]) -> None:
    """The one term has the weight 2: it is listed unweighted beside the sum."""
    for point in dialled["points"]:
        total, term = point["figures"]["reward/mean"]["value"], point["figures"]["reward/likes_late"]["value"]
        assert total == pytest.approx(2 * term)
    assert dialled["points"][2]["figures"]["reward/mean"]["value"] > 0


def test_best_possible_curve_begins_at_the_reference(dialled: dict[str, Any]) -> None:
    curves = dialled["optimum"]["curves"]
    assert set(curves) == {"judge/variety", "reward/mean"}
    for curve in curves.values():
        assert curve[0]["kl"] == 0
        values = [point["value"] for point in curve]
        assert values == sorted(values)


def test_differences_are_from_the_run_and_corrected(dialled: dict[str, Any]) -> None:
    points = {one["setting"]: one for one in dialled["points"]}
    assert points[1.0]["difference"] == {}
    for setting in (0.0, 0.7, 1.5):
        for name in ("judge/variety", "kl/exact"):
            at, run = points[setting]["figures"][name]["value"], points[1.0]["figures"][name]["value"]
            assert points[setting]["difference"][name]["value"] == pytest.approx(at - run, abs=1e-12)
    tested = [d["judge/variety"] for one in dialled["points"] if (d := one["difference"])]
    assert all(one["p_holm"] is None or one["p_holm"] >= one["p"] for one in tested)


def test_page_shows_every_setting_and_run(dialled: dict[str, Any], project: Path) -> None:
    (page,) = (project / "dial").glob("low-*/dial.html")
    text = unescape(page.read_text(encoding="utf-8"))
    assert "<script" not in text
    assert "default-src 'none'" in text
    for shown in ("The dial of low", "Is there a better setting than 1", "other", "full", "best possible", "0.7",
                  "variety (judge)", "KL to the reference", "distinct-2"):  # fmt: skip
        assert shown in text
    held_out = unescape(dial_page({**dialled, "prompts": {**dialled["prompts"], "name": "prompts.held_out"}}))
    assert ("held-out" in text.lower(), held_out.lower().count("held-out prompts") > 1) == (False, True)


@pytest.mark.parametrize("stage", ["low", "full"])
def test_exported_ends_are_the_reference_and_the_run_bit_for_bit(inside: Path, tmp_path: Path, stage: str) -> None:
    for setting, original in (("0", inside / "base"), ("1", run_folder(inside, stage) / "model")):
        folder = tmp_path / setting
        assert run_command(["export", "model", stage, str(folder), "--dial", setting]) == 0
        assert equal(weights(folder), weights(original))


ROWS = [TokenSequence((5, 6), (7, 4, 8)), TokenSequence((8,), (6, 5, 4, 7, 5))]


def answers(model: Any, tokenizer: Any, temperature: float) -> list[SampledCompletion]:
    """Completions of two prompts, greedy at temperature 0."""
    engine = make_engine(EngineSource(model, tokenizer, (tokenizer.eos_token_id,)))
    requests = [SampleRequest(row.prompt_ids, seed) for seed, row in enumerate(ROWS)]
    return engine.sample(requests, DecodingSettings(max_new_tokens=6, temperature=temperature))


@pytest.mark.parametrize("stage", ["low", "full"])
def test_exported_setting_answers_like_the_dialled_model(inside: Path, tmp_path: Path, stage: str) -> None:
    """Greedy and sampled tokens are equal, and their log-probabilities within rounding; neither is that of an end."""
    assert run_command(["export", "model", stage, str(tmp_path / "out"), "--dial", "0.7"]) == 0
    opened = open_language_model(tmp_path / "out", dtype="float32")
    dial = Dial.open(inside / "base", [run_folder(inside, stage) / "model"])
    ends = {}
    for setting in (0.0, 1.0, 0.7):
        dial.turn(setting)
        ends[setting] = answers(dial.model.model, dial.model.tokenizer, 1.0)
    for temperature in (0.0, 1.0):
        found = answers(opened.model, opened.tokenizer, temperature)
        expected = answers(dial.model.model, dial.model.tokenizer, temperature)
        assert [one.token_ids for one in found] == [one.token_ids for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.logps == pytest.approx(other.logps, abs=1e-6)
    sampled = [one.logps for one in ends[0.7]]
    assert all([one.logps for one in ends[setting]] != sampled for setting in (0.0, 1.0))


def test_exported_weights_are_between_those_of_the_ends(inside: Path, tmp_path: Path) -> None:
    """0.3 · reference + 0.7 · run, in float64 and rounded, in every weight."""
    run_command(["export", "model", "full", str(tmp_path / "out"), "--dial", "0.7"])
    start, end, found = (
        weights(folder) for folder in (inside / "base", run_folder(inside, "full") / "model", tmp_path / "out")
    )
    for name in start:
        expected = 0.3 * start[name].double() + 0.7 * end[name].double()
        assert torch.allclose(found[name].double(), expected, atol=1e-7)
    assert any(not torch.equal(start[name], end[name]) for name in start)


def test_scaled_run_is_its_adapter_scaled(inside: Path, tmp_path: Path) -> None:
    """The change of a weight at 1.5 is 1.5 · (alpha / rank) · B A of the files of the adapter."""
    from preflab.training.tensor_files import read_tensors

    run_command(["export", "model", "low", str(tmp_path / "out"), "--dial", "1.5"])
    folder = run_folder(inside, "low") / "policy"
    config, tensors = read_json(folder / "adapter_config.json"), read_tensors(folder / "adapter_model.safetensors")
    start, found = weights(inside / "base"), weights(tmp_path / "out")
    names = [name for name in tensors if ".lora_A." in name]
    assert len(names) == 7
    for name in names:
        product = tensors[name.replace("lora_A", "lora_B")] @ tensors[name]
        layer = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
        expected = start[layer] + 1.5 * config["lora_alpha"] / config["r"] * product
        assert torch.allclose(found[layer], expected, atol=1e-6)
        assert not torch.allclose(found[layer], start[layer], atol=1e-4)


def test_runs_with_other_ranks_and_layers_are_averaged(inside: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert run_command(["export", "model", "low", str(folder), "--dial", "1", "--average", "other"]) == 0
    first, second = (weights(run_folder(inside, name) / "model") for name in ("low", "other"))
    for name, tensor in weights(folder).items():
        assert torch.allclose(tensor, (first[name] + second[name]) / 2, atol=1e-7)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "`base` + 1 × (mean of `low` and `other` − `base`)" in card
    assert "`preflab dial low --average other --at 1` measures it" in card


def test_averaged_dial_draws_its_runs_beside_it(inside: Path) -> None:
    assert (
        run_command(["dial", "low", "--average", "other", "--at", "", "--num-prompts", "10", "--output", "both"]) == 0
    )
    data = read_json(inside / "both" / "dial.json")
    assert [one["setting"] for one in data["points"]] == [0.0, 1.0]
    assert [one["name"] for one in data["runs"]] == ["low", "other"]
    assert data["averaged"] == ["other"]
    assert data["prompts"]["num"] == 10


def test_runs_of_one_stage_are_told_apart(inside: Path) -> None:
    """A sweep by --set makes runs with one name; the second is called by the start of its key."""
    first = run_folder(inside, "low")
    pipeline.run(load_recipe(inside / "recipe.yaml", ["stages.low.kl_coef=0.5"]), until=["low"])
    (second,) = set((inside / "runs").glob("low-*")) - {first}
    try:
        words = ["dial", str(first), str(second), "--average", str(second), "--at", "", "--num-prompts", "2"]
        assert run_command([*words, "--output", "sweep"]) == 0
    finally:
        shutil.rmtree(second)
    data = read_json(inside / "sweep" / "dial.json")
    other = f"low-{second.name.removeprefix('low-')[:4]}"
    assert data["averaged"] == [other]
    assert [(one["name"], one["kl_coef"]) for one in data["runs"]] == [("low", 0.05), (other, 0.5)]


def test_card_says_what_it_is_and_what_was_measured(inside: Path, tmp_path: Path, dialled: dict[str, Any]) -> None:
    run_command(["export", "model", str(run_folder(inside, "low")), str(tmp_path / "a"), "--dial", "0.7"])
    run_command(["export", "model", "low", str(tmp_path / "b"), "--dial", "0.6"])
    measured, unmeasured = ((tmp_path / name / "README.md").read_text(encoding="utf-8") for name in "ab")
    assert "# low at dial setting 0.7" in measured
    assert "**No stage trained this model.**" in measured
    assert "`base` + 0.7 × (`low` − `base`). The adapter was scaled after training" in measured
    assert "| variety (judge) |" in measured
    assert "No evaluation compared it" not in measured
    assert "Nothing was measured at this setting. `preflab dial low --at 0.6` measures it." in unmeasured


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dial", "low", "--at", "2"], "a dial setting of 2"),
        (["dial", "low", "--at", "much"], "'much' is no number"),
        (["dial", "low", "later"], "low started from base, later from low"),
        (["dial", "low", "--average", "later"], "low started from base, later from low"),
        (["dial", "low", "--average", "low"], "has a run twice"),
        (["dial", "eval"], "stage eval of kind evaluate makes no model"),
        (["dial", "base"], "not the folder of a run"),
        (["dial", "lowe"], "lowe: neither a stage of recipe.yaml nor a folder"),
        (["dial", "low", "--evaluate", "low"], "--evaluate low: no evaluate stage of recipe.yaml"),
        (["dial", "low", "--prompts", "promts"], "--prompts: no data `promts`"),
        (["dial", "low", "--prompts", "prompts.all"], "--prompts: no data `prompts.all`"),
        (["dial", "other"], "no evaluate stage of the recipe names it, and it has no held_out_prompts"),
        (["export", "model", "low", "new", "--dial", "1.6"], "a dial setting of 1.6"),
        (["export", "model", "low", "new", "--average", "other"], "--average without --dial"),
        (["export", "model", "base", "new", "--dial", "0.5"], "not the folder of a run"),
        (["export", "model", "low", "new", "--dial", "0.5", "--base", "base"], "--base with --dial"),
    ],
)
def test_errors_say_what_was_found(
    inside: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as left:
        run_command(words)
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (inside / "new").exists()


def test_prompts_can_be_named_where_no_evaluation_names_the_run(inside: Path) -> None:
    words = ["dial", "other", "--prompts", "prompts", "--at", "", "--output", "named"]
    assert run_command(words) == 0
    data = read_json(inside / "named" / "dial.json")
    assert data["judges"] == {}
    assert "reward/mean" in data["points"][0]["figures"]


def test_reward_models_of_an_evaluation_need_not_have_led_to_the_run(inside: Path, tmp_path: Path) -> None:
    """A run of dpo has no reward; the evaluation that names it scores it with the recipe's reward model."""
    recipe = inside / "rewarded.yaml"
    rm = "  rm: {kind: reward, model: base, preferences: pairs, lora: {rank: 2}}\n"
    scored = "kind: evaluate, models: [base, dpo], prompts: prompts, rewards: [rm], decoding: {max_new_tokens: 6}"
    recipe.write_text(f"{(inside / 'recipe.yaml').read_text()}{rm}  scored: {{{scored}}}\n")
    pipeline.run(load_recipe(recipe), until=["scored"])
    words = ["dial", "dpo", "--recipe", str(recipe), "--at", "", "--output", str(tmp_path / "out")]
    assert run_command(words) == 0
    evaluation = read_json(run_folder(inside, "scored") / "evaluation.json")
    expected = {one["name"]: one["figures"]["reward/rm"]["value"] for one in evaluation["models"]}
    points = read_json(tmp_path / "out" / "dial.json")["points"]
    assert [point["figures"]["reward/rm"]["value"] for point in points] == [expected["base"], expected["dpo"]]


def test_runs_without_a_reward_are_dialled_by_the_judges_of_another_evaluation(inside: Path) -> None:
    words = ["dial", "dpo", "low", "--evaluate", "eval", "--at", "0.5", "--num-prompts", "12", "--output", "dpo"]
    assert run_command(words) == 0
    data = read_json(inside / "dpo" / "dial.json")
    assert [name for name in data["points"][0]["figures"] if name.startswith(("judge/", "reward/"))] == [
        "judge/variety"
    ]
    kls = [point["figures"]["kl/exact"]["value"] for point in data["points"]]
    assert kls[0] == 0 < kls[1] < kls[2]
    assert "The dial of dpo" in (inside / "dpo" / "dial.html").read_text(encoding="utf-8")


def test_judge_that_scores_nothing_decides_nothing(inside: Path, tmp_path: Path) -> None:
    recipe = inside / "silent.yaml"
    content = (inside / "recipe.yaml").read_text().replace("{variety: ", '{a: "dial_rewards:silent", variety: ')
    recipe.write_text(content)
    words = ["dial", "low", "full", "--recipe", str(recipe), "--at", "", "--output", str(tmp_path / "out")]
    assert run_command(words) == 0
    data = read_json(tmp_path / "out" / "dial.json")
    assert {one["figures"]["judge/a"]["value"] for one in data["points"]} == {None}
    assert lead_measure(data) == "judge/variety"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_ends_are_those_of_the_folders_in_half_precision(inside: Path, dtype: str) -> None:
    """Settings are computed from the float32 weights and rounded once, as opening a folder rounds."""
    folders = {0.0: inside / "base", 1.0: run_folder(inside, "low") / "model"}
    dial = Dial.open(folders[0.0], [folders[1.0]], dtype=dtype)
    for setting, folder in folders.items():
        dial.turn(setting)
        opened = open_language_model(folder, dtype=dtype)
        assert equal(dict(dial.model.model.state_dict()), dict(opened.model.state_dict()))


def test_quantised_models_are_refused(inside: Path, tmp_path: Path) -> None:
    shutil.copytree(inside / "base", tmp_path / "base")
    config = read_json(tmp_path / "base" / "config.json")
    config["quantization_config"] = {"quant_method": "fbgemm_fp8"}
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    with pytest.raises(PreflabError, match="its weights are quantised"):
        Dial.open(tmp_path / "base", [run_folder(inside, "low") / "model"])


def test_runs_of_another_model_are_refused(inside: Path, tmp_path: Path) -> None:
    tokenizer = build_tokenizer([" ".join(WORDS)], context=32)
    model = build_model(tokenizer, num_layers=1, hidden_size=32, num_heads=2, context=32, seed=0)
    model.save_pretrained(tmp_path / "wide")
    tokenizer.save_pretrained(tmp_path / "wide")
    with pytest.raises(PreflabError, match="its weights differ from those of"):
        Dial.open(inside / "base", [tmp_path / "wide"])


def test_t5_is_dialled_and_exported(tmp_path: Path) -> None:
    """An encoder–decoder: every weight is moved, and the written folder gives the log-probabilities of the dial."""
    base = save_encoder_decoder("t5 1.1", tmp_path / "base", [" ".join(WORDS)])
    opened = open_language_model(base, dtype="float32")
    with torch.no_grad():
        for parameter in opened.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    opened.model.save_pretrained(tmp_path / "run")
    opened.tokenizer.save_pretrained(tmp_path / "run")
    dial = Dial.open(base, [tmp_path / "run"])
    assert dial.write(0.7, tmp_path / "out") < 1e-5
    written = open_language_model(tmp_path / "out", dtype="float32")
    for temperature in (0.0, 1.0):
        found, expected = (answers(one.model, one.tokenizer, temperature) for one in (written, dial.model))
        assert [one.token_ids for one in found] == [one.token_ids for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.logps == pytest.approx(other.logps, abs=1e-6)
    dial.write(1.0, tmp_path / "end")
    assert equal(weights(tmp_path / "end"), weights(tmp_path / "run"))
