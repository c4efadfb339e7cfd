"""What a model's tokens are: those that end a text, those that are no part of one, their words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from hyperfitting.data.borders import end_tokens, special_token_ids
from hyperfitting.errors import InputError
from hyperfitting.models.interface import vocabulary_rows
from hyperfitting.models.types import CausalLM, Tokenizer
from hyperfitting.records import Mode
from hyperfitting.records.origins import TextEnd

WORD_MARKS = ("\u0120", "\u2581")  # how byte-level BPE and SentencePiece write a leading space


def token_texts(tokenizer: Tokenizer, count: int) -> tuple[list[str], list[bool]]:
    """The text of tokens 0..count-1, each decoded alone, and whether it opens with a space."""
    texts = [str(tokenizer.decode([i])) for i in range(count)]
    raw = tokenizer.convert_ids_to_tokens(list(range(count)))
    starts = [
        text[:1].isspace() or str(token).startswith(WORD_MARKS)
        for text, token in zip(texts, raw, strict=True)
    ]
    return texts, starts


def end_reasons(model: CausalLM, tokenizer: Tokenizer) -> dict[int, list[str]]:
    """Every token that ends a text, with the reasons why: see `borders.end_tokens`."""
    rows = vocabulary_rows(model)
    found = end_tokens(tokenizer, [i for i in declared_ends(model) if i >= 0])
    return {i: why for i, why in found.items() if i < rows}  # one it has no row for never comes


def declared_ends(model: CausalLM) -> list[int]:
    """The tokens that the generation config stops at, as it stands there.

    Raises:
        InputError: what stands there is no token's id.
    """
    declared = model.generation_config.eos_token_id
    each = declared if isinstance(declared, list) else [] if declared is None else [declared]
    if odd := [i for i in each if not isinstance(i, int) or isinstance(i, bool)]:
        raise InputError(
            f"eos_token_id of the generation config is {odd[0]!r}",
            needed="a token's id, or a list of them",
            hint="the text of a token stands in tokenizer_config.json",
        )
    return each


def end_token_ids(model: CausalLM, tokenizer: Tokenizer) -> list[int]:
    """Every token that ends a text: see `end_reasons`."""
    return sorted(end_reasons(model, tokenizer))


def unwritable_token_ids(model: CausalLM, tokenizer: Tokenizer) -> list[int]:
    """Special tokens and vocabulary rows beyond the tokenizer: no part of a text."""
    rows = vocabulary_rows(model)
    special = {i for i in special_token_ids(tokenizer) if i < rows}
    beyond = set(range(len(tokenizer), rows))
    if beyond:  # a tokenizer may leave numbers out and go on beyond its count
        beyond -= set(tokenizer.get_vocab().values())
    return sorted(special | beyond)


REPLACEMENT = "\ufffd"  # what stands for bytes that are no whole character


MOST_UNFINISHED = 3  # bytes, so tokens, that begin a character of UTF-8 and do not finish it


@dataclass(frozen=True)
class Tokens:
    """The tokens that end a text and those that are no part of one."""

    ends: list[int]
    unwritable: list[int]  # special tokens and vocabulary padding
    tokenizer: Tokenizer
    reasons: Mapping[int, Sequence[str]]  # why each of the ends is one

    @classmethod
    def of(cls, model: CausalLM, tokenizer: Tokenizer) -> "Tokens":
        """Read both sets from a model and its tokenizer."""
        reasons = end_reasons(model, tokenizer)
        return cls(list(reasons), unwritable_token_ids(model, tokenizer), tokenizer, reasons)

    def listed_ends(self) -> list[TextEnd]:
        """What ends a text and why, as manifest and study list it."""
        return [
            TextEnd(id=i, token=str(self.tokenizer.convert_ids_to_tokens(i)), why=[*why])
            for i, why in self.reasons.items()
        ]

    def ends_in_words(self) -> str:
        """One line: what ends a text and why."""
        each = (f"{end.token} ({', '.join(end.why)})" for end in self.listed_ends())
        return f"a text ends with {' or '.join(each)}"

    def for_model(self, model: CausalLM) -> "Tokens":
        """These tokens as another model has them, which may end texts otherwise or be padded."""
        return Tokens.of(model, self.tokenizer)

    def banned(self, mode: Mode) -> list[int]:
        """Tokens that are never chosen: in natural mode a text may end itself."""
        if mode == "natural":
            return [i for i in self.unwritable if i not in self.ends]
        return sorted({*self.unwritable, *self.ends})

    def rules(self) -> dict[str, list[int]]:
        """What decides which texts can be written, and is no part of a model's digest."""
        return {"ends": sorted(self.ends), "unwritable": sorted(self.unwritable)}

    def text_of_each(self) -> list[str]:
        """The text of every token of the tokenizer, decoded alone."""
        return token_texts(self.tokenizer, len(self.tokenizer))[0]

    def texts(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[str, str]:
        """Both parts as text; decoded together, because some tokenizers drop a leading space.

        A character that the context ends inside of is the continuation's, and one that the
        continuation does not finish is left out.
        """
        # An end that is no special token would otherwise be read as a word.
        written = [i for i in continuation if i not in self.ends]
        head = self._whole_characters(context)
        whole = self._whole_characters([*context, *written])
        if whole.startswith(head):
            return head, whole[len(head) :]
        return head, self._whole_characters(written)

    def pieces(self, context: Sequence[int], continuation: Sequence[int]) -> list[str]:
        """The text that each token of a continuation adds, [K]; joined they are the continuation.

        A character that several tokens make is the last one's, and what a later token takes back,
        as some tokenizers do with spaces, is nobody's.
        """
        _, text = self.texts(context, continuation)
        ends = [0]
        for count in range(1, len(continuation)):
            _, now = self.texts(context, continuation[:count])
            both = zip(now, text, strict=False)
            kept = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
            ends.append(max(ends[-1], kept))
        ends.append(len(text))
        return [text[start:end] for start, end in pairwise(ends)] if continuation else []

    def _whole_characters(self, ids: Sequence[int]) -> str:
        """The text without a character that its last tokens only begin."""
        text = whole = str(self.tokenizer.decode(list(ids), skip_special_tokens=True))
        for cut in range(1, min(MOST_UNFINISHED, len(ids)) + 1):
            if not text.endswith(REPLACEMENT):
                return text
            text = str(self.tokenizer.decode(list(ids[:-cut]), skip_special_tokens=True))
        # Bytes that are no character, however many follow, are what was written.
        return whole if text.endswith(REPLACEMENT) else text
