"""Static injection is cross-fitted, and each variant is decoded with its own shift."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hyperfitting.compare.scores import empty_scores
from hyperfitting.data.windows import Contexts
from hyperfitting.explain import injecting as injecting_module
from hyperfitting.explain import static_bias as static_bias_module
from hyperfitting.explain.injecting import Shifts, Variant, choices_of, shift_of, texts_of
from hyperfitting.explain.static_bias import ShiftObserver, halves
from hyperfitting.explain.subject import Subject, write_texts
from hyperfitting.generate.choose import Sample, Shifted, greedy
from hyperfitting.generate.decode import decode
from hyperfitting.measure.intervals import holm
from hyperfitting.models.load import load_model
from hyperfitting.models.pair import PairedLogits, make_pair
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from tests.comparing import (
    CONTEXT,
    CONTINUATION,
    EXPLAIN,
    NO_SWAP,
    changed,
    comparison,
    explained,
)
from tests.conftest import random_rows
from tests.tiny import byte_tokenizer, tiny_model

COUNT, KNOWN = 9, 257
OF_HALF = (33, 88)  # the token that each half of the contexts promotes


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [2, 7, 30])
def test_halves_are_halves_and_follow_from_the_seed(count, seed):
    half_N = halves(count, seed)
    assert sorted(np.bincount(half_N)) == [count // 2, count - count // 2]
    np.testing.assert_array_equal(half_N, halves(count, seed))
    if count == 30:
        assert not np.array_equal(half_N, halves(count, seed + 10))


@pytest.fixture(scope="module")
def subject():
    model = tiny_model()
    tokens = Tokens.of(model, byte_tokenizer())
    rows = random_rows(COUNT, CONTEXT + CONTINUATION)
    contexts = Contexts([r[:CONTEXT] for r in rows], [r[CONTEXT:] for r in rows], [""] * COUNT)
    texts = write_texts(model, contexts.contexts, tokens, EXPLAIN, CONTINUATION)
    return Subject(
        Arm("tuned"), make_pair(model, tiny_model()), contexts, tokens, EXPLAIN, Progress(),
        texts, texts, empty_scores(COUNT, CONTINUATION),
    )  # fmt: skip


@pytest.mark.parametrize("side", [0, 1])
def test_a_forbidden_token_leaves_no_static_share_and_says_why(subject, side):
    observer = ShiftObserver(KNOWN, halves(COUNT, 0))
    for row in range(COUNT):
        both = [torch.randn(4, 260), torch.randn(4, 260)]
        both[side][:, 258] = -torch.inf  # padding: no word
        observer(PairedLogits(row, *both, torch.zeros(4)), None)
    assert not observer.is_undefined
    both[side][:, 5] = -torch.inf
    observer(PairedLogits(0, *both, torch.zeros(4)), None)
    found = static_bias_module.static_bias(replace(subject, observers=(observer,)))
    assert found.static_share is None
    assert found.static_share_reason == found.reason == static_bias_module.FORBIDDEN
    assert found.rows == []
    assert "minus infinity" in found.in_words


@pytest.fixture(scope="module")
def seen():
    """Each half sees one token rise by far, and not the token of the other half."""
    half_N = halves(COUNT, 0)
    observer = ShiftObserver(KNOWN, half_N)
    rng = torch.Generator().manual_seed(0)
    for row, half in enumerate(half_N):
        one = torch.randn(4, 260, generator=rng)
        two = one.clone()
        two[:, OF_HALF[half]] += 200.0
        observer(PairedLogits(row, one, two, torch.zeros(4)), None)
    return observer


def shifts_of(subject, seen, variants):
    return Shifts.of(subject, seen.sums, seen.half_N, variants)


def written(subject, seen, variants):
    return texts_of(subject, shifts_of(subject, seen, variants), variants)


@pytest.mark.parametrize("kind", ["promoted", "all"])
def test_no_context_is_decoded_with_a_shift_that_saw_its_text(subject, seen, kind):
    [texts] = written(subject, seen, [Variant(kind, 1.0)])
    assert {0, 1} == set(seen.half_N.tolist())
    for half, text in zip(seen.half_N, texts, strict=True):
        assert text == [OF_HALF[1 - half]] * CONTINUATION


def test_in_sample_the_shift_is_that_of_all_contexts_for_every_context(subject, seen):
    variants = [Variant("in_sample", 1.0), Variant("promoted", 1.0)]
    shifts = shifts_of(subject, seen, variants)
    rows = {shifts.place(variants[0], n) for n in range(COUNT)}
    whole = shift_of(subject, (seen.sums[0] + seen.sums[1]).result(), "in_sample", 0)
    assert all(torch.allclose(shifts.shift_SV[r, : len(whole)], whole.float()) for r in rows)
    [token] = torch.nonzero(whole).flatten().tolist()  # one token is promoted at most
    assert token in OF_HALF
    assert 80 < whole[token] < 120, "a half saw it rise by 200, the other half did not"
    assert {shifts.place(variants[1], n) for n in range(COUNT)}.isdisjoint(rows)


def test_every_variant_has_its_own_strength_and_draw(subject, seen):
    variants = [
        Variant("promoted", 0.0), Variant("promoted", 1.0), Variant("random", 1.0, 0),
        Variant("random", 1.0, 1), Variant("promoted", 0.0),
    ]  # fmt: skip
    texts = written(subject, seen, variants)
    assert texts[0] == texts[4] == subject.original_texts
    for draw, found in ((0, texts[2]), (1, texts[3])):
        sets = {tuple(set(text)) for text in found}
        assert all(len(tokens) == 1 for tokens in sets)
        drawn = {tokens[0] for tokens in sets}
        assert not drawn & {*OF_HALF, *subject.tokens.unwritable}, "ordinary tokens only"
        results = [sums.result() for sums in seen.sums]
        expected = {int(shift_of(subject, r, "random", draw).argmax()) for r in results}
        assert drawn == expected
    assert texts[2] != texts[3]


def test_only_texts_that_a_shift_changes_are_written_and_all_are_those_of_shifted_logits(
    subject, seen, monkeypatch
):
    widths = []
    monkeypatch.setattr(
        injecting_module,
        "write_texts",
        lambda *given, **options: widths.append(len(given[1])) or write_texts(*given, **options),
    )
    variants = [Variant("promoted", 0.0), Variant("random", 0.001), Variant("random", 0.003, 1)]
    shifts = shifts_of(subject, seen, variants)
    found = texts_of(subject, shifts, variants)
    changed_count = sum(
        text != own
        for texts in found
        for text, own in zip(texts, subject.original_texts, strict=True)
    )
    assert widths == [changed_count]
    assert 0 < changed_count < 2 * COUNT
    model, banned = subject.pair.original, subject.tokens.banned("fixed_length")
    for texts, variant in zip(found, variants, strict=True):
        for n, (context, text) in enumerate(zip(subject.contexts.contexts, texts, strict=True)):
            ids = list(context)
            for _ in range(CONTINUATION):
                logits_V = model(torch.tensor([ids])).logits[0, -1].detach()
                logits_V += variant.strength * shifts.shift_SV[shifts.place(variant, n)]
                logits_V[list(banned)] = -torch.inf
                ids.append(int(logits_V.argmax()))
            assert ids[len(context) :] == text


def test_choices_under_a_shift_are_those_of_shifted_logits_one_by_one(subject, seen):
    variants = [Variant("promoted", 0.0), Variant("all", 0.01), Variant("random", 0.02, 1)]
    shifts = shifts_of(subject, seen, variants)
    found = choices_of(subject, shifts, variants)
    results = [sums.result() for sums in seen.sums]
    model = subject.pair.original
    for top1_NK, variant in zip(found, variants, strict=True):
        for n, row in enumerate(subject.human_rows):
            logits_TV = model(torch.tensor([row])).logits[0, -CONTINUATION - 1 : -1].detach()
            half = results[1 - seen.half_N[n]]
            shift_V = shift_of(subject, half, variant.kind, variant.draw).float()
            logits_TV[:, : len(shift_V)] += variant.strength * shift_V
            assert top1_NK[n].tolist() == logits_TV.argmax(dim=-1).tolist()
    assert len({top1_NK.tobytes() for top1_NK in found}) == 3, "every shift changes a choice"


def test_random_draws_of_a_strength_are_averaged_into_one_row(model_folder):
    _, found = explained(comparison(model_folder, lambda: changed(1)), NO_SWAP)
    rows = {(r["kind"], r["strength"]): r for r in found["static_bias"]["rows"]}
    assert {key: row["draws"] for key, row in rows.items()} == {
        ("promoted", 0.0): 1,
        ("promoted", 0.5): 1,
        ("promoted", 1.0): 1,
        ("in_sample", 0.5): 1,
        ("in_sample", 1.0): 1,
        ("all", 0.5): 1,
        ("all", 1.0): 1,
        ("random", 0.5): 2,
        ("random", 1.0): 2,
    }
    assert {row["ttr"]["n"] for row in rows.values()} == {6}
    zero = rows["promoted", 0.0]
    assert zero["ttr_minus_original"]["mean"] == 0
    assert zero["p_holm"] is None, "strength 0 changes nothing, so it is no test"
    assert found["static_bias"]["promoted_tokens"] == 1


def test_strength_0_is_in_no_family_of_tests_and_in_sample_in_one_of_its_own(
    model_folder, monkeypatch
):
    """The p of strength 0 is 1 by construction, and would raise every other p by Holm's factor."""
    given = []

    def seen(p_values):
        given.append(list(p_values))
        return holm(p_values)

    monkeypatch.setattr(static_bias_module, "holm", seen)
    _, found = explained(comparison(model_folder, lambda: changed(1)), NO_SWAP)
    rows = found["static_bias"]["rows"]
    crossed, in_sample = given
    for p_values, count, is_in_sample in ((crossed, 6, False), (in_sample, 2, True)):
        tested = [
            row["p_holm"]
            for row in rows
            if row["strength"] and (row["kind"] == "in_sample") == is_in_sample
        ]
        assert (len(p_values), tested) == (count, holm(p_values))
    assert [row["p_holm"] for row in rows if not row["strength"]] == [None]


