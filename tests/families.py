"""A tiny random model of every causal-LM family that transformers can build from its config."""

import inspect

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCABULARY = 96
SMALL = {
    "vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    # widths
    "hidden_size": 32, "n_embd": 32, "d_model": 32, "dim_model": 32, "embedding_size": 32,
    "intermediate_size": 48, "ffn_dim": 48, "n_inner": 48, "d_inner": 48, "dff": 48, "dim_ff": 48,
    "decoder_ffn_dim": 48, "encoder_ffn_dim": 48, "ffn_hidden_size": 48,
    "moe_intermediate_size": 16,
    "attention_hidden_size": 32, "head_dim": 8, "state_size": 8, "rotary_dim": 4,
    # layers and heads
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "decoder_layers": 2,
    "encoder_layers": 1, "num_encoder_layers": 1, "num_decoder_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4,
    "decoder_attention_heads": 4, "encoder_attention_heads": 4, "num_key_value_heads": 2,
    "num_decoder_attention_heads": 4, "num_encoder_attention_heads": 4,
    # positions
    "max_position_embeddings": 128, "n_positions": 128, "max_seq_len": 128, "sliding_window": 8,
    "max_target_positions": 128, "max_source_positions": 64,
    # experts
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "n_group": 1, "topk_group": 1,
    # large, so that predictions differ between positions
    "initializer_range": 0.3, "init_std": 0.3,
    # no randomness
    "attention_dropout": 0.0, "dropout": 0.0,
    # low-rank attention
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8,
}  # fmt: skip
VISION = {
    "image_size": 16, "patch_size": 8, "num_channels": 3, "depth": 1, "embed_dim": 32,
    "out_hidden_size": 32, "spatial_merge_size": 1, "num_position_embeddings": 16,
}  # fmt: skip
# What a family needs besides: as many key heads as heads, a layer of each kind, sizes that divide.
ALL_HEADS = {"num_key_value_heads": 4, "head_dim": None}
LINEAR_AND_FULL = ["linear_attention", "full_attention"]
GATED = {
    "layer_types": LINEAR_AND_FULL, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4,
}  # fmt: skip
MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 8}
OWN = {
    "axk1": ALL_HEADS,
    "axk2": ALL_HEADS,
    "bamba": MAMBA2 | {"attn_layer_indices": [1]},
    "cohere_compass_text": {"layer_types": ["sliding_attention", "full_attention"]},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8},
        "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": ALL_HEADS,
    "deepseek_v3": ALL_HEADS,
    "deepseek_v32": ALL_HEADS | {"index_n_heads": 4, "index_head_dim": 16, "index_topk": 8},
    "dots1": {"n_shared_experts": 1},
    "dots3_note_text": ALL_HEADS,
    "falcon_h1": MAMBA2 | {"mamba_d_ssm": 64, "mamba_n_groups": 1},
    "glm4_moe_lite": ALL_HEADS,
    "glm_moe_dsa": ALL_HEADS | {"index_n_heads": 4, "index_head_dim": 16, "index_topk": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "granitemoehybrid": MAMBA2 | {"layer_types": ["mamba", "attention"]},
    "jamba": {
        "num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1,
        "expert_layer_period": 2, "expert_layer_offset": 1, "use_mamba_kernels": False,
        "mamba_d_state": 8, "mamba_dt_rank": 4,
    },
    "bailing_hybrid": ALL_HEADS | {"layer_types": LINEAR_AND_FULL},
    "kimi_linear": ALL_HEADS
    | {"linear_head_dim": 8, "linear_num_heads": 4, "layer_types": LINEAR_AND_FULL},
    "nemotron_h": {
        "layers_block_type": ["mamba", "attention", "mamba", "moe"], "mamba_num_heads": 8,
        "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 1, "chunk_size": 8,
        "moe_shared_expert_intermediate_size": 16, "num_hidden_layers": None,
    },
    "qwen3_5": {"text_config": GATED},
    "qwen3_5_moe": {"text_config": GATED},
    "qwen3_5_moe_text": GATED,
    "qwen3_5_text": GATED,
    "qwen3_next": GATED,
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": ALL_HEADS,
    "mamba2": {"num_heads": 8, "chunk_size": 8, "n_groups": 1},
    "minicpm3": ALL_HEADS,
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {
        "is_decoder": True, "axial_pos_shape": [8, 16], "axial_pos_embds_dim": [16, 16],
        "attn_layers": ["local", "lsh"], "attention_head_size": 8, "feed_forward_size": 48,
        "hash_seed": None,
    },
    "xlm": {"causal": True},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "youtu": ALL_HEADS,
    "zamba": {
        "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
        "use_mamba_kernels": False, "attention_hidden_size": 64, "attention_head_dim": 16,
        "num_key_value_heads": 4, "mamba_d_state": 8, "mamba_dt_rank": 4, "n_mamba_heads": 2,
    },
    "zamba2": MAMBA2 | {
        "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
        "use_mamba_kernels": False, "attention_hidden_size": 64, "attention_head_dim": 16,
        "num_key_value_heads": 4, "chunk_size": 8, "hybrid_layer_ids": [1, 3],
    },
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip
# Not causal as they come; those with settings are where they are made so (here: not a decoder).
BIDIRECTIONAL = {"is_decoder": False}
ENCODERS = [
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie",
    "megatron-bert", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
]  # fmt: skip
NOT_CAUSAL = dict.fromkeys(ENCODERS, BIDIRECTIONAL)
NOT_CAUSAL |= {"xlm": {"causal": False}, "xlnet": {}, "prophetnet": {}, "cpmant": {}}
# Not built tiny from a config alone, and why: part of the error's words.
NOT_BUILT = {
    "blt": "cannot be multiplied",  # its patcher is a second model
    "cohere_compass_text": "_attention",
    "dots3_note": "num_key_value_heads",
    "gemma3n": "timm|layer types",  # an image model of another package
    "gemma3n_text": "layer types",
    "gemma4_assistant": "hidden_size_per_layer_input",  # drafts for another model
    "gemma4_unified_assistant": "layer types",
    "longcat_flash": "must match the size",
    "musicgen": "dropout",  # audio
    "musicgen_melody": "dropout",
}
# Decoders only where their config says so.
AS_DECODER = {"is_decoder": True}


def settings_of(config_class, kind=""):
    config = config_class()
    known = config.__dict__.keys() | set(inspect.signature(config_class).parameters)
    known |= set(getattr(config_class, "attribute_map", {}))
    found = {k: v for k, v in (VISION | SMALL).items() if k in known}
    for name, part in config_class.sub_configs.items():
        part = type(getattr(config, name, None)) if part is AutoConfig else part
        if issubclass(part, PreTrainedConfig):
            found[name] = settings_of(part)
    if "is_decoder" in known:
        found |= AS_DECODER
    own = OWN.get(kind, {})
    for name, value in own.items():
        both = isinstance(value, dict) and isinstance(found.get(name), dict)
        found[name] = found[name] | value if both else value
    return {name: value for name, value in found.items() if value is not None}


def tiny_of(kind, **changes):
    config_class = CONFIG_MAPPING[kind]
    config = config_class(**settings_of(config_class, kind) | changes)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()
