"""The architectures that preflab is held to, a line each: what a tiny model of the kind needs besides being small."""

from __future__ import annotations

from typing import Any

from architectures import ROWS, Architecture

LINEAR_ATTENTION = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
KDA = {"layer_types": ["linear_attention", "full_attention"], "linear_head_dim": 8, "linear_num_heads": 4}
MAMBA2 = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_d_state": 16,
    "mamba_expand": 2,
    "mamba_chunk_size": 16,
}
ZAMBA = {"mamba_d_state": 8, "mamba_dt_rank": 8, "n_mamba_heads": 2, "use_mamba_kernels": False}
ZAMBA2 = {"mamba_d_state": 16, "n_mamba_heads": 8, "mamba_ngroups": 1, "chunk_size": 16, "num_mem_blocks": 1}
MANY_HEADS = {"num_key_value_heads": 4}
PER_LAYER = {"vocab_size_per_layer_input": ROWS, "hidden_size_per_layer_input": 8, "sliding_window": 12}
WINDOW = {"sliding_window": 12}


def rope(kind: str, **changes: Any) -> dict[str, Any]:
    """A rotary scaling whose limit is crossed after 32 tokens."""
    scaling = {"rope_type": kind, "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}
    return {"rope_parameters": scaling | changes}


DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
LONG = rope("longrope", short_factor=[1.0] * 4, long_factor=[2.0, 3.0, 4.0, 8.0])
SECTIONS = {"rope_parameters": DEFAULT_ROPE | {"mrope_section": [1, 1, 2]}}
WHOLE = {"rope_parameters": SECTIONS["rope_parameters"] | {"partial_rotary_factor": 1.0}}
CROSS = {
    "rope_parameters": {
        "rope_type": "xdrope",
        "rope_theta": 10000.0,
        "xdrope_section": [1, 1, 1, 1],
        "alpha": 1.0,
        "factor": 1.0,
    }
}

LLAMA, QWEN2 = {"model_type": "llama"}, {"model_type": "qwen2"}
CLIP = {"model_type": "clip_vision_model"}
SIGLIP: dict[str, Any] = {"model_type": "siglip_vision_model", "vision_use_head": False}
IMAGE = {"image_token_id": 150}
IMAGE_INDEX = {"image_token_index": 150}
QWEN_IDS = {"image_token_id": 150, "video_token_id": 151, "vision_start_token_id": 152, "vision_end_token_id": 153}
CODEBOOK = {
    "embed_dim": 32,
    "num_embeddings": 16,
    "base_channels": 32,
    "channel_multiplier": [1, 1],
    "latent_channels": 32,
    "num_res_blocks": 1,
}


def plain(model_type: str, **changes: Any) -> Architecture:
    """A decoder that AutoModelForCausalLM opens."""
    return Architecture(model_type, changes)


def seeing(model_type: str, **changes: Any) -> Architecture:
    """A text model inside one that reads images as well."""
    return Architecture(model_type, changes, "AutoModelForImageTextToText")


def hearing(model_type: str, **changes: Any) -> Architecture:
    """A text model inside one that hears as well."""
    return Architecture(model_type, changes, "AutoModelForMultimodalLM")


def reading(model_type: str, **changes: Any) -> Architecture:
    """An encoder: each token sees those after it."""
    return Architecture(model_type, changes, "AutoModelForMaskedLM")


def translating(model_type: str, **changes: Any) -> Architecture:
    """An encoder–decoder that AutoModelForSeq2SeqLM opens."""
    return Architecture(model_type, {"decoder_start_token_id": 0, **changes}, "AutoModelForSeq2SeqLM")


DECODERS = {
    "llama": plain("llama"),
    "llama, tied": plain("llama", tie_word_embeddings=True),
    "llama, biases": plain("llama", attention_bias=True, mlp_bias=True),
    "llama, linear rope": plain("llama", **rope("linear")),
    "llama, dynamic rope": plain("llama", **rope("dynamic")),
    "llama, yarn": plain("llama", **rope("yarn")),
    "llama, llama3 rope": plain("llama", **rope("llama3", low_freq_factor=1.0, high_freq_factor=4.0)),
    "llama, longrope": plain("llama", **LONG),
    "apertus": plain("apertus"),
    "arcee": plain("arcee"),
    "bart, decoder": plain("bart", is_decoder=True, is_encoder_decoder=False),
    "bert, decoder": plain("bert", is_decoder=True),
    "bert-generation, decoder": plain("bert-generation", is_decoder=True),
    "biogpt": plain("biogpt"),
    "bitnet": plain("bitnet"),
    "blenderbot, decoder": plain("blenderbot", is_decoder=True, is_encoder_decoder=False),
    "bloom": plain("bloom"),
    "codegen": plain("codegen"),
    "cohere": plain("cohere", logit_scale=0.5),
    "cohere2": plain("cohere2", logit_scale=0.5, num_hidden_layers=4, **WINDOW),
    "cohere_compass": plain(
        "cohere_compass_text",
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters=dict.fromkeys(("sliding_attention", "full_attention"), DEFAULT_ROPE),
        **WINDOW,
    ),
    "cpmant": plain("cpmant"),
    "ctrl": plain("ctrl"),
    "cwm": plain("cwm", **WINDOW),
    "diffllama": plain("diffllama"),
    "ernie4_5": plain("ernie4_5"),
    "exaone4": plain("exaone4", layer_types=["sliding_attention", "full_attention"], **WINDOW),
    "falcon": plain("falcon", multi_query=True, new_decoder_architecture=False),
    "falcon, alibi": plain("falcon", alibi=True, num_kv_heads=4, multi_query=False, new_decoder_architecture=False),
    "falcon, new": plain("falcon", new_decoder_architecture=True),
    "flint": plain("flint"),
    "gemma": plain("gemma"),
    "gemma2": plain("gemma2", query_pre_attn_scalar=8, final_logit_softcapping=3.0, **WINDOW),
    "gemma3": plain("gemma3_text", num_hidden_layers=4, sliding_window_pattern=2, query_pre_attn_scalar=8, **WINDOW),
    "gemma3n": plain(
        "gemma3n_text",
        num_hidden_layers=4,
        num_kv_shared_layers=2,
        laurel_rank=8,
        altup_num_inputs=2,
        activation_sparsity_pattern=[0.0] * 4,
        layer_types=["sliding_attention", "full_attention"] * 2,
        **PER_LAYER,
    ),
    "gemma4": plain("gemma4_text", num_kv_shared_layers=0, **PER_LAYER),
    "gemma4, shared keys": plain(
        "gemma4_text",
        num_hidden_layers=4,
        num_kv_shared_layers=2,
        layer_types=["sliding_attention", "full_attention"] * 2,
        **PER_LAYER,
    ),
    "gemma4_unified": plain("gemma4_unified_text", **WINDOW),
    "glm": plain("glm"),
    "glm4": plain("glm4"),
    "gpt2": plain("gpt2"),
    "gpt_bigcode": plain("gpt_bigcode"),
    "gpt_neo": plain("gpt_neo", attention_types=[[["global", "local"], 1]], window_size=12),
    "gpt_neox": plain("gpt_neox"),
    "gpt_neox_japanese": plain("gpt_neox_japanese"),
    "gptj": plain("gptj"),
    "granite": plain("granite", embedding_multiplier=3.0, logits_scaling=2.0, residual_multiplier=0.5),
    "granite_swa": plain("granite_swa", **WINDOW),
    "helium": plain("helium"),
    "hrm_text": plain("hrm_text"),
    "hunyuan_v1_dense": plain("hunyuan_v1_dense"),
    "hyperclovax": plain("hyperclovax"),
    "jais2": plain("jais2"),
    "kolibri1": plain("kolibri1"),
    "minicpm3": plain("minicpm3", **MANY_HEADS),
    "ministral": plain("ministral", **WINDOW),
    "ministral3": plain("ministral3", **WINDOW),
    "mistral": plain("mistral", **WINDOW),
    "modernbert-decoder": plain("modernbert-decoder"),
    "mpt": plain("mpt"),
    "nanochat": plain("nanochat"),
    "nemotron": plain("nemotron"),
    "olmo": plain("olmo"),
    "olmo2": plain("olmo2"),
    "olmo3": plain("olmo3", **WINDOW),
    "openai-gpt": plain("openai-gpt"),
    "opt": plain("opt"),
    "opt, projected": plain("opt", word_embed_proj_dim=16),
    "persimmon": plain("persimmon"),
    "phi": plain("phi"),
    "phi3": plain("phi3", sliding_window=None),
    "phi3, longrope": plain("phi3", sliding_window=None, **LONG),
    "phi3, window": plain("phi3", **WINDOW),
    "qwen2": plain("qwen2"),
    "qwen2, window": plain("qwen2", use_sliding_window=True, max_window_layers=1, **WINDOW),
    "qwen3": plain("qwen3"),
    "roberta, decoder": plain("roberta", is_decoder=True, max_position_embeddings=130),
    "seed_oss": plain("seed_oss"),
    "smollm3": plain("smollm3", no_rope_layers=[1, 0]),
    "stablelm": plain("stablelm"),
    "starcoder2": plain("starcoder2", **WINDOW),
    "vaultgemma": plain("vaultgemma", query_pre_attn_scalar=8, **WINDOW),
    "xglm": plain("xglm"),
    "youtu": plain("youtu", **MANY_HEADS),
}

MIXTURES = {
    "afmoe": plain("afmoe"),
    "aria_text": plain("aria_text"),
    "axk1": plain("axk1", **MANY_HEADS),
    "axk2": plain("axk2", **MANY_HEADS),
    "beam": plain("beam"),
    "cohere2_moe": plain("cohere2_moe", **WINDOW),
    "dbrx": plain(
        "dbrx",
        attn_config={"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        ffn_config={"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2, "moe_jitter_eps": None},
    ),
    "deepseek_v2": plain("deepseek_v2", **MANY_HEADS),
    "deepseek_v3": plain("deepseek_v3", **MANY_HEADS),
    "deepseek_v32": plain("deepseek_v32", **MANY_HEADS),
    "deepseek_v4": plain("deepseek_v4"),
    "doge": plain("doge"),
    "dots1": plain("dots1"),
    "ernie4_5_moe": plain("ernie4_5_moe"),
    "exaone_moe": plain("exaone_moe"),
    "flex_olmo": plain("flex_olmo"),
    "glm4_moe": plain("glm4_moe"),
    "glm4_moe_lite": plain("glm4_moe_lite", **MANY_HEADS),
    "glm_moe_dsa": plain("glm_moe_dsa", **MANY_HEADS),
    "gpt_oss": plain("gpt_oss", **WINDOW),
    "granitemoe": plain("granitemoe", logits_scaling=2.0),
    "granitemoe_swa": plain("granitemoe_swa", **WINDOW),
    "granitemoeshared": plain("granitemoeshared", shared_intermediate_size=32),
    "hunyuan_v1_moe": plain("hunyuan_v1_moe"),
    "hy_v3": plain("hy_v3"),
    "hy_v4": plain("hy_v4"),
    "inkling": plain("inkling_text"),
    "inkling2": plain("inkling2_text"),
    "jetmoe": plain("jetmoe"),
    "laguna": plain("laguna"),
    "llama4": plain("llama4_text", num_hidden_layers=4, attention_chunk_size=12, moe_layers=[1, 3]),
    "longcat_flash": plain(
        "longcat_flash", expert_ffn_hidden_size=16, ffn_hidden_size=48, zero_expert_num=1, moe_topk=2, **MANY_HEADS
    ),
    "mellum": plain("mellum"),
    "mimo_v2_flash": plain("mimo_v2_flash"),
    "minimax_m2": plain("minimax_m2"),
    "minimax_m3_vl_text": plain("minimax_m3_vl_text"),
    "mistral4": seeing("mistral4", **MANY_HEADS),
    "mixtral": plain("mixtral", sliding_window=None),
    "olmoe": plain("olmoe"),
    "phimoe": plain("phimoe"),
    "qwen2_moe": plain("qwen2_moe"),
    "qwen3_moe": plain("qwen3_moe"),
    "solar_open": plain("solar_open"),
    "zaya": plain("zaya", num_experts_per_tok=1),
}

RECURRENT = {
    "bailing_hybrid": plain("bailing_hybrid", **KDA, **MANY_HEADS),
    "bamba": plain("bamba", attn_layer_indices=[1], **MAMBA2),
    "falcon_h1": plain("falcon_h1", mamba_d_ssm=64, **MAMBA2),
    "falcon_mamba": plain("falcon_mamba"),
    "granitemoehybrid": plain(
        "granitemoehybrid", layer_types=["mamba", "attention"], shared_intermediate_size=32, **MAMBA2
    ),
    "jamba": plain(
        "jamba",
        num_hidden_layers=4,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        mamba_d_state=8,
        mamba_dt_rank=8,
        use_mamba_kernels=False,
    ),
    "kimi_linear": plain("kimi_linear", **KDA, **MANY_HEADS),
    "lfm2": plain("lfm2", layer_types=["conv", "full_attention"]),
    "lfm2_moe": plain("lfm2_moe", layer_types=["conv", "full_attention"], num_dense_layers=1),
    "lfm3": plain("lfm3", layer_types=["conv", "full_attention"]),
    "mamba": plain("mamba"),
    "mamba2": plain("mamba2", num_heads=8, head_dim=8, n_groups=1, chunk_size=16, state_size=16, expand=2),
    "minimax": plain("minimax", layer_types=["linear_attention", "full_attention"], block_size=16),
    "nemotron_h": plain(
        "nemotron_h",
        ssm_state_size=16,
        mamba_num_heads=8,
        mamba_head_dim=8,
        n_groups=1,
        chunk_size=16,
        moe_shared_expert_intermediate_size=16,
    ),
    "olmo_hybrid": plain("olmo_hybrid", **LINEAR_ATTENTION | {"linear_num_value_heads": 2}),
    "qwen3_5": plain("qwen3_5_text", **LINEAR_ATTENTION),
    "qwen3_5_moe": plain("qwen3_5_moe_text", **LINEAR_ATTENTION),
    "qwen3_next": plain("qwen3_next", **LINEAR_ATTENTION),
    "recurrent_gemma": plain("recurrent_gemma", num_hidden_layers=3, attention_window_size=12),
    "rwkv": plain("rwkv", attention_hidden_size=32, context_length=128),
    "xlstm": plain("xlstm", hidden_size=64, embedding_dim=64),
    "zamba": plain("zamba", num_hidden_layers=6, attn_layer_period=3, attn_layer_offset=2, **MANY_HEADS, **ZAMBA),
    "zamba2": plain(
        "zamba2",
        num_hidden_layers=4,
        layers_block_type=["mamba", "mamba", "hybrid", "mamba"],
        hybrid_layer_ids=[2],
        **MANY_HEADS,
        **ZAMBA2,
    ),
}

SEEING = {
    "aria": seeing(
        "aria", vision_config={"model_type": "idefics3_vision"}, projector_patch_to_query_dict={4: 4}, **IMAGE_INDEX
    ),
    "aya_vision": seeing(
        "aya_vision", text_config={"model_type": "cohere2", **WINDOW}, vision_config=SIGLIP, **IMAGE_INDEX
    ),
    "blip": seeing("blip"),
    "blip-2": seeing(
        "blip-2",
        text_config={"model_type": "opt"},
        qformer_config={"encoder_hidden_size": 32},
        num_query_tokens=4,
        **IMAGE_INDEX,
    ),
    "chameleon": seeing(
        "chameleon", vq_config=CODEBOOK | {"resolution": 28}, vocabulary_map={"<image>": 150, "IMGIMGA": 151}
    ),
    "cohere2_vision": seeing(
        "cohere2_vision",
        text_config={"model_type": "cohere2", **WINDOW},
        vision_config=SIGLIP,
        alignment_intermediate_size=48,
        **IMAGE,
    ),
    "deepseek_vl": seeing("deepseek_vl", text_config=LLAMA, vision_config=SIGLIP, **IMAGE),
    "emu3": seeing(
        "emu3",
        vq_config={
            "codebook_size": 32,
            "embed_dim": 4,
            "latent_channels": 4,
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
            "attn_resolutions": [],
        },
        vocabulary_map={"<image>": 150, "<|visual token 0001|>": 151},
    ),
    "exaone4_5": seeing("exaone4_5"),
    "fuyu": seeing("fuyu", text_config={"model_type": "persimmon"}, **IMAGE),
    "gemma3, seeing": seeing(
        "gemma3",
        text_config={"num_hidden_layers": 4, "query_pre_attn_scalar": 8, "sliding_window_pattern": 2, **WINDOW},
        vision_config=SIGLIP,
        image_token_id=150,
        boi_token_id=151,
        eoi_token_id=152,
        mm_tokens_per_image=4,
    ),
    "git": seeing("git"),
    "glm4v": seeing("glm4v", text_config=SECTIONS, image_token_id=150, video_token_id=151),
    "glm4v_moe": seeing("glm4v_moe", text_config=WHOLE, image_token_id=150, video_token_id=151),
    "glm_ocr": seeing("glm_ocr", text_config=WHOLE),
    "got_ocr2": seeing(
        "got_ocr2",
        text_config=QWEN2,
        vision_config={"output_channels": 8, "window_size": 2, "global_attn_indexes": [1]},
    ),
    "granite_docling": seeing("granite_docling"),
    "hunyuan_vl": seeing("hunyuan_vl", text_config=CROSS),
    "idefics": seeing("idefics"),
    "idefics2": seeing(
        "idefics2",
        text_config={"model_type": "mistral"},
        perceiver_config={
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 4,
            "resampler_head_dim": 8,
        },
        **IMAGE,
    ),
    "idefics3": seeing("idefics3", text_config=LLAMA, **IMAGE),
    "instructblip": seeing(
        "instructblip",
        text_config={"model_type": "opt"},
        qformer_config={"encoder_hidden_size": 32},
        num_query_tokens=4,
        **IMAGE_INDEX,
    ),
    "internvl": seeing(
        "internvl", text_config=QWEN2, vision_config={"image_size": [28, 28], "patch_size": [14, 14]}, **IMAGE
    ),
    "janus": seeing(
        "janus",
        text_config=LLAMA,
        vision_config={"projection_dim": 32},
        vq_config=CODEBOOK | {"embed_dim": 8, "num_patches": 4, "projection_dim": 32},
        **IMAGE,
    ),
    "kosmos-2": seeing("kosmos-2"),
    "kosmos-2.5": seeing("kosmos-2.5"),
    "lfm2_vl": seeing(
        "lfm2_vl", text_config={"model_type": "lfm2", "layer_types": ["conv", "full_attention"]}, **IMAGE
    ),
    "llama4, seeing": seeing(
        "llama4",
        text_config={"attention_chunk_size": 12, "moe_layers": [1], "no_rope_layers": [1, 0]},
        vision_config={"projector_output_dim": 32, "projector_input_dim": 32, "vision_output_dim": 32},
        image_token_index=150,
        boi_token_index=151,
        eoi_token_index=152,
    ),
    "llava": seeing("llava", text_config=LLAMA, vision_config=CLIP, **IMAGE_INDEX),
    "llava, qwen2": seeing("llava", text_config=QWEN2, vision_config=SIGLIP, **IMAGE_INDEX),
    "llava_next": seeing("llava_next", text_config=LLAMA, vision_config=CLIP, **IMAGE_INDEX),
    "llava_next_video": seeing(
        "llava_next_video", text_config=LLAMA, vision_config=CLIP, image_token_index=150, video_token_index=151
    ),
    "llava_onevision": seeing(
        "llava_onevision", text_config=QWEN2, vision_config=SIGLIP, image_token_index=150, video_token_index=151
    ),
    "mistral3": seeing("mistral3", text_config={"model_type": "mistral"}, **IMAGE_INDEX),
    "mllama": seeing(
        "mllama",
        text_config={"cross_attention_layers": [1], "num_hidden_layers": 3},
        vision_config={
            "num_global_layers": 1,
            "intermediate_layers_indices": [0, 1],
            "vision_output_dim": 96,
            "max_num_tiles": 1,
            "supported_aspect_ratios": [[1, 1]],
        },
        **IMAGE_INDEX,
    ),
    "ovis2": seeing(
        "ovis2",
        text_config=QWEN2,
        vision_config={"vocab_size": 64},
        visual_indicator_token_ids=[151, 152, 153, 154, 155],
        **IMAGE,
    ),
    "paddleocr_vl": seeing("paddleocr_vl", text_config=SECTIONS),
    "paligemma": seeing(
        "paligemma",
        text_config={"model_type": "gemma"},
        vision_config=SIGLIP | {"projection_dim": 32},
        projection_dim=32,
        **IMAGE_INDEX,
    ),
    "paligemma, gemma2": seeing(
        "paligemma",
        text_config={"model_type": "gemma2", "query_pre_attn_scalar": 8, **WINDOW},
        vision_config=SIGLIP | {"projection_dim": 32},
        projection_dim=32,
        **IMAGE_INDEX,
    ),
    "pix2struct": seeing("pix2struct"),
    "qwen2_5_vl": seeing("qwen2_5_vl", text_config=SECTIONS, vision_config={"fullatt_block_indexes": [1]}, **QWEN_IDS),
    "qwen2_vl": seeing("qwen2_vl", text_config=SECTIONS, **QWEN_IDS),
    "qwen3_5, seeing": seeing("qwen3_5", text_config=LINEAR_ATTENTION, **QWEN_IDS),
    "qwen3_5_moe, seeing": seeing("qwen3_5_moe", text_config=LINEAR_ATTENTION, **QWEN_IDS),
    "qwen3_vl": seeing("qwen3_vl", text_config=SECTIONS, vision_config={"deepstack_visual_indexes": [0]}, **QWEN_IDS),
    "qwen3_vl_moe": seeing(
        "qwen3_vl_moe", text_config=SECTIONS, vision_config={"deepstack_visual_indexes": [0]}, **QWEN_IDS
    ),
    "smolvlm": seeing("smolvlm", text_config=LLAMA, **IMAGE),
    "step3p7": seeing("step3p7", text_config=WINDOW),
    "video_llama_3": seeing("video_llama_3", text_config=QWEN2),
    "video_llava": seeing(
        "video_llava", text_config=LLAMA, vision_config=CLIP, image_token_index=150, video_token_index=151
    ),
    "vipllava": seeing("vipllava", text_config=LLAMA, vision_config=CLIP, **IMAGE_INDEX),
    "qwen2_5_omni_thinker": seeing("qwen2_5_omni_thinker", text_config=SECTIONS),
    "qwen2_audio": hearing("qwen2_audio", text_config=QWEN2, audio_config={"num_mel_bins": 8}),
    "voxtral": hearing("voxtral", text_config=LLAMA, audio_config={"num_mel_bins": 8}),
}

OTHERS = {
    "albert": reading("albert"),
    "bert": reading("bert"),
    "bert, causal head": plain("bert"),
    "deberta": reading("deberta"),
    "deberta-v2": reading("deberta-v2"),
    "distilbert": reading("distilbert"),
    "electra": reading("electra"),
    "ernie": reading("ernie"),
    "modernbert": reading("modernbert"),
    "mpnet": reading("mpnet"),
    "roberta": reading("roberta", max_position_embeddings=130),
    "xlm-roberta": reading("xlm-roberta", max_position_embeddings=130),
    "xlnet": plain("xlnet"),
    "gemma3, both ways": plain("gemma3_text", use_bidirectional_attention=True, query_pre_attn_scalar=8),
}

ENCODER_DECODERS = {
    "bart": translating("bart"),
    "bigbird_pegasus": translating("bigbird_pegasus", block_size=2, num_random_blocks=1),
    "blenderbot": translating("blenderbot"),
    "blenderbot-small": translating("blenderbot-small"),
    "encoder-decoder": translating(
        "encoder-decoder",
        encoder={"model_type": "bert"},
        decoder={"model_type": "bert", "is_decoder": True, "add_cross_attention": True},
    ),
    "fsmt": translating("fsmt", src_vocab_size=ROWS, tgt_vocab_size=ROWS),
    "led": translating(
        "led", attention_window=4, max_encoder_position_embeddings=128, max_decoder_position_embeddings=128
    ),
    "longt5, local": translating("longt5", local_radius=4),
    "longt5, global": translating(
        "longt5", encoder_attention_type="transient-global", local_radius=4, global_block_size=4
    ),
    "m2m_100": translating("m2m_100", decoder_start_token_id=2),
    "marian": translating("marian"),
    "mbart": translating("mbart"),
    "mt5": translating("mt5"),
    "mvp": translating("mvp"),
    "nllb-moe": translating("nllb-moe", decoder_start_token_id=2),
    "pegasus": translating("pegasus"),
    "pegasus_x": translating("pegasus_x", block_size=4, num_global_tokens=2),
    "plbart": translating("plbart"),
    "prophetnet": translating("prophetnet"),
    "seamless_m4t": translating("seamless_m4t", decoder_start_token_id=2),
    "seamless_m4t_v2": translating("seamless_m4t_v2", decoder_start_token_id=2),
    "switch_transformers": translating("switch_transformers", num_sparse_encoder_layers=1, num_sparse_decoder_layers=1),
    "t5": translating("t5"),
    "t5, gated": translating(
        "t5", feed_forward_proj="gated-gelu", tie_word_embeddings=False, scale_decoder_outputs=False
    ),
    "t5gemma": translating(
        "t5gemma",
        encoder=WINDOW | {"query_pre_attn_scalar": 8},
        decoder=WINDOW | {"query_pre_attn_scalar": 8},
        decoder_start_token_id=1,
    ),
    "t5gemma2": translating("t5gemma2", decoder_start_token_id=1),
    "umt5": translating("umt5"),
}

NAMED = (
    "llama", "llama, tied", "llama, longrope", "llama, dynamic rope", "gpt2", "falcon", "cohere", "cohere2", "gemma2",
    "gemma4", "granite", "opt", "phi3, longrope", "dbrx", "deepseek_v3", "gpt_oss", "llama4", "mixtral", "qwen3_moe",
    "bamba", "falcon_h1", "granitemoehybrid", "jamba", "lfm2", "mamba", "mamba2", "qwen3_5", "qwen3_next",
    "recurrent_gemma", "rwkv", "xlstm", "zamba2", "gemma3, seeing", "llava", "qwen2_5_vl", "qwen3_vl", "paligemma",
    "bart", "m2m_100", "marian", "mbart", "mt5", "pegasus", "t5", "t5gemma", "umt5",
)  # fmt: skip
"""Those that stand for their kind in the slow tests; the others are among the tests called `every`."""

ARCHITECTURES: dict[str, Architecture] = {
    **DECODERS,
    **MIXTURES,
    **RECURRENT,
    **ENCODER_DECODERS,
    **SEEING,
    **OTHERS,
}

GROUPS: dict[str, tuple[str, ...]] = {
    "Decoders": tuple(DECODERS),
    "Mixtures of experts": tuple(MIXTURES),
    "Recurrent and hybrid": tuple(RECURRENT),
    "Encoder–decoders": tuple(ENCODER_DECODERS),
    "Text models that also see or hear": tuple(SEEING),
    "No language models": tuple(OTHERS),
}
"""The parts of the table in docs/reference/models.md."""
