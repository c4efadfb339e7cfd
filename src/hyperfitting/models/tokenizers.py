"""Whether two tokenizers of one vocabulary read texts as the same tokens."""

import json
from collections.abc import Iterable
from typing import Any

from hyperfitting.data.borders import borders_of
from hyperfitting.models.types import Tokenizer
from hyperfitting.seals import content_digest

# Read where there are no texts: what pre-tokenizers, normalisers and added tokens differ in.
PROBE = (
    "It was late, and the 1,250 people couldn't wait.\n\n  Nobody said: NO!\tSo they left...",
    "Stra\u00dfe na\u00efve nai\u0308ve \ufb01ne \u4f60\u597d \u3053\u3093 \U0001f600 x\u00b2",
)
# Parts of a tokenizer's file that change no token of a text that is read here.
_APART = ("version", "truncation", "padding", "decoder")
LONGEST_SHOWN = 60  # characters of a text in a message


def difference_between(ours: Any, theirs: Any, texts: Iterable[str]) -> str | None:
    """How the first of `texts` that is read as other tokens differs, in words; None if none is.

    What stands before every text counts, what a tokenizer appends does not.
    """
    one, other = borders_of(ours), borders_of(theirs)
    if one.lead != other.lead:
        named = [ours.convert_ids_to_tokens(each.lead) for each in (one, other)]
        return f"they open every text with {named[0]} and {named[1]}"
    for text in texts:
        a, b = one.encode(text), other.encode(text)
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
            place = min(len(a), len(b)) if at is None else at
            start = str(ours.decode(a[max(0, place - 3) :]))[:LONGEST_SHOWN]
            return f"a text is {len(a):,} and {len(b):,} tokens, which differ near {start!r}"
    return None


def is_set_up_alike(ours: Any, theirs: Any) -> bool:
    """Whether the stored pipelines are equal: normaliser, pre-tokenizer, merges, added tokens.

    Then they read every text alike. False where a tokenizer does not tell.
    """
    backends = [getattr(each, "backend_tokenizer", None) for each in (ours, theirs)]
    stored = [json.loads(backend.to_str()) for backend in backends if backend is not None]
    if len(stored) < len(backends):
        return False
    one, other = stored
    return all(one.get(part) == other.get(part) for part in {*one, *other}.difference(_APART))


def tokenizer_digest(tokenizer: Tokenizer) -> str:
    """Identifies what a tokenizer makes of texts: entries, ends, template, tokens of a probe.

    Not its files: libraries write one tokenizer in several ways.
    """
    said = {
        "vocabulary": sorted(tokenizer.get_vocab().items()),
        "specials": [tokenizer.bos_token_id, tokenizer.eos_token_id],
        "chat_template": tokenizer.chat_template,
        "probe": [tokenizer(text)["input_ids"] for text in PROBE],
        "text": [tokenizer.decode(tokenizer(text)["input_ids"]) for text in PROBE],
    }
    return content_digest(said)
