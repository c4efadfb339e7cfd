"""A SentencePiece file that is made again: it reads texts as the one that was lost."""

import io

import pytest
import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from hyperfitting.models.sentencepiece_file import SENTENCEPIECE, add_sentencepiece
from tests.tiny import byte_tokenizer

TEXTS = [
    "It was late, and  nobody <start> sang.\n\nThe end\u00ef \u4f60 \n\n\n there",
    "x",
    "   the other one",
    "late \U0001f600 nobody\t",
]
LEARNT = [f"The {a} one sang to the {b} one, late and {c}." for a in ("old", "other", "third")
          for b in ("first", "small", "late") for c in ("slowly", "badly", "alone")]  # fmt: skip


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    """A tokenizer read from a SentencePiece file, and that file's own reading."""
    folder, written = tmp_path_factory.mktemp("llama"), io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LEARNT), model_writer=written, vocab_size=330, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", minloglevel=2,
        remove_extra_whitespaces=False, user_defined_symbols=["<start>", "\n\n"],
        control_symbols=["<pad>"],
    )  # fmt: skip
    (folder / SENTENCEPIECE).write_bytes(written.getvalue())
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    return tokenizer, sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())


def made(tokenizer, folder):
    notes = add_sentencepiece(tokenizer, folder)
    assert notes == [
        "the base model has no tokenizer.model: it was made of its merges, for converters"
    ]
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / SENTENCEPIECE))


def test_it_reads_texts_as_the_file_that_was_lost(lost, tmp_path):
    tokenizer, original = lost
    again = made(tokenizer, tmp_path)
    assert again.vocab_size() == original.vocab_size()
    for text in [*TEXTS, *LEARNT]:
        assert again.encode(text) == original.encode(text), text
        if not text.startswith(" "):  # transformers puts no second space there
            assert again.encode(text) == tokenizer(text, add_special_tokens=False)["input_ids"]
    kinds = ("is_unknown", "is_control", "is_byte", "is_unused")
    for number in range(again.vocab_size()):
        assert again.id_to_piece(number) == original.id_to_piece(number)
        for kind in kinds:
            assert getattr(again, kind)(number) == getattr(original, kind)(number), number


def test_no_space_is_put_before_a_text_where_the_tokenizer_puts_none(lost, tmp_path):
    stored = lost[0].backend_tokenizer
    bare = Tokenizer.from_str(stored.to_str())
    bare.normalizer = normalizers.Replace(" ", "\u2581")
    bare.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unk>")
    again = made(tokenizer, tmp_path)
    for text in ("one sang", "x", " the other one"):
        assert again.encode(text) == tokenizer(text)["input_ids"], text


def test_nothing_is_written_where_it_is_not_needed(tmp_path):
    assert add_sentencepiece(byte_tokenizer(), tmp_path) == []  # one of bytes
    assert not list(tmp_path.iterdir())
    (tmp_path / SENTENCEPIECE).write_bytes(b"the base model's own")
    assert add_sentencepiece(byte_tokenizer(), tmp_path) == []
    assert (tmp_path / SENTENCEPIECE).read_bytes() == b"the base model's own"


def test_a_tokenizer_without_an_unknown_token_is_told(tmp_path):
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.ByteFallback()
    (told,) = add_sentencepiece(PreTrainedTokenizerFast(tokenizer_object=tokenizer), tmp_path)
    assert "names no unknown token" in told
    assert not list(tmp_path.iterdir())
