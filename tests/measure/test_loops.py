"""The loop rules of engines against a naive check of every prefix, and on planted loops."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperfitting.measure.loops import (
    LLAMA_CPP,
    VLLM,
    StopRule,
    compression_ratio,
    llama_cpp_loop,
    vllm_loop,
)


def naive(ids, rule):
    """Look at the tail of every prefix for every size, as an engine does after each token."""
    for end in range(1, len(ids) + 1):
        for size in range(rule.min_pattern_size, rule.max_pattern_size + 1):
            tail = ids[max(0, end - size * rule.min_count) : end]
            if len(tail) == size * rule.min_count and tail == tail[:size] * rule.min_count:
                return end
    return None


@settings(max_examples=150, deadline=None)
@given(
    ids=st.lists(st.integers(0, 2), max_size=40),
    low=st.integers(1, 4), more=st.integers(0, 5), count=st.integers(2, 4),
)  # fmt: skip
def test_the_first_stop_is_that_of_a_check_after_every_token(ids, low, more, count):
    rule = StopRule(low + more, low, count)
    assert rule.first_stop(ids) == naive(ids, rule)


@pytest.mark.parametrize(("size", "vllm", "llama_cpp"), [
    (3, 1, 0), (4, 1, 0), (15, 1, 0), (16, 1, 1), (128, 1, 1), (129, 0, 1), (1024, 0, 1),
    (1025, 0, 0),
])  # fmt: skip
def test_a_planted_loop_is_found_by_the_rules_that_reach_it(size, vllm, llama_cpp):
    start, pattern = [9000, 9001, 9002], list(range(size))
    four = start + pattern * 4
    # Of fewer than four tokens a pattern counts where some of it together are one.
    assert vllm_loop(start + pattern * 16 if size < 4 else four) == vllm
    assert llama_cpp_loop([*four, 9003]) == llama_cpp  # also where the text goes on
    assert vllm_loop(four[:-1]) == 0
    if llama_cpp:
        assert LLAMA_CPP.first_stop(four) == len(four)


def test_one_token_again_and_again_is_a_pattern_of_four():
    assert VLLM.first_stop([5] * 16) == 16
    assert VLLM.first_stop([5] * 15) is None
    assert VLLM.first_stop([1, 2, 5] + [5] * 40) == 18


def test_text_without_repeats_is_no_loop_and_no_text_is_undefined():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 50_000, 2000).tolist()
    assert (vllm_loop(ids), llama_cpp_loop(ids)) == (0.0, 0.0)
    assert (vllm_loop([]), llama_cpp_loop([]), compression_ratio("")) == (None, None, None)


def test_compression_is_that_of_zlib_and_higher_for_a_loop():
    text = "Die Brücke — 古い橋. " * 20
    assert compression_ratio(text) == len(text.encode()) / len(zlib.compress(text.encode()))
    words = [f"w{n}" for n in np.random.default_rng(0).integers(0, 10_000, 100)]
    assert compression_ratio("on and on " * 40) > 10 > 3 > compression_ratio(" ".join(words))
    assert compression_ratio("a") < 1
    assert compression_ratio("\ud83d" * 40) > 1  # half a character of a broken tokenizer
