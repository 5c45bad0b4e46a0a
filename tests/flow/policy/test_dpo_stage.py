"""The stage dpo in a recipe: a word that people like is found, from pairs and from thumbs; bad input is named."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from preflab.cli import run_command
from preflab.cli.showing import settings_of
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.models.loading import load_causal_lm, load_tokenizer
from preflab.pipeline import Line, run
from preflab.recipe import load_recipe
from preflab.records import Completion, PairOutcome, Preference, Prompt
from preflab.rewards.implicit import load_implicit
from preflab.rewards.rankings import Encoder
from preflab.rewards.sources import PolicySide, make_scorer
from preflab.settings.dpo import DpoSettings, VerdictSettings
from preflab.settings.rewards import RewardSource
from preflab.stages.common.preference_data import PreferenceData
from preflab.stages.common.preference_groups import find_groups, verdicts_of
from preflab.training.protocols import ScoringItem

TOPICS = ["parcel", "refund", "lamp", "invoice", "clock", "chair"]
ENDINGS = ["today", "tomorrow", "on monday", "soon", "later"]
RECIPE = """
recipe: 1
data:
  corpus: {path: corpus.jsonl}
  demonstrations: {path: demonstrations.jsonl}
  pairs: {path: pairs.jsonl}
  thumbs: {path: thumbs.jsonl}
  equal: {path: equal.jsonl, skip_bad: true}
  praise: {path: praise.jsonl}
stages:
  base: {kind: tiny, text: corpus, num_layers: 1, hidden_size: 32, num_heads: 2, context: 24, num_steps: 5}
  sft: {kind: sft, model: base, data: demonstrations, num_epochs: 40, optimiser: {learning_rate: 1.0e-2}}
  dpo:
    {kind: dpo, model: sft, preferences: pairs, held_out: 0.25, num_epochs: 10, lora: {rank: 4},
     watch: {every: 5, num_samples: 4, decoding: {max_new_tokens: 8}}, optimiser: {learning_rate: 1.0e-2}}
  kto:
    {kind: dpo, model: sft, preferences: thumbs, losses: [{kind: kto}], held_out: 0.25, num_epochs: 10,
     num_groups_per_step: 8, lora: null, watch: {every: 5, num_samples: 4, decoding: {max_new_tokens: 8}},
     optimiser: {learning_rate: 3.0e-3}}
  report: {kind: report, of: [dpo, kto]}
