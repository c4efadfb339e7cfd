"""A SentencePiece file for a tokenizer that has lost its own.

transformers keeps such a tokenizer as merges in `tokenizer.json`; llama.cpp's converter and Ollama
take a tokenizer for one of bytes, with other tokens, where the file is not there (Gemma).
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from hyperfitting.errors import InputError
from hyperfitting.models.types import Tokenizer

SENTENCEPIECE = "tokenizer.model"  # which converters read, and fast tokenizers do not write
BYTES = {f"<0x{byte:02X}>" for byte in range(256)}
# Kinds of a piece, as sentencepiece_model.proto numbers them.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
BPE = 2  # of the kinds of a model there


def add_sentencepiece(tokenizer: Tokenizer, folder: Path) -> list[str]:
    """Write the file beside a saved tokenizer, if it is of that kind and the file is not there.

    Returns:
        Lines for the reader.

    Raises:
        InputError: the packages that write it are not installed.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or (folder / SENTENCEPIECE).exists():
        return []
    stored, unknown = json.loads(backend.to_str()), tokenizer.unk_token
    if not is_sentencepiece(stored):
        return []
    if unknown is None:
        return [
            f"the base model has no {SENTENCEPIECE}, which converters read, and none can be made: "
            "its tokenizer names no unknown token"
        ]
    (folder / SENTENCEPIECE).write_bytes(sentencepiece_of(stored, str(unknown)))
    return [f"the base model has no {SENTENCEPIECE}: it was made of its merges, for converters"]


def is_sentencepiece(stored: dict[str, Any]) -> bool:
    """Whether a stored tokenizer merges characters and falls back to bytes, as SentencePiece."""
    return stored["model"]["type"] == "BPE" and bool(stored["model"].get("byte_fallback"))


def sentencepiece_of(stored: dict[str, Any], unknown: str) -> bytes:
    """The SentencePiece file that reads texts as a stored tokenizer (`is_sentencepiece`) does.

    A piece's score is the rank at which it is first merged, negative: the best merge has the
    highest. Added tokens are control tokens, or the user's, which are never split. `unknown`: the
    token of what cannot be read.

    Raises:
        InputError: the packages that write it are not installed.
    """
    try:
        written_by: Any = import_module("sentencepiece.sentencepiece_model_pb2")
    except ImportError as error:
        raise InputError(
            f"the base model lacks {SENTENCEPIECE}, which converters read, and {error.name}, which "
            "writes it, is not installed",
            needed="the extra: pip install 'hyperfitting[gguf]'",
        ) from error
    model = stored["model"]
    added = {each["id"]: each for each in stored["added_tokens"]}
    pieces = {number: text for text, number in model["vocab"].items()}
    pieces |= {number: each["content"] for number, each in added.items()}
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(model["merges"]):
        left, right = merge if isinstance(merge, list) else merge.split(" ")
        ranks.setdefault(left + right, rank)
    file = written_by.ModelProto()
    for number, text in sorted(pieces.items()):
        score = -ranks.get(text, len(model["merges"]) + number)
        kind = _kind_of(text, added.get(number), unknown)
        file.pieces.add(piece=text, score=score, type=kind)
    file.trainer_spec.model_type = BPE
    file.trainer_spec.vocab_size = len(pieces)
    file.trainer_spec.byte_fallback = True
    file.trainer_spec.unk_id = model["vocab"][unknown]
    file.normalizer_spec.name = "identity"
    file.normalizer_spec.add_dummy_prefix = _opens_with_space(stored)
    file.normalizer_spec.remove_extra_whitespaces = False
    file.normalizer_spec.escape_whitespaces = True
    return bytes(file.SerializeToString())


def _kind_of(text: str, added: dict[str, Any] | None, unknown: str) -> int:
    if text == unknown:
        return UNKNOWN
    if text in BYTES:
        return BYTE
    if added is None:
        return NORMAL
    return CONTROL if added["special"] else USER_DEFINED


def _opens_with_space(stored: dict[str, Any]) -> bool:
    """Whether texts are read as if a space stood before them."""
    said = json.dumps([stored.get("normalizer"), stored.get("pre_tokenizer")])
    metaspace = '"type": "Metaspace"' in said and '"prepend_scheme": "never"' not in said
    return metaspace or '"type": "Prepend"' in said
