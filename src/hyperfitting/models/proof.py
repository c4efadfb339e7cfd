"""Prove on a loaded model that it is causal, before any number is taken from it.

The truth is the plain forward pass over one row alone, without a cache. What is proved is kept for
the model as it stands; another adapter, attention code, device or dtype proves it anew.
Shape letters: T tokens of a row, K of its last positions, V vocabulary.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from hyperfitting.errors import InputError
from hyperfitting.faults import is_memory
from hyperfitting.models.anatomy import base_of
from hyperfitting.models.interface import embedding_rows, logits_of, positions_of, rope_switch
from hyperfitting.models.types import CausalLM

LENGTH, STEPS = 12, 3  # tokens of a row, and those of them that are decoded
SHORT = 6  # tokens of the row that is shorter
APART = 7  # last tokens in which two rows of one length differ
KEEP = 8  # last positions whose logits are compared
WINDOWS = ("window", "chunk", "block_size")  # in settings' names
LARGEST_WINDOW = 256  # attention windows and chunks up to this are passed by the rows
# Shares of the reference's spread (docs/decisions/0011): float32 rounds by less than 1e-5 of it.
FLOAT32_TOLERANCE, COARSE_TOLERANCE = 1e-4, 5e-2
EFFECT_SHARE = 0.1  # of what the earlier tokens change; a fault of less could not be told

T = TypeVar("T")


def _signature(model: CausalLM) -> tuple[Any, ...]:
    """What the answer may depend on besides weights: modules, attention code, device, dtype."""
    base = base_of(model)
    parameter = next(base.parameters())
    return (
        tuple(type(module) for module in base.modules()),
        getattr(base.config, "_attn_implementation", None), parameter.device, parameter.dtype,
    )  # fmt: skip


class Kept(Generic[T]):
    """One answer for each living model, made again when the model was changed."""

    def __init__(self, make: Callable[[Any], tuple[T, bool]]) -> None:
        self._make = make
        self._known: WeakKeyDictionary[Any, tuple[tuple[Any, ...], T]] = WeakKeyDictionary()

    def __call__(self, model: CausalLM) -> T:
        """The answer. `make` also says whether it proves anything; if not, it is not kept."""
        signature = _signature(model)
        known = self._known.get(base_of(model))
        if known is not None and known[0] == signature:
            return known[1]
        answer, is_proved = self._make(model)
        if is_proved:
            self._known[base_of(model)] = (signature, answer)
        return answer


@dataclass(frozen=True)
class Probe:
    """Three rows of tokens and the logits of each alone; the third is shorter.

    The first two share their first tokens.
    """

    rows: tuple[list[int], ...]
    logits: tuple[Tensor, ...]  # [K, V] each, at the last K positions
    allowed: float  # difference of two logits that is rounding
    steps: int  # tokens of each row that are decoded, the others are its prompt
    proves: bool  # whether earlier tokens change the logits at all

    def agrees(self, found: Tensor, expected: Tensor) -> bool:
        """Whether logits are the same but for rounding."""
        return found.shape == expected.shape and _apart(found, expected) <= self.allowed  # NaN: no


@contextmanager
def undisturbed(model: CausalLM) -> Iterator[None]:
    """Evaluation mode, no gradients and full precision while a model is proved."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, enabled=False):
            yield
    finally:
        for module in training:
            module.training = True


def probe(model: CausalLM) -> Probe:
    """Run the rows of the proof, each alone.

    Raises:
        InputError: the model cannot be run on tokens alone.
    """
    with undisturbed(model):
        rows = _rows(model)
        logits = tuple(_alone(model, row) for row in rows)
        first_KV = logits[0]
        finite = first_KV[first_KV.isfinite()]
        spread = float(finite.amax() - finite.amin()) if len(finite) else 0.0
        is_exact = all(p.dtype in (torch.float32, torch.float64) for p in model.parameters())
        allowed = (FLOAT32_TOLERANCE if is_exact else COARSE_TOLERANCE) * spread
        effect = EFFECT_SHARE * _apart(_alone(model, rows[0][-1:])[-1], first_KV[-1])
        tells = effect > allowed / 100  # else texts do not depend on what was fed before
        allowed = min(allowed, effect) if tells else allowed
        return Probe(rows, logits, allowed, min(STEPS, len(rows[2]) - 1), tells)


