"""Random models of a few thousand parameters and a byte tokenizer, laid out as the hub does."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

END = "<|end|>"
VOCABULARY = 260  # 256 bytes, the end token, and rows no token uses
CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}" + END + "{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def byte_tokenizer(*, eos=True, pad=False, chat=False, bos=False, unnamed=()):
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
    special = {"eos_token": END} if eos else {}
    if pad:
        special["pad_token"] = END
    if bos:
        special["bos_token"] = END
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    return fast


def tiny_model(family: str = "llama", *, blocks: int = 3, seed: int = 0):
    shared = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
    rotary = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": blocks,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,  # large, so that predictions differ between positions
    }
    torch.manual_seed(seed)
    if family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**shared, **rotary))
    elif family == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**shared, **rotary, tie_word_embeddings=True))
    elif family == "gpt2":
        config = GPT2Config(
            **shared, n_embd=16, n_layer=blocks, n_head=4, n_positions=128, initializer_range=0.3
        )
        model = GPT2LMHeadModel(config)
    else:
        raise ValueError(family)
    assert sum(p.numel() for p in model.parameters()) < 50_000, "tiny is tiny"
    return model.eval()


def save_tiny(folder: Path, family: str = "llama", **tokenizer_options) -> Path:
    tiny_model(family).save_pretrained(folder)
    byte_tokenizer(**tokenizer_options).save_pretrained(folder)
    return folder
