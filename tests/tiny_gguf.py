"""The tiny qwen2 model as a GGUF file, written by llama.cpp's own package, in full precision."""

from pathlib import Path

import gguf

from tests.tiny import END, byte_tokenizer

# llama.cpp's names of a qwen2 model's tensors.
OUTER = {"token_embd": "embed_tokens", "output_norm": "norm"}
OF_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

MERGED = "ĠĠ"  # transformers does not read a file without merges


def write_gguf(model, path, *, architecture="qwen2", template=None, end=END):
    """Write the model and the byte tokenizer; returns the path. None states no `end`."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, config.vocab_size, template, end)
    names = {f"{ours}.weight": f"{theirs}.weight" for ours, theirs in OUTER.items()}
    for block in range(config.num_hidden_layers):
        for ours, theirs in OF_BLOCK.items():
            for part in ("weight", "bias"):
                names[f"blk.{block}.{ours}.{part}"] = f"layers.{block}.{theirs}.{part}"
    stored = model.model.state_dict()
    for ours, theirs in names.items():
        if theirs in stored:
            writer.add_tensor(ours, stored[theirs].numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Path(path)


def _add_tokenizer(writer, size, template, end):
    entries = sorted(byte_tokenizer().get_vocab().items(), key=lambda entry: entry[1])
    tokens = [token for token, _ in entries]
    kinds = [gguf.TokenType.CONTROL if t == END else gguf.TokenType.NORMAL for t in tokens]
    tokens, kinds = [*tokens, MERGED], [*kinds, gguf.TokenType.NORMAL]
    unused = size - len(tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*tokens, *(f"[PAD{i}]" for i in range(unused))])
    writer.add_token_types([*kinds, *[gguf.TokenType.UNUSED] * unused])
    writer.add_token_merges(["Ġ Ġ", "Ġ Ġ"])  # transformers 5.17 reads a list of one as a text
    if end is not None:
        writer.add_eos_token_id(tokens.index(end))
    if template:
        writer.add_chat_template(template)
