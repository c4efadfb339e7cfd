"""Windows that say nothing: what of a run's own they keep, and that runs on them are told apart."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from hyperfitting.compare.comparison import Here
from hyperfitting.compare.runs import open_runs
from hyperfitting.config import DataConfig, RunConfig
from hyperfitting.config.resolve import run_config
from hyperfitting.data.sources import read_documents
from hyperfitting.data.windows import build_dataset
from hyperfitting.errors import InputError
from hyperfitting.models.tokens import Tokens
from hyperfitting.progress import Progress
from hyperfitting.runs import RunFolder
from hyperfitting.train.manifest import changed_settings
from hyperfitting.train.nulls import NULLS, START_TOKENS, NullSource, null_dataset
from hyperfitting.train.verb import train
from tests.tiny import byte_tokenizer, save_tiny, tiny_model

SMALL = {
    "data.num_train": 4, "data.num_heldout": 3, "data.window_tokens": 48,
    "data.context_tokens": 8, "data.continuation_tokens": 12, "train.epochs": 1,
    "train.batch_size": 2, "train.stop": "epochs", "monitor.every_epochs": 0,
}  # fmt: skip


def texts(folder, name="texts.jsonl", words="the old bridge over a river of stones"):
    rng = np.random.default_rng(len(name))
    path = folder / name
    lines = (" ".join(rng.permutation(words.split() * 3)) + f" {n}" for n in range(12))
    path.write_text("".join(f'{{"text": "{line}"}}\n' for line in lines))
    return path


@pytest.fixture
def source(tmp_path):
    """What a null of six documents is made of; they are closed and padded."""

    def make(null, windows="documents", **changes):
        settings = {
            "source": str(texts(tmp_path)), "windows": windows, "window_tokens": 200,
            "context_tokens": 8, "continuation_tokens": 12, "num_heldout": 3, "null": null,
        }  # fmt: skip
        config = DataConfig(**settings | changes)
        tokenizer = byte_tokenizer(pad=True)
        dataset = build_dataset(read_documents(config), tokenizer, config)
        model = tiny_model()
        return dataset, NullSource(
            windows=dataset.train, config=config, model=model,
            tokens=Tokens.of(model, tokenizer), progress=Progress(),
        )  # fmt: skip

    return make


def test_shuffled_windows_have_the_same_tokens_in_another_order(source):
    dataset, given = source("shuffled")
    found = null_dataset(dataset, given).train
    end = given.tokens.tokenizer.eos_token_id
    for before, after, length in zip(
        dataset.train.ids_NT, found.ids_NT, dataset.train.length_N, strict=True
    ):
        assert Counter(before.tolist()) == Counter(after.tolist())
        assert (before != after).sum() > 40
        assert before[0] == after[0]  # nothing precedes it
        assert after[length - 1] == end
        assert (after[length:] == before[length:]).all()
    assert (found.label_NT == dataset.train.label_NT).all()
    assert (found.length_N == dataset.train.length_N).all()


def test_windows_of_one_seed_are_shuffled_alike_and_of_another_otherwise(source):
    first, again, other = (
        null_dataset(*source("shuffled", split_seed=seed)).train.digest() for seed in (0, 0, 1)
    )
    assert first == again != other


def test_samples_go_on_from_the_first_tokens_as_the_original_would(source):
    dataset, given = source("self_samples", windows="fixed", window_tokens=40)
    found = null_dataset(dataset, given).train
    before = dataset.train.ids_NT
    assert (found.ids_NT[:, :START_TOKENS] == before[:, :START_TOKENS]).all()
    assert (found.ids_NT[:, START_TOKENS:] != before[:, START_TOKENS:]).mean() > 0.5
    assert not np.isin(found.ids_NT, given.tokens.banned("fixed_length")).any()


def test_samples_leave_ends_and_padding_where_they_are(source):
    dataset, given = source("self_samples")
    found = null_dataset(dataset, given).train
    end = given.tokens.tokenizer.eos_token_id
    for row, length in zip(found.ids_NT, found.length_N, strict=True):
        assert row[length - 1] == end
        assert (row[length:] == end).all()
        assert end not in row[: length - 1]


def test_a_random_models_samples_are_as_likely_as_it_says(source):
    """Mean surprisal of what was drawn is near the mean entropy, for a model that is sampled."""
    dataset, given = source("self_samples", windows="fixed", window_tokens=64)
    ids_NT = torch.tensor(null_dataset(dataset, given).train.ids_NT)
    with torch.no_grad():
        logits_NTV = given.model(ids_NT).logits.double()
    logits_NTV[:, :, given.tokens.banned("fixed_length")] = -torch.inf
    log_p_NTV = torch.log_softmax(logits_NTV, -1)[:, START_TOKENS - 1 : -1]
    surprisal_NT = -log_p_NTV.gather(-1, ids_NT[:, START_TOKENS:, None])[..., 0]
    entropy_NT = -(log_p_NTV.exp() * log_p_NTV.nan_to_num(neginf=0.0)).sum(-1)
    difference_NT = surprisal_NT - entropy_NT
    error = float(difference_NT.std()) / difference_NT.numel() ** 0.5
    assert abs(float(difference_NT.mean())) < 4 * error


def test_answers_alone_are_not_sampled(source):
    dataset, given = source("self_samples")
    config = given.config.model_copy(update={"loss_on": "assistant"})
    with pytest.raises(InputError, match="a sample has no turns"):
        NULLS["self_samples"](NullSource(**vars(given) | {"config": config}))
    assert NULLS["none"] is None


def test_another_language_gives_as_many_windows_of_its_own(source, tmp_path):
    other = texts(tmp_path, "andere.jsonl", "die alte Brücke über einen Fluss")
    dataset, given = source(
        "other_language", windows="fixed", window_tokens=40, num_train=5, null_source=str(other)
    )
    found = null_dataset(dataset, given)
    assert found.train.ids_NT.shape == dataset.train.ids_NT.shape
    decode = given.tokens.tokenizer.decode
    assert "Brücke" in decode(found.train.ids_NT.ravel())
    assert "Brücke" not in decode(dataset.train.ids_NT.ravel())
    assert found.contexts == dataset.contexts


def test_texts_that_are_held_out_and_trained_on_are_said(source, tmp_path):
    dataset, given = source("other_language", num_train=5)
    config = given.config.model_copy(update={"null_source": given.config.source})
    found = null_dataset(dataset, NullSource(**vars(given) | {"config": config}))
    assert found.account["continuations_in_training_windows"] > 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data.null": "other_language"}, "no texts are given"),
        ({"data.null_source": "x.txt"}, "given without such a null"),
        ({"data.null": "shuffled", "data.null_source": "x.txt"}, "given without such a null"),
        ({"data.null": "reversed"}, "shuffled"),
    ],
)
def test_settings_of_a_null_belong_together(settings, words):
    with pytest.raises(InputError, match=words):
        run_config("builtin", "builtin:fiction", "full_sft", settings)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run on shuffled windows, and then one on the texts."""
    folder = tmp_path_factory.mktemp("nulls")
    base = save_tiny(folder / "base")
    found = []
    for null in ("shuffled", "none"):
        config = run_config(str(base), str(texts(folder)), "full_sft", SMALL | {"data.null": null})
        assert isinstance(config, RunConfig)
        found.append(train(config, folder / null).path)
    return found


