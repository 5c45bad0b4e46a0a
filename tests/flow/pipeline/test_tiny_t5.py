"""Stage tiny makes a T5 without a network, and sft teaches it to summarise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from preflab import pipeline
from preflab.errors import PreflabError
from preflab.recipe import load_recipe

ITEMS = ["lamp", "chair", "clock", "phone"]
ROWS = [
    {"dialogue": f"#Person1#: Hello.\n#Person2#: The {item} is {state}.", "summary": f"#Person2# has a {state} {item}."}
    for item in ITEMS
    for state in ("broken", "lost")
]


def recipe_in(folder: Path, **tiny: Any) -> Path:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    small = {"architecture": "t5", "num_layers": 1, "hidden_size": 32, "num_heads": 2, "context": 48}
    stages = {
        "t5": {"kind": "tiny", "text": "rows", **small, **tiny},
        "base": {
            "kind": "sft",
            "model": "t5",
            "data": "rows",
            "num_epochs": 60,
            "num_sequences_per_step": 8,
            "optimiser": {"learning_rate": 1e-2},
        },
    }
    data = {"rows": {"path": "rows.jsonl", "template": "Sum up:\n{dialogue}", "columns": {"summary": "completion"}}}
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({"recipe": 1, "data": data, "stages": stages}))
    return path


def test_tiny_t5_knows_the_words_of_prompts_and_completions_and_can_learn_them(tmp_path: Path) -> None:
    lines = pipeline.run(load_recipe(recipe_in(tmp_path)))
    random, learned = (line.folder / "model" for line in lines)
    tokenizer = AutoTokenizer.from_pretrained(random)
    # Sum up : #Person1# : Hello . #Person2# The … is broken/lost . has a: 4 special tokens; `:` and `.` after a word.
    words = {"Sum", "up", "##:", "#Person1#", "Hello", "##.", "#Person2#", "The", "is", "broken", "lost", "has", "a"}
    assert set(tokenizer.get_vocab()) == {"<pad>", "<s>", "</s>", "<unk>", *words, *ITEMS}
    model = AutoModelForSeq2SeqLM.from_pretrained(learned).eval()
    ids = [model.config.pad_token_id, model.config.eos_token_id, model.config.decoder_start_token_id]
    assert ids == [tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert model.config.n_positions == 48
    for row in ROWS:
        read = tokenizer(f"Sum up:\n{row['dialogue']}", return_tensors="pt").input_ids
        written = model.generate(read, max_new_tokens=12, do_sample=False)
        assert tokenizer.decode(written[0], skip_special_tokens=True) == row["summary"]


def test_rare_words_of_a_tiny_t5_are_unknown(tmp_path: Path) -> None:
    (line, *_) = pipeline.run(load_recipe(recipe_in(tmp_path, most_words=3)), until=["t5"])
    tokenizer = AutoTokenizer.from_pretrained(line.folder / "model")
    # Per row `##:` and `##.` three times, #Person2# twice; no other word is twice in each row.
    assert set(tokenizer.get_vocab()) == {"<pad>", "<s>", "</s>", "<unk>", "##:", "##.", "#Person2#"}
    assert tokenizer.tokenize("Hello #Person2#") == ["<unk>", "#Person2#"]


def test_settings_of_training_are_refused_for_a_t5(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="num_steps is for a `llama`"):
        load_recipe(recipe_in(tmp_path, num_steps=10))
