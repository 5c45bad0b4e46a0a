"""llama.cpp's converter takes an exported policy; the file holds its weights and its end token.

The converter is a script of llama.cpp's repository: set PREFLAB_LLAMA_CPP to a checkout of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from preflab.models.export import export_language_model
from preflab.models.loading import load_causal_lm, load_tokenizer
from preflab.models.trunk import Trunk
from preflab.settings.learning import LoraSettings


@pytest.fixture(scope="module")
def llama_cpp() -> Path:
    folder = Path(os.environ.get("PREFLAB_LLAMA_CPP", ""))
    if not (folder / "convert_hf_to_gguf.py").is_file() or not folder.is_absolute():
        pytest.skip("PREFLAB_LLAMA_CPP names no checkout of llama.cpp")
    return folder


@pytest.fixture(scope="module")
def exported(stories_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy whose adapter is far from zero, merged and exported."""
    trunk = Trunk(
        load_causal_lm(stories_model, dtype="float32"), load_tokenizer(stories_model), lora=LoraSettings(rank=2),
        roles=("policy",),
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.no_grad():
        for _, parameter in trunk.parameters_of("policy"):
            parameter.add_(0.02 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("exported") / "model"
    export_language_model(trunk, "policy", folder)
    return folder


@pytest.fixture(scope="module")
def converted(llama_cpp: Path, exported: Path) -> Path:
    """The file that the converter makes of the export."""
    file = exported.with_name("model.gguf")
    words = [sys.executable, str(llama_cpp / "convert_hf_to_gguf.py"), str(exported), "--outfile", str(file)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(llama_cpp / "gguf-py"), *sys.path])}
    done = subprocess.run([*words, "--outtype", "f32"], capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0 and "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"the converter lacks a package: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-2000:]
    return file


def test_converted_file_holds_the_exported_weights(llama_cpp: Path, exported: Path, converted: Path) -> None:
    sys.path.insert(0, str(llama_cpp / "gguf-py"))
    try:
        gguf: Any = pytest.importorskip("gguf")
    finally:
        sys.path.remove(str(llama_cpp / "gguf-py"))
    model, tokenizer = load_causal_lm(exported, dtype="float32"), load_tokenizer(exported)
    reader = gguf.GGUFReader(str(converted))
    tensors = {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors}
    layer = model.model.layers[0]
    assert torch.equal(tensors["token_embd.weight"], model.get_input_embeddings().weight)
    assert torch.equal(tensors["blk.0.ffn_down.weight"], layer.mlp.down_proj.weight)
    assert torch.equal(tensors["blk.0.attn_v.weight"], layer.self_attn.v_proj.weight)
    end = reader.get_field("tokenizer.ggml.eos_token_id")
    assert end is not None
    assert int(end.parts[end.data[0]][0]) == tokenizer.eos_token_id