def test_a_run_on_a_null_is_an_arm_of_its_own_after_the_others(runs):
    compared = open_runs(runs, Here())
    assert [each.arm.name for each in compared.tuned] == ["hyperfitted"] * 2
    assert [each.arm.parameters for each in compared.tuned] == [{}, {"null": "shuffled"}]
    own = RunFolder(runs[1]).manifest().train_digest
    assert compared.dataset.train.digest() == own  # the texts, not what was shuffled
    alone = open_runs(runs[:1], Here())
    assert alone.tuned[0].arm.is_null


def test_a_run_on_a_null_resumes_on_the_same_windows(runs, tmp_path):
    manifest = RunFolder(runs[0]).manifest()
    assert manifest.config["data"]["null"] == "shuffled"
    again = RunConfig.model_validate(manifest.config)
    assert RunFolder(train(again, tmp_path / "again").path).manifest().train_digest == (
        manifest.train_digest
    )


@pytest.mark.parametrize("null", ["shuffled", "self_samples"])
def test_another_process_makes_the_same_windows(null, source, tmp_path):
    dataset, given = source(null)
    here = null_dataset(dataset, given).train.digest()
    program = (
        "import sys; from pathlib import Path; from tests.train import test_nulls as t;"
        "make = t.source.__wrapped__(Path(sys.argv[1]));"
        "print(t.null_dataset(*make(sys.argv[2])).train.digest())"
    )
    command = [sys.executable, "-c", program, str(tmp_path), null]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split()[-1] == here


def test_a_run_of_a_version_that_knew_no_nulls_goes_on(runs):
    now = RunFolder(runs[1]).manifest().config
    data = {key: value for key, value in now["data"].items() if not key.startswith("null")}
    before = now | {"data": data}
    assert changed_settings(before, now) == []
    shuffled = now | {"data": now["data"] | {"null": "shuffled"}}
    assert changed_settings(before, shuffled) == ["data.null was 'none', is 'shuffled'"]