"""


def questions() -> list[tuple[str, str, str]]:
    """A question, an answer with `please` and one without."""
    rng = random.Random(7)
    return [
        (
            f"my {rng.choice(TOPICS)} number {number} ?",
            f"please wait until {rng.choice(ENDINGS)} .",
            f"you wait until {rng.choice(ENDINGS)} .",
        )
        for number in range(60)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with its data."""
    made = tmp_path_factory.mktemp("recipe")
    words = " ".join([*TOPICS, *ENDINGS, "please you wait until . my number ?", *map(str, range(60))]).split()
    answers = ["please wait until today .", "you wait until later ."]
    files: dict[str, list[dict[str, Any]]] = {
        "corpus": [{"text": " ".join(words[i : i + 12])} for i in range(0, len(words), 6)],
        "demonstrations": [{"prompt": f"my {topic} ?", "completion": a} for topic in TOPICS for a in answers],
        "pairs": [{"prompt": p, "chosen": polite, "rejected": plain} for p, polite, plain in questions()],
        "thumbs": [
            {"prompt": p, "completion": text, "label": good}
            for p, polite, plain in questions()
            for text, good in ((polite, True), (plain, False))
        ],
        "praise": [{"prompt": p, "completion": polite, "label": True} for p, polite, _ in questions()],
        "equal": [{"prompt": p, "chosen": polite, "rejected": polite} for p, polite, _ in questions()],
    }
    for name, rows in files.items():
        (made / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (made / "recipe.yaml").write_text(RECIPE)
    return made


@pytest.fixture(scope="module")
def lines(folder: Path) -> dict[str, Line]:
    """The recipe, run once for all tests."""
    return {line.name: line for line in run(load_recipe(folder / "recipe.yaml"))}


def tokens(tokenizer: Any, prompt: Prompt, text: str, ended: bool = True) -> tuple[tuple[int, ...], tuple[int, ...]]:
    renderer = Renderer(tokenizer)
    return renderer.prompt_ids(prompt), renderer.completion_ids(prompt, text, ended=ended)


def polite_share(model: Path) -> float:
    """Mean probability of the polite answer, of the two to new questions that differ in one word."""
    tokenizer, policy = load_tokenizer(model), load_causal_lm(model, dtype="float32")

    def logp(topic: str, answer: str) -> torch.Tensor:
        prompt, completion = tokens(tokenizer, Prompt.make(text=f"my {topic} number 7 ?"), answer)
        with torch.no_grad():
            logps = policy(input_ids=torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
        return logps[len(prompt) - 1 : -1].gather(1, torch.tensor(completion)[:, None]).sum()

    polite, plain = "please wait until today .", "you wait until today ."
    return float(torch.stack([torch.sigmoid(logp(t, polite) - logp(t, plain)) for t in TOPICS]).mean())


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_the_liked_word_is_found(name: str, lines: dict[str, Line]) -> None:
    assert lines[name].state == "done"
    assert "on 13 held-out groups" in lines[name].summary  # of 60: those whose hash is below a quarter
    assert polite_share(lines["sft"].folder / "model") < 0.8
    assert polite_share(lines[name].folder / "model") > 0.95
    figures = json.loads((lines[name].folder / "manifest.json").read_text())["figures"]
    assert figures["held_out/accuracy"] > 0.9
    assert figures["kl/exact"] > 0


def test_what_is_left_behind(lines: dict[str, Line], folder: Path) -> None:
    left = lines["dpo"].folder
    assert not (left / "checkpoint").exists()
    assert (left / "policy" / "role.json").is_file()
    AutoModelForCausalLM.from_pretrained(left / "model", dtype=torch.float32)
    card = json.loads((left / "model" / "implicit_reward.json").read_text())
    assert card["of"] == "log_ratio"
    assert card["scale"] == 0.1
    assert (left / "model" / card["reference"]).resolve() == (lines["sft"].folder / "model").resolve()
    # Two stages on the same reference and other data: two entries of the cache.
    assert len(list((folder / "runs" / ".reference").iterdir())) == 2


def test_held_out_pairs_are_kept_with_the_ids_of_their_records(lines: dict[str, Line], folder: Path) -> None:
    rows = pq.read_table(lines["dpo"].folder / "pairs").to_pylist()
    num_steps = len((lines["dpo"].folder / "metrics.jsonl").read_text().splitlines())
    assert {row["step"] for row in rows} >= {0, num_steps}
    assert [row["side"] for row in rows] == ["chosen", "rejected"] * (len(rows) // 2)
    for row in rows:
        assert row["completion_id"].startswith("completion-")
        assert "".join(row["tokens"]).strip().startswith(row["completion"].strip())
        assert len(row["logps"]) == len(row["ref_logps"]) == len(row["token_ids"]) == len(row["tokens"])
    assert rows[0]["margin"] == pytest.approx(0, abs=1e-4), "before training"
    last = [row["margin"] for row in rows if row["step"] == num_steps]
    assert sum(last) / len(last) > 0.1


def test_another_beta_asks_the_reference_nothing(folder: Path, lines: dict[str, Line], monkeypatch: Any) -> None:
    monkeypatch.setattr("preflab.policy.dpo_logps.all_logps", lambda *_: pytest.fail("the reference was asked again"))
    before = {path.name for path in (folder / "runs" / ".reference").iterdir()}
    changes = ["stages.dpo.losses=[{kind: ipo, tau: 0.5}, {kind: nll, weight: 0.1}]", "stages.dpo.num_epochs=1"]
    (line,) = run(load_recipe(folder / "recipe.yaml", [*changes, f"stages.dpo.seed={seed_of(folder)}"]), only=["dpo"])
    rows = [json.loads(row) for row in (line.folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["loss/ipo"] == pytest.approx(1.0, abs=1e-4)  # (0 − 1/(2 · 0.5))²
    assert {path.name for path in (folder / "runs" / ".reference").iterdir()} == before


def test_a_policy_that_hardly_moved_is_said_so(folder: Path, lines: dict[str, Line]) -> None:
    """20 steps of at most 1e-6 per weight change no log-probability by a hundredth."""
    changes = ["stages.dpo.optimiser.learning_rate=1.0e-6", "stages.dpo.num_epochs=4"]
    (line,) = run(load_recipe(folder / "recipe.yaml", changes), only=["dpo"])
    assert "; the policy hardly moved: chosen " in line.summary
    assert line.summary.endswith("raise optimiser.learning_rate, or num_epochs")
    assert "hardly moved" in (line.folder / "alarms.jsonl").read_text()
    assert not any("hardly moved" in lines[name].summary for name in ("dpo", "kto"))


def seed_of(folder: Path) -> int:
    """The seed that the stage has without a change."""
    return load_recipe(folder / "recipe.yaml").stage_seed("dpo")


def test_the_report_draws_its_curves(lines: dict[str, Line]) -> None:
    page = (lines["report"].folder / "report.html").read_text(encoding="utf-8")
    for words in ("log-ratio of the chosen completions", "accuracy on held-out pairs", "kto loss", "Alarms"):
        assert words in page, words


def test_its_policy_is_a_reward(lines: dict[str, Line]) -> None:
    """β (log π − log π_ref) of whole answers, from text or from tokens; an answer cut by the limit has no end token."""
    model, start = lines["dpo"].folder / "model", lines["sft"].folder / "model"
    tokenizer = load_tokenizer(model)
    prompt = Prompt.make(text="my lamp number 7 ?")
    texts = ["please wait until today .", "you wait until today ."]
    items = [ScoringItem(prompt, text) for text in texts] + [ScoringItem(prompt, texts[0], finish_reason="length")]

    def logp(folder: Path, text: str, ended: bool) -> float:
        policy = load_causal_lm(folder, dtype="float32")
        before, ids = tokens(tokenizer, prompt, text, ended)
        with torch.no_grad():
            logps = policy(input_ids=torch.tensor([before + ids])).logits[0].log_softmax(-1)
        return float(logps[len(before) - 1 : -1].gather(1, torch.tensor(ids)[:, None]).sum())

    expected = [
        0.1
        * (logp(model, item.text, item.finish_reason == "stop") - logp(start, item.text, item.finish_reason == "stop"))
        for item in items
    ]
    source = RewardSource(implicit="dpo")
    found = make_scorer([source], lambda name: lines[name].folder / "model").score(items)
    assert found.total.tolist() == pytest.approx(expected, abs=1e-4)
    assert list(found.terms) == ["dpo"]
    assert found.total[0] > found.total[1] + 0.5
    ids = [ScoringItem(prompt, "not read", *tokens(tokenizer, prompt, text)) for text in texts]
    with_tokens = make_scorer([source], lambda name: lines[name].folder / "model", PolicySide(tokenizer)).score(ids)
    assert with_tokens.total.tolist() == pytest.approx(expected[:2], abs=1e-4)


def test_the_command_score_reads_a_dpo_stage_as_a_reward(
    folder: Path, lines: dict[str, Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    texts = ["please wait until today .", "you wait until today ."]
    asked = [{"prompt": "my lamp number 7 ?", "completion": text} for text in texts]
    Path("asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    assert run_command(["score", "asked.jsonl", "--by", "dpo", "--recipe", "recipe.yaml"]) == 0
    rewards = [json.loads(line)["reward"] for line in Path("asked.scored.jsonl").read_text().splitlines()]
    items = [ScoringItem(Prompt.make(text=row["prompt"]), row["completion"]) for row in asked]
    model = lines["dpo"].folder / "model"
    assert rewards == pytest.approx(load_implicit(model, "dpo").score(items).total.tolist(), abs=1e-5)
    assert rewards[0] > rewards[1] + 0.5


def test_an_implicit_reward_needs_its_card_and_its_reference(lines: dict[str, Line], tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="implicit_reward.json"):
        load_implicit(lines["sft"].folder / "model", "sft")
    copied = tmp_path / "deep" / "model"
    shutil.copytree(lines["dpo"].folder / "model", copied)
    card = json.loads((copied / "implicit_reward.json").read_text())
    card["reference"] = str(lines["kto"].folder / "model")
    (copied / "implicit_reward.json").write_text(json.dumps(card))
    with pytest.raises(PreflabError, match="has the weights"):
        load_implicit(copied, "dpo")
    (copied / "implicit_reward.json").write_text(json.dumps(card | {"of": "luck"}))
    with pytest.raises(PreflabError, match="luck"):
        load_implicit(copied, "dpo")


@pytest.mark.parametrize(
    ("changes", "found", "do"),
    [
        (["preferences=equal"], "no preferences", "check the file or the stage they come from"),
        (["preferences=thumbs"], "60 preferences without a pair to learn from", "kind: kto"),
        (["losses=[{kind: kto}]"], "60 preferences without thumbs", "kind: dpo"),
        (["preferences=praise", "losses=[{kind: kto}]"], "60 verdicts, none of them bad", "collect both"),
        (
            ["max_tokens=8"],
            "line 1: prompt and completion are 12 tokens (and 59 more rows",
            "raise max_tokens",
        ),
        (["watch.decoding.max_new_tokens=20"], "watch.decoding.max_new_tokens 20", "watch.num_samples to 0"),
    ],
    ids=["equal texts", "thumbs for pairs", "pairs for thumbs", "good alone", "too long", "no room for samples"],
)
def test_bad_input_is_named(folder: Path, lines: dict[str, Line], changes: list[str], found: str, do: str) -> None:
    recipe = load_recipe(folder / "recipe.yaml", [f"stages.dpo.{change}" for change in changes])
    with pytest.raises(PreflabError) as error:
        run(recipe, only=["dpo"])
    assert found in error.value.found
    assert do in error.value.do


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ("[{kind: dpo, betta: 0.1}]", "beta"),
        ("[{kind: ipo, beta: 0.1}]", "tau"),
        ("[{kind: robust, flip_rate: 0.5}]", "below 0.5"),
        ("[{kind: dppo}]", "dpo"),
        ("[{kind: dpo}, {kind: dpo}]", "named twice"),
        ("[]", "at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(folder: Path, losses: str, said: str) -> None:
    with pytest.raises(PreflabError) as error:
        load_recipe(folder / "recipe.yaml", [f"stages.dpo.losses={losses}"])
    assert said in f"{error.value.found} {error.value.expected} {error.value.do}"


def test_the_settings_of_every_loss_are_shown() -> None:
    shown = {row["setting"]: row["default"] for row in settings_of("dpo")}
    assert shown["losses"] == '[{"kind": "dpo"}]'
    assert shown["losses[kind: ipo].tau"] == "0.1"
    assert shown["losses[kind: kto].undesirable_weight"] == "1.0"


def rated(
    scores: dict[str, tuple[float | None, ...]] | None = None, thumbs: tuple[float | None, ...] = ()
) -> Preference:
    return Preference.make("prompt", ("a", "b", "c"), (1, 2, 3), scores=scores or {}, thumbs=thumbs)


def test_verdicts_come_from_thumbs_and_likert_scores() -> None:
    chosen = VerdictSettings()
    assert verdicts_of(rated(thumbs=(1.0, 0.5, None)), chosen) == [1.0, 0.5, None]
    assert verdicts_of(rated({"helpful": (4.0, 2.0, 3.0)}), chosen) == [1.0, 0.0, None]
    assert verdicts_of(rated({"helpful": (4.5, None, 1.0)}), chosen) == [1.0, None, 0.0]
    assert verdicts_of(rated(), chosen) == [None, None, None]
    two = rated({"helpful": (4.0, 2.0, 3.0), "honest": (1.0, 5.0, 5.0)})
    assert verdicts_of(two, VerdictSettings(criterion="honest")) == [0.0, 1.0, 1.0]
    for settings in (chosen, VerdictSettings(criterion="kind")):
        with pytest.raises(PreflabError, match="helpful, honest"):
            verdicts_of(two, settings)


def test_sampled_twins_are_left_out_and_counted(lines: dict[str, Line]) -> None:
    """Two completions may come out alike: their pair says nothing, the other pairs of the ranking stay."""
    tokenizer = load_tokenizer(lines["sft"].folder / "model")
    prompts = [Prompt.make(text=f"my {topic} ?") for topic in TOPICS[:3]]
    texts = ["please wait .", "please wait .", "you wait ."]
    completions = {
        c.id: c for p in prompts for i, text in enumerate(texts) for c in [Completion.make(p.id, text, "m", index=i)]
    }
    preferences = []
    for prompt in prompts:
        ids = tuple(c.id for c in completions.values() if c.prompt_id == prompt.id)
        outcomes = tuple(PairOutcome(i, j, 1.0, 0.0, 0.0, 1 / 3) for i, j in ((0, 1), (0, 2), (1, 2)))
        preferences.append(Preference.make(prompt.id, ids, (1, 2, 3), pairs=outcomes))
    data = PreferenceData("prefs", tuple(preferences), {p.id: p for p in prompts}, completions, {})
    settings = DpoSettings(model="-", preferences="prefs")
    found = find_groups(data, Encoder(tokenizer, True, 2**31), settings, max_tokens=24)
    assert found.num_equal == 3
    for group in [*found.train, *found.held_out]:
        assert [(p.first, p.second) for p in group.pairs] == [(0, 2), (1, 2)]
        assert len(group.sequences) == 3
