"""DRY against a loop over all suffixes, and where it must break a planted loop."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperfitting.generate.dry import LARGEST, Dry
from hyperfitting.generate.run import run_decoder
from hyperfitting.generate.specs import parse_decoder

VOCABULARY = 6
TEXTS = ["\n", "a", "b:c", "d", "e", "f"]  # 0 and 2 hold a breaker


def naive(ids, *, multiplier, base, allowed_length, breakers=()):
    """The penalty of every token, from the formula: the longest suffix before an earlier v."""
    penalties = [0.0] * VOCABULARY
    for token in range(VOCABULARY):
        longest = 0
        for place in range(1, len(ids)):
            length = 0
            while (
                ids[place] == token
                and length < place
                and ids[place - 1 - length] == ids[-1 - length]
                and ids[-1 - length] not in breakers
            ):
                length += 1
            longest = max(longest, length)
        if longest >= allowed_length and token not in breakers:
            penalties[token] = multiplier * base ** (longest - allowed_length)
    return penalties


def penalties(dry, rows, start):
    """What is taken off at each step, the rows growing one token a step; padded on the left."""
    width = max(map(len, rows))
    padded = [[VOCABULARY] * (width - len(row)) + row for row in rows]
    found = []
    for step, end in enumerate(range(start, width + 1)):
        seen = torch.tensor(padded)[:, :end]
        logits = torch.zeros(len(rows), VOCABULARY)
        dry.watch(logits, range(len(rows)), step)
        found.append(-dry(seen, logits))
    return found


SMALL = st.lists(st.integers(0, VOCABULARY - 1), min_size=8, max_size=30)


@settings(max_examples=40, deadline=None)
@given(row=SMALL, cut=st.integers(0, 5), allowed=st.integers(1, 3), breakers=st.integers(0, 1))
def test_every_step_is_the_loop_over_all_suffixes(row, cut, allowed, breakers):
    dry = Dry(0.8, 1.75, allowed, breakers, texts_V=TEXTS)
    rows = [row, row[cut:]]  # the second is padded
    start = len(row) // 2 + 3
    for step, found in enumerate(penalties(dry, rows, start)):
        for each, left in zip(found, (0, cut), strict=True):
            expected = naive(
                row[left : start + step], multiplier=0.8, base=1.75, allowed_length=allowed,
                breakers=(0, 2) if breakers else (),
            )  # fmt: skip
            assert each.tolist() == pytest.approx(expected, rel=1e-6)


def test_a_new_batch_starts_anew_even_where_it_is_one_token_longer():
    dry = Dry(0.8, 1.75, 1, 0)
    penalties(dry, [[1, 3, 1, 3, 1]], 5)
    [found] = penalties(dry, [[4, 5, 1, 3, 5, 4]], 6)
    assert found[0].tolist() == pytest.approx([0, 0, 0, 0, 0, 0.8])


def test_the_prompt_counts():
    dry = Dry(0.8, 1.75, 2, 0)
    [found] = penalties(dry, [[1, 3, 4, 5, 1, 3]], 6)  # at the first step already
    assert found[0].tolist() == pytest.approx([0, 0, 0, 0, 0.8, 0])


def test_a_breaker_inside_a_longer_token_ends_a_run_and_is_never_penalised():
    row = [[1, 3, 2, 4, 5, 1, 3, 2]]  # 2 is "b:c"
    with_breakers, without = (
        penalties(Dry(0.8, 1.75, 1, flag, texts_V=TEXTS), row, 8)[0][0] for flag in (1, 0)
    )
    assert with_breakers.tolist() == [0] * VOCABULARY
    assert without.tolist() == pytest.approx([0, 0, 0, 0, 0.8 * 1.75**2, 0])
    before = penalties(Dry(0.8, 1.75, 1, 1, texts_V=TEXTS), [row[0][:-1]], 7)[0][0]
    assert before.tolist() == [0] * VOCABULARY  # token 2 would lengthen "1 3"


def test_the_exponent_is_capped():
    for base in (1.0, 1.75, 100.0):
        [found] = penalties(Dry(1000, base, 1, 0), [[3] * 400], 400)
        assert torch.isfinite(found).all()
        cap = math.log(LARGEST / 1000) / math.log(base) if base > 1 else 398
        expected = 1000 * base ** min(398, cap)
        assert float(found[0, 3]) == pytest.approx(expected, rel=1e-3)
    assert float(found[0, 3]) == pytest.approx(LARGEST, rel=1e-3)


def test_banned_tokens_stay_banned():
    dry = Dry(0.8, 1.75, 1, 0)
    logits = torch.tensor([[0.0, -torch.inf, 0.0]])
    dry.watch(logits, range(1), 0)
    assert dry(torch.tensor([[1, 0, 1, 0]]), logits)[0, 1] == -torch.inf


class Looping(torch.nn.Module):
    """Logits 4 for the next token of the loop 1 2 3, 0 for the others."""

    def forward(self, ids):
        logits = torch.zeros(VOCABULARY)
        logits[ids[-1] % 3 + 1] = 4.0
        return logits


@pytest.mark.parametrize("multiplier", [0.8, 2.0, 5.0])
def test_a_planted_loop_breaks_at_the_step_that_the_formula_says(multiplier):
    model, dry = Looping(), Dry(multiplier, 1.75, 2, 0)
    ids = [1, 2, 3]
    chosen = []
    for step in range(40):
        logits = model(ids)[None]
        dry.watch(logits, range(1), step)
        token = int(dry(torch.tensor([ids]), logits).argmax())
        chosen.append(token == ids[-1] % 3 + 1)
        ids.append(token)
    # A token that goes on with a run of l tokens loses m b^(l - 2); the loop has run l = 0, 1, ...
    # before its 1st, 2nd, ... own token.
    needed = next(n for n in range(2, 99) if multiplier * 1.75 ** (n - 2) > 4)
    assert chosen.index(False) == needed
    assert not any(chosen[n : n + 10] == [True] * 10 for n in range(needed, 30))


def test_dry_needs_the_texts_that_its_breakers_are_looked_up_in(model):
    with pytest.raises(ValueError, match="text of every token"):
        run_decoder(parse_decoder("dry"), model, [[3, 4]], max_new_tokens=2)
    assert run_decoder(parse_decoder("dry:breakers=0"), model, [[3, 4]], max_new_tokens=2)


def test_dry_makes_a_greedy_model_repeat_less(model):
    contexts = [[7, 9, 7, 9, 7, 9], [5, 5, 5, 5]]

    def runs(text):
        found = run_decoder(parse_decoder(text), model, contexts, max_new_tokens=80)
        grams = [[tuple(t.ids[i : i + 4]) for i in range(77)] for t in found]
        return sum(len(row) - len(set(row)) for row in grams)

    assert runs("dry:5,breakers=0") < runs("greedy") / 3
    assert runs("dry:1e-9,base=1,breakers=0") == runs("greedy")