def test_more_promoted_tokens_than_there_are_others_are_cut_and_said(model_folder):
    config = NO_SWAP.model_copy(update={"promoted_tokens": 500, "strengths": (1.0,)})
    _, found = explained(comparison(model_folder, lambda: changed(1)), config)
    assert found["static_bias"]["promoted_tokens"] == 256 // 2


# Choosing tokens


def test_shifted_greedy_by_hand():
    shift_SV = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 5.0]])
    logits = torch.tensor([[1.0, 0.0, 0.5]]).repeat(4, 1)
    choose = Shifted(shift_SV, [0.0, 0.4, 0.6, 1.0], [0, 0, 0, 1])
    token_B, tied_B = choose(logits, range(4), 0)
    assert token_B.tolist() == [0, 0, 1, 2]
    assert not tied_B.any()
    banned = logits.clone()
    banned[:, 2] = -torch.inf
    assert choose(banned, range(4), 0)[0].tolist() == [0, 0, 1, 0], "a shift lifts no ban"
    last = choose(logits[:2], range(2, 4), 0)[0]
    assert last.tolist() == [1, 2], "rows keep their own shift in any batch"


def test_a_shift_is_the_same_in_any_batch(subject, seen):
    results = [sums.result() for sums in seen.sums]
    shift_SV = torch.stack([r.shift_V for r in results]).float()
    shift_SV = torch.nn.functional.pad(shift_SV, (0, 3))
    choose = Shifted(shift_SV, [0.02] * COUNT, seen.half_N.tolist())
    model, contexts = subject.pair.original, subject.contexts.contexts
    whole, single = (
        [d.ids for d in decode(model, contexts, choose, max_new_tokens=6, batch_size=size)]
        for size in (COUNT, 1)
    )
    assert whole == single


class Highest:
    """A generator whose draws are the largest number below 1."""

    def random(self, size):
        return np.full(size, np.nextafter(1.0, 0.0))


def test_the_largest_draw_never_lands_on_a_banned_last_token(monkeypatch):
    """In float32 that draw is 1, which lies beyond every token."""
    monkeypatch.setattr(np.random, "default_rng", lambda _: Highest())
    logits = torch.tensor([[1.0, 0.0, -torch.inf], [0.0, -torch.inf, -torch.inf]])
    token_B, _ = Sample([1.0, 0.3], [[0], [1]])(logits, range(2), 0)
    assert token_B.tolist() == [1, 0]


def test_sampling_at_a_small_temperature_is_greedy(model_folder):
    from hyperfitting.config import ModelConfig

    model = load_model(ModelConfig(name=str(model_folder), device="cpu"))
    contexts = random_rows(5, 6)
    options = {"max_new_tokens": 6, "banned": [0, 257, 258, 259]}
    cold = decode(model, contexts, Sample([1e-4] * 5, [[0, n] for n in range(5)]), **options)
    assert [d.ids for d in cold] == [d.ids for d in decode(model, contexts, greedy, **options)]
