"""Compare tiny models in memory: a held-out set of random tokens, and both stages run on it."""

import json
from collections import defaultdict

import numpy as np
import torch

from hyperfitting.compare.comparison import Comparison, TunedModel
from hyperfitting.config import DataConfig, EvaluateConfig, ExplainConfig, ModelConfig
from hyperfitting.data.windows import Contexts, Dataset, Windows
from hyperfitting.evaluate.bench import bench_of
from hyperfitting.evaluate.per_context import metric_values
from hyperfitting.evaluate.plan import check
from hyperfitting.evaluate.scoring import score
from hyperfitting.explain.verb import Explanation
from hyperfitting.models.anatomy import anatomy
from hyperfitting.progress import Progress
from hyperfitting.records import Arm
from hyperfitting.records.record import as_json
from hyperfitting.records.study import Account, TrainingFacts
from tests.conftest import random_rows
from tests.tiny import tiny_model

# What a study of random tokens says of the documents that were read.
ACCOUNT = dict.fromkeys(Account.model_fields, 0)

CONTEXT, CONTINUATION = 6, 10
EVALUATE = EvaluateConfig(resamples=100, natural_tokens=12, sampling_seeds=2, device="cpu")
EXPLAIN = ExplainConfig(
    resamples=100, promoted_tokens=1, strengths=(0.5, 1.0), random_draws=2, device="cpu"
)
NO_SWAP = EXPLAIN.model_copy(update={"swap_contexts": 0})


class Said(Progress):
    """Keeps what the user is told."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def windows(count, width, seed):
    ids_NT = np.array(random_rows(count, width, seed))
    label_NT = np.ones_like(ids_NT, dtype=bool)
    label_NT[:, 0] = False
    return Windows(ids_NT, label_NT, np.full(count, width))


def dataset(count=6, seed=3):
    rows = random_rows(count, CONTEXT + CONTINUATION, seed)
    contexts = Contexts(
        [row[:CONTEXT] for row in rows], [row[CONTEXT:] for row in rows], ["test"] * count
    )
    return Dataset(
        windows(4, 16, seed + 1), windows(max(2, count), 16, seed + 2), contexts, ACCOUNT
    )


def comparison(folder, *tuned, data=None):
    """`tuned` are functions that make a model; several are seeds of one arm."""
    data = data or dataset()
    models = [
        TunedModel(
            Arm("tuned", seed if len(tuned) > 1 else None), make, TrainingFacts(checkpoint="memory")
        )
        for seed, make in enumerate(tuned)
    ]
    about = DataConfig(source="random").model_dump(mode="json")
    about |= {"contexts_digest": data.contexts.digest()}
    return Comparison(ModelConfig(name=str(folder), device="cpu"), None, models, data, about)


def evaluated(compared, config=EVALUATE, progress=None):
    """What was scored, its arms by name, and every column by (arm, metric, prefix)."""
    found = score(bench_of(compared, check(config, Progress()), progress or Progress()))
    columns = {}
    for outputs in found.arms:
        for column in metric_values(outputs, config.natural_tokens):
            columns[column.arm.name, column.metric, column.prefix] = np.array(
                column.values, dtype=float
            )
    return found, {outputs.arm.name: outputs for outputs in found.arms}, columns


def explained(compared, config=EXPLAIN, progress=None):
    """What each control found of the first tuned model, as its file holds it."""
    explanation = Explanation.begin(compared, config, progress or Progress())
    for tuned in compared.tuned:
        explanation.add(tuned)
    found = {name: as_json(arms[0]) for name, arms in explanation.found.items()}
    json.dumps(found, allow_nan=False)  # every value can be written
    return explanation, defaultdict(dict, found)


def ids(generations):
    return [g.continuation_ids for g in generations]


def changed(block=1, family="llama", scale=0.3):
    """The tiny model with other weights in one block."""
    model = tiny_model(family)
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in list(anatomy(model).blocks.values())[block].parameters():
            parameter += scale * torch.randn_like(parameter)
    return model


def with_bias(token, size):
    """The tiny model whose head adds `size` to the logit of one token."""
    model = tiny_model()
    bias = torch.zeros(model.lm_head.weight.shape[0])
    bias[token] = size
    model.lm_head.bias = torch.nn.Parameter(bias)
    return model


def sharper(factor=2.0):
    """The tiny model with every logit multiplied."""
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight *= factor
    return model


def padded(rows, fill=5.0):
    """The tiny model with more rows that no token uses; they would win every choice."""
    plain, wider = tiny_model(), tiny_model(vocab_size=rows)
    state, old = wider.state_dict(), plain.state_dict()
    for name, tensor in old.items():
        if state[name].shape == tensor.shape:
            state[name].copy_(tensor)
        else:
            state[name].fill_(0.0)
            state[name][: len(tensor)] = tensor
            state[name][len(tensor) :] = fill * torch.randn_like(state[name][len(tensor) :])
    return wider
