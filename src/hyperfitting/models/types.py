"""What models and tokenizers are called in signatures.

transformers, its models' own code and PEFT are untyped, and a checkpoint may bring a class of its
own. So to a type checker these are anything; to a reader they say which of the two is meant.
"""

from typing import Any, TypeAlias

# A causal language model that transformers loaded, whole or with a PEFT adapter on it: called on
# token ids [B, T] it gives logits [B, T, V]. `models/proof.py` shows that it is causal.
CausalLM: TypeAlias = Any

# Its tokenizer: a fast one of transformers, or one of a checkpoint's own code.
Tokenizer: TypeAlias = Any
