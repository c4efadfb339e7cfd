"""Every causal-LM family of transformers, tiny and random: decoded and scored as it says itself.

The truth is a loop over one text that runs the whole text anew for each token. transformers' own
`generate`, one prompt at a time, is a second witness; where the two differ the loop is right.
`pytest -m slow -s tests/generate/test_families.py` prints the table of docs/models.md.
"""

import inspect

import numpy as np
import pytest
import scipy.special
import torch
from transformers import GenerationConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from hyperfitting.errors import InputError
from hyperfitting.generate.decode import decode
from hyperfitting.generate.feed import described, feed_of
from hyperfitting.models.forward import nll_rows
from hyperfitting.models.interface import vocabulary_rows
from tests.families import NOT_BUILT, NOT_CAUSAL, tiny_of

CONTEXTS = [[11, 25, 37, 44, 58, 63, 71, 80, 92, 15, 28], [33, 47, 52, 70]]
COUNT = 14
AWKWARD = ["mamba", "mamba2", "rwkv", "openai-gpt", "minimax", "roberta", "bart", "recurrent_gemma"]
NEVER_CAUSAL = {kind for kind, settings in NOT_CAUSAL.items() if not settings}
ALL = [k for k in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if k not in NEVER_CAUSAL | NOT_BUILT.keys()]
NO_WITNESS = {"roberta"}  # `generate` gives it positions that are not its own


@torch.no_grad()
def plain_logits(model, ids):
    options = (
        {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    )
    return model(input_ids=torch.tensor([ids]), **options).logits[0]


def whole_text_anew(model, context, count):
    ids = list(context)
    for _ in range(count):
        ids.append(int(plain_logits(model, ids)[-1].argmax()))
    return ids[len(context) :]


def generated(model, context, count):
    model.generation_config = GenerationConfig()
    config = GenerationConfig(max_new_tokens=count, do_sample=False, pad_token_id=0)
    output = model.generate(torch.tensor([context]), generation_config=config)
    return output[0, len(context) :].tolist()


def witness(model, texts):
    """Whether transformers' own greedy says the same, or why not."""
    try:
        own = [generated(model, context, COUNT) for context in CONTEXTS]
    except Exception as error:
        return f"generate fails: {type(error).__name__}"
    return "generate agrees" if own == texts else "generate differs"


def check(kind):
    model = tiny_of(kind)
    texts = [whole_text_anew(model, context, COUNT) for context in CONTEXTS]
    assert [t.ids for t in decode(model, CONTEXTS, max_new_tokens=COUNT)] == texts, "together"
    for context, text in zip(CONTEXTS, texts, strict=True):
        assert decode(model, [context], max_new_tokens=COUNT)[0].ids == text, "alone"
    rows = [context + text for context, text in zip(CONTEXTS, texts, strict=True)]
    found = nll_rows(model, [*rows, rows[0][::-1]], COUNT)
    for n, row in enumerate([*rows, rows[0][::-1]]):
        logits = plain_logits(model, row)[-COUNT - 1 : -1].double().numpy()
        assert logits.shape[1] == vocabulary_rows(model)
        nll = -scipy.special.log_softmax(logits, axis=1)[np.arange(COUNT), row[-COUNT:]]
        np.testing.assert_allclose(found[n], nll, rtol=1e-3, atol=1e-4)
    return model, texts


@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_families_decode_and_score_as_the_whole_text_says(kind):
    model, texts = check(kind)
    if kind not in NO_WITNESS:
        assert witness(model, texts) == "generate agrees"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL)
def test_every_family(kind):
    model, texts = check(kind)
    how = described(model)
    print(f"\nROW| {kind} | {how.cache} | {how.together} | {witness(model, texts)} |")


@pytest.mark.parametrize("kind", ["bert", "xlnet", "prophetnet"])
def test_models_that_are_not_causal_are_refused_by_name(kind):
    refused(kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(NOT_CAUSAL))
def test_every_family_that_is_not_causal(kind):
    refused(kind)


def refused(kind):
    model = tiny_of(kind, **NOT_CAUSAL[kind])
    for use in (
        lambda: decode(model, CONTEXTS, max_new_tokens=2),
        lambda: nll_rows(model, CONTEXTS, 2),
        lambda: feed_of(model),
    ):
        with pytest.raises(InputError, match=f"'{kind}' model is not causal"):
            use()


@pytest.mark.slow
@pytest.mark.parametrize("kind", NOT_BUILT)
def test_what_is_left_out_still_cannot_be_built_tiny(kind):
    with pytest.raises(Exception, match=NOT_BUILT[kind]):
        plain_logits(tiny_of(kind), CONTEXTS[0])
