"""Random models of a few thousand parameters and a byte tokenizer, laid out as the hub does."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    ApertusConfig,
    ApertusForCausalLM,
    Ernie4_5Config,
    Ernie4_5ForCausalLM,
    Exaone4Config,
    Exaone4ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Glm4Config,
    Glm4ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    HunYuanDenseV1Config,
    HunYuanDenseV1ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Ministral3Config,
    Ministral3ForCausalLM,
    MinistralConfig,
    MinistralForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    Olmo3Config,
    Olmo3ForCausalLM,
    OlmoConfig,
    OlmoeConfig,
    OlmoeForCausalLM,
    OlmoForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    SeedOssConfig,
    SeedOssForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
)

END = "<|end|>"
VOCABULARY = 260  # 256 bytes, the end token, and rows no token uses
CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}" + END + "{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def byte_tokenizer(*, eos=True, pad=False, chat=False, bos=False, unnamed=(), around=None):
    """`around` is what the tokenizer puts around every text, such as "<|a|> <|b|> $A <|end|>"."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {END: 0} | {symbol: i for i, symbol in enumerate(alphabet, start=1)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END, *unnamed])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{END} $A", special_tokens=[(END, 0)]
        )
    if around:
        added = [token for token in around.split() if token != "$A"]
        tokenizer.add_special_tokens(added)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=around, special_tokens=[(t, tokenizer.token_to_id(t)) for t in set(added)]
        )
    special = {"eos_token": END} if eos else {}
    if pad:
        special["pad_token"] = END
    if bos:
        special["bos_token"] = END
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    if chat:
        fast.chat_template = CHAT_TEMPLATE if chat is True else chat
    return fast


SHARED = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
ROTARY = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,  # large, so that predictions differ between positions
    "tie_word_embeddings": False,
    "pad_token_id": 0,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
GEMMA = {"head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8}
# Config and model class of every family, and what it has beside the common parts.
FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": 8}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8}),
    "gemma2": (
        Gemma2Config,
        Gemma2ForCausalLM,
        GEMMA | {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 5.0},
    ),
    "gemma3_text": (
        Gemma3TextConfig,
        Gemma3ForCausalLM,
        GEMMA | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    ),
    "phi3": (Phi3Config, Phi3ForCausalLM, {"sliding_window": 8}),
    "olmo": (OlmoConfig, OlmoForCausalLM, {"clip_qkv": 2.0}),
    "olmo2": (Olmo2Config, Olmo2ForCausalLM, {}),
    "olmo3": (Olmo3Config, Olmo3ForCausalLM, {"sliding_window": 8}),
    "smollm3": (SmolLM3Config, SmolLM3ForCausalLM, {"no_rope_layer_interval": 2}),
    "ministral": (MinistralConfig, MinistralForCausalLM, {"sliding_window": 8, "head_dim": 8}),
    "ministral3": (Ministral3Config, Ministral3ForCausalLM, {"head_dim": 8}),
    "stablelm": (StableLmConfig, StableLmForCausalLM, {"use_parallel_residual": True}),
    "starcoder2": (Starcoder2Config, Starcoder2ForCausalLM, {"sliding_window": 8}),
    "glm4": (Glm4Config, Glm4ForCausalLM, {"head_dim": 8}),
    "exaone4": (Exaone4Config, Exaone4ForCausalLM, {"sliding_window": 8}),
    "ernie4_5": (Ernie4_5Config, Ernie4_5ForCausalLM, {"head_dim": 8}),
    "seed_oss": (SeedOssConfig, SeedOssForCausalLM, {"head_dim": 8}),
    "hunyuan_v1_dense": (HunYuanDenseV1Config, HunYuanDenseV1ForCausalLM, {"head_dim": 8}),
    "apertus": (ApertusConfig, ApertusForCausalLM, {}),
    "mixtral": (
        MixtralConfig,
        MixtralForCausalLM,
        {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8},
    ),
    "qwen2_moe": (
        Qwen2MoeConfig,
        Qwen2MoeForCausalLM,
        EXPERTS | {"shared_expert_intermediate_size": 8},
    ),
    "qwen3_moe": (Qwen3MoeConfig, Qwen3MoeForCausalLM, EXPERTS | {"head_dim": 8}),
    "olmoe": (OlmoeConfig, OlmoeForCausalLM, {"num_experts": 4, "num_experts_per_tok": 2}),
    "gpt_neox": (GPTNeoXConfig, GPTNeoXForCausalLM, {}),
    "gpt2": (GPT2Config, GPT2LMHeadModel, None),
}


def tiny_model(family: str = "llama", *, blocks: int = 3, seed: int = 0, **changes):
    config_class, model_class, own = FAMILIES[family]
    torch.manual_seed(seed)
    if own is None:
        gpt2 = {"n_embd": 16, "n_layer": blocks, "n_head": 4, "n_positions": 128}
        settings = SHARED | gpt2 | {"initializer_range": 0.3}
    else:
        settings = SHARED | ROTARY | {"num_hidden_layers": blocks} | own
        if "layer_types" in settings:
            kinds = settings["layer_types"]
            settings["layer_types"] = [kinds[i % len(kinds)] for i in range(blocks)]
    model = model_class(config_class(**settings | changes))
    assert sum(p.numel() for p in model.parameters()) < 50_000, "tiny is tiny"
    return model.eval()


def two_ropes(family: str = "llama", switch: int = 16, **changes):
    """A tiny model that turns all positions otherwise where a row is longer than `switch`."""
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.0],
            "long_factor": [9.0, 2.0], "original_max_position_embeddings": switch}  # fmt: skip
    top = {"original_max_position_embeddings": switch} if family == "phi3" else {}
    return tiny_model(family, rope_parameters=rope, **top, **changes)


def save_tiny(folder: Path, family: str = "llama", **tokenizer_options) -> Path:
    tiny_model(family).save_pretrained(folder)
    byte_tokenizer(**tokenizer_options).save_pretrained(folder)
    return folder