def _rows(model: CausalLM) -> tuple[list[int], ...]:
    """Token ids that any vocabulary has and no config names as special."""
    config = base_of(model).config
    limits = [n for n in (positions_of(config), rope_switch(config)) if n]
    width = max(2, min([_length(config), *limits]))  # beyond a switch prefixes have other logits
    special = set()
    for name, value in config.to_dict().items():
        if name.endswith("token_id"):
            special |= set(value) if isinstance(value, list) else {value}
    count = embedding_rows(model)
    ids = [i for i in range(count) if i not in special] or list(range(count))
    first = [ids[(3 + 37 * i) % len(ids)] for i in range(width)]
    shared = max(1, width - APART)
    second = first[:shared] + [ids[(11 + 53 * i) % len(ids)] for i in range(width - shared)]
    third = [ids[(29 + 17 * i) % len(ids)] for i in range(min(SHORT, max(2, width // 2)))]
    return first, second, third


def _length(config: Any) -> int:
    """Tokens of the longer rows: a little more than the model's windows, where these are small."""
    settings = config.get_text_config().to_dict().items()
    sizes = [value for name, value in settings if any(word in name for word in WINDOWS)]
    small = [n for n in sizes if isinstance(n, int) and 0 < n <= LARGEST_WINDOW]
    return LENGTH + max(small, default=0)


def _alone(model: CausalLM, row: list[int]) -> Tensor:
    """Logits of the last positions of one row, [K, V]."""
    kind = base_of(model).config.model_type
    ids_1T = torch.tensor([row], device=model.device)
    try:
        logits_KV = logits_of(model, ids_1T, min(KEEP, len(row)))[0]
    except Exception as error:  # a model's own code raises anything
        if is_memory(error):
            raise
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"a {kind!r} model cannot be run on text alone: {type(error).__name__}: {reason}",
            needed="a causal language model that takes tokens and gives logits",
        ) from error
    if bool(logits_KV.isnan().any()):
        raise InputError(
            f"this {kind!r} model gives logits that are not numbers",
            needed="a checkpoint whose weights are sound",
        )
    return logits_KV


def _apart(one: Tensor, other: Tensor) -> float:
    """The largest difference; equal infinities count 0."""
    return float(torch.where(one == other, 0.0, (one - other).abs()).amax())


def _require_causal(model: CausalLM, found: Probe) -> None:
    """Cut a row off, and let another go on otherwise: the logits until there must stay.

    Raises:
        InputError: they change.
    """
    base = base_of(model)
    row, logits_KV = found.rows[0], found.logits[0]
    if not found.agrees(_alone(model, row), logits_KV):
        raise InputError(
            f"a {base.config.model_type!r} model gives other logits when it is run again on the "
            "same tokens",
            needed="a model that draws nothing at random",
        )
    cut = _alone(model, row[: -found.steps])
    kept = min(len(cut), len(logits_KV) - found.steps)
    apart = min(APART, len(row) - 1)
    if not (
        found.agrees(cut[-kept:], logits_KV[-found.steps - kept : -found.steps])
        and found.agrees(found.logits[1][:-apart], logits_KV[:-apart])
    ):
        raise InputError(
            f"this {base.config.model_type!r} model is not causal: how a text goes on changes the "
            "logits before it",
            needed="a model that predicts each token from those before it",
            hint="a checkpoint that was trained as a decoder says so in config.json, is_decoder"
            if hasattr(base.config, "is_decoder")
            else None,
        )


def _proved_batches(model: CausalLM) -> tuple[bool, bool]:
    found = probe(model)
    with undisturbed(model):
        _require_causal(model, found)
        ids_BT = torch.tensor(found.rows[:2], device=model.device)
        together = logits_of(model, ids_BT, len(found.logits[0]))
    same = all(found.agrees(a, b) for a, b in zip(together, found.logits[:2], strict=True))
    return same, found.proves


_batches = Kept(_proved_batches)


def runs_in_batches(model: CausalLM) -> bool:
    """Whether rows of one length get together what each gets alone; proves the model causal.

    Raises:
        InputError: the model is not causal, or cannot be run on tokens alone.
    """
    return _batches(model)


def require_causal(model: CausalLM) -> None:
    """Refuse a model in which later tokens change the logits of earlier ones.

    Raises:
        InputError: it is not causal, or cannot be run on tokens alone.
    """
    _batches(model)
