"""What the page shows of single tokens, against whole logits and against planted texts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hyperfitting.config import ModelConfig
from hyperfitting.evaluate.audits import TrainingIndexes
from hyperfitting.evaluate.said import KEPT, TRACED, Said
from hyperfitting.evaluate.traces import text_trace, words_by_id
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.measure.overlap import LONG_RUN, TrainingIndex, long_runs
from hyperfitting.measure.text import loop_period, loop_start
from hyperfitting.measure.words import KnownWords, broken_spans, judged_words, nonword_share
from hyperfitting.models.load import load_model, load_tokenizer
from hyperfitting.models.tokens import Tokens
from hyperfitting.records import HUMAN, ORIGINAL, Arm, Generation
from hyperfitting.records.record import read_file
from hyperfitting.records.traces import TracesFile
from hyperfitting.runs import StudyFolder
from tests.comparing import CONTINUATION, EVALUATE, changed, comparison, dataset
from tests.conftest import random_rows
from tests.tiny import tiny_model

UNWRITABLE = [0, 257, 258, 259]  # the end token, and rows that no token uses


@pytest.fixture(scope="module")
def tokens():
    builtin = ModelConfig(name="builtin", device="cpu")
    return Tokens.of(load_model(builtin), load_tokenizer(builtin))


def with_short_contexts(data):
    """Every second and third context without its first tokens: lengths come out of order."""
    contexts = [row[n % 3 :] for n, row in enumerate(data.contexts.contexts)]
    return replace(data, contexts=replace(data.contexts, contexts=contexts))


@pytest.fixture(scope="module", params=[lambda data: data, with_short_contexts])
def traced(model_folder, tmp_path_factory, request):
    """A study of a changed tiny model, two seeds, on more contexts than are traced."""
    data = request.param(dataset(TRACED + 3))
    compared = comparison(model_folder, changed, lambda: changed(2), data=data)
    out = tmp_path_factory.mktemp("traced") / "study"
    study = evaluate(compared, EVALUATE, out)
    return StudyFolder(study.path)


def file_of(study):
    return read_file(TracesFile, study.traces_file, "")


def test_every_number_is_that_of_the_whole_logits(traced):
    models = {"original": tiny_model(), "tuned": changed()}
    by_arm = {each.arm: each.texts for each in file_of(traced).arms}
    assert list(by_arm) == [HUMAN, ORIGINAL, Arm("tuned", 0)]
    greedy = {
        entry.arm: traced.read_generations(entry.file)
        for entry in traced.sealed().generations
        if entry.mode == "fixed_length"
    }
    for arm, texts in by_arm.items():
        assert [text.context for text in texts] == list(range(TRACED))
        for trace, text in zip(texts, greedy[arm], strict=False):
            row = torch.tensor([text.context_ids + text.continuation_ids])
            for name in models if arm != ORIGINAL else ("original",):
                with torch.no_grad():
                    logits = models[name](row).logits[0, -CONTINUATION - 1 : -1].double()
                probability = logits.softmax(-1)
                target = row[0, -CONTINUATION:]
                own = probability.gather(-1, target[:, None])[:, 0]
                assert getattr(trace, name) == pytest.approx(own.tolist(), abs=2e-5)
                if arm != HUMAN:  # what decoding never chooses has no place among the likeliest
                    probability[:, UNWRITABLE] = logits[:, UNWRITABLE] = -torch.inf
                top = probability.topk(KEPT)
                assert getattr(trace, f"{name}_top") == top.indices.tolist()
                found = np.array(getattr(trace, f"{name}_top_p"))
                assert found == pytest.approx(top.values.numpy(), abs=2e-5)
                if name == "original":
                    values = logits.gather(-1, target[:, None])
                    assert trace.rank == ((logits > values).sum(-1) + 1).tolist()
            if arm == ORIGINAL:
                assert set(trace.rank) == {1}
                assert trace.tuned is None


def test_pieces_are_the_text_and_named_words_can_be_looked_up(traced):
    found = file_of(traced)
    for each in found.arms:
        for text in each.texts:
            for top in (text.original_top, text.tuned_top or []):
                assert all(str(i) in found.words for place in top for i in place)


def test_pieces_join_to_the_text_and_a_character_of_several_tokens_is_the_last_ones(tokens):
    context, continuation = "Once there was ", "a naïve 🙂 fox, who said: “no”. "
    head = tokens.tokenizer.encode(context)
    ids = tokens.tokenizer.encode(context + continuation)[len(head) :]
    text = generation(tokens, head, ids)
    pieces = tokens.pieces(head, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text.continuation
    assert not any("\ufffd" in piece for piece in pieces)
    smiley = next(n for n, piece in enumerate(pieces) if "🙂" in piece)
    assert pieces[smiley - 1] == ""


def generation(tokens, head, ids, index=0):
    context, continuation = tokens.texts(head, ids)
    return Generation(
        arm="tuned", seed=0, context_index=index, mode="fixed_length", context_ids=head,
        continuation_ids=ids, context=context, continuation=continuation, ending="truncated",
    )  # fmt: skip


def said_of(count):
    ones, tops = np.ones(count), np.ones((count, KEPT))
    ids = np.full((count, KEPT), 7)
    return Said(np.ones(count, np.int64), ones, ones, ids, tops, ids, tops)


def test_planted_loops_copies_and_broken_words_are_marked_where_they_stand(tokens):
    encode = tokens.tokenizer.encode
    head, copied = (
        encode("He said"),
        encode(" that the old house by the river was never empty at night"),
    )
    broken, loop = encode(" and glorbed the zzmf"), encode(" and on and on") * 8
    ids = [*copied, *broken, *loop]
    known = KnownWords.of({"and", "the", "on", "that", "old", "house", "by", "river", "was",
                           "never", "empty", "at", "night"}, [("He said", " nothing")])  # fmt: skip
    text = generation(tokens, head, ids)
    index = TrainingIndex([[5, 6, *copied, 8]])
    trace = text_trace(text, said_of(len(ids)), tokens, Arm("tuned", 0), index, known)
    assert len(copied) > LONG_RUN
    assert trace.recited[: len(copied)] == list(range(len(copied)))
    assert set(trace.recited) <= set(range(len(copied)))
    marked = [trace.pieces[n] if n in trace.broken else " " for n in range(len(ids))]
    assert "".join(marked).split() == ["glorbed", "zzmf"]
    assert trace.loop is not None
    period = loop_period(ids)
    assert all(ids[n] == ids[n + period] for n in range(trace.loop, len(ids) - period))
    assert ids[trace.loop - 1] != ids[trace.loop - 1 + period]
    of_human = text_trace(text, said_of(len(ids)), tokens, HUMAN, None, None)
    assert (of_human.loop, of_human.recited, of_human.broken) == (None, [], [])


@pytest.mark.parametrize("seed", range(20))
def test_a_loop_begins_where_its_period_does(seed):
    rng = np.random.default_rng(seed)
    period = int(rng.integers(1, 9))
    head, unit = rng.integers(100, 200, 12).tolist(), rng.integers(0, 50, period).tolist()
    ids = [*head, *(unit * 40)[: 30 + seed]]
    assert loop_start(ids) == 12
    assert loop_start(head) is None


def test_long_runs_are_what_brute_force_finds():
    rows, texts = random_rows(3, 60, 1), random_rows(4, 40, 2)
    texts[0][5:25] = rows[1][10:30]
    texts[1][0 : LONG_RUN + 1] = rows[0][0 : LONG_RUN + 1]
    texts[2][3 : 3 + LONG_RUN] = rows[2][7 : 7 + LONG_RUN]
    places = [long_runs(each) for each in TrainingIndex(rows).match_lengths(texts)]

    def covered(text):
        found = set()
        for start in range(len(text)):
            for stop in range(start + LONG_RUN + 1, len(text) + 1):
                piece = text[start:stop]
                if any(row[i : i + len(piece)] == piece for row in rows for i in range(len(row))):
                    found |= set(range(start, stop))
        return sorted(found)

    assert places == [covered(text) for text in texts]
    assert places[0] == list(range(5, 25))
    assert places[2] == []


def test_spans_are_of_the_words_that_the_rate_counts():
    context, continuation = "The dogg", "y cat’s gloop ran to Paris, glop-fish an"
    known = KnownWords.of({"cat", "ran", "to", "fish"}, [(context, "s bark")])
    spans = broken_spans(context, continuation, known, 0)
    assert [continuation[a:b] for a, b in spans] == ["gloop", "glop"]
    judged = judged_words(context, continuation)
    assert nonword_share(judged, known, 0) == len(spans) / len(judged)


def test_named_words_read_as_inside_of_a_text(tokens):
    ids = tokens.tokenizer.encode(" river", add_special_tokens=False)
    text = generation(tokens, [5], [9])
    said = said_of(1)._replace(original_top_KH=np.array([[ids[0], 3, 4, 5, 6]]))
    trace = text_trace(text, said, tokens, Arm("tuned"), None, None)
    assert words_by_id(tokens, [trace])[str(ids[0])] == tokens.tokenizer.decode(ids[:1])


def test_without_runs_nothing_is_recited():
    assert not TrainingIndexes([]).exist
