"""Two checkpoints of one architecture, run side by side on the same tokens.

Blocks whose weights both share run once. Layers stream: of each model one layer's hidden states
exist at a time, and logits of a few rows.

Shape letters: N rows, B rows of a batch, R rows whose logits exist together, T tokens, D hidden
width, K scored positions, V vocabulary.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hyperfitting.errors import InputError
from hyperfitting.models.anatomy import Anatomy, anatomy, base_of, is_known_family
from hyperfitting.models.blocks import BlockInputs, hidden_entering, record_inputs
from hyperfitting.models.digests import architecture_digest
from hyperfitting.models.forward import rows_per_pass
from hyperfitting.models.interface import logits_of, vocabulary_rows
from hyperfitting.models.proof import runs_in_batches
from hyperfitting.models.types import CausalLM, Tokenizer

ADAPTED = re.compile(r"\.base_layer(?=\.)")  # of a name; several where several are adapted
# Positions that go through a block together. What more of them give does not stay in a CPU's
# cache: SmolLM2-135M runs at half the speed with 4096.
TOKENS_PER_PASS, TOKENS_ELSEWHERE = 512, 4096


class LayerStates(NamedTuple):
    """Hidden states of both models after one layer; layer 0 is what enters the first block.

    The same tensor twice where the models share everything up to here.
    """

    layer: int
    original_NTD: Tensor
    tuned_NTD: Tensor
    is_normed: bool = False  # the last layer again, after the final norm


class PairedLogits(NamedTuple):
    """Both models' float32 logits where one row's last K tokens are predicted."""

    row: int
    original_KV: Tensor
    tuned_KV: Tensor
    target_K: Tensor


Observer = Callable[[LayerStates], None]


@dataclass(frozen=True)
class Pair:
    """An original and a tuned model, and how many of their lower blocks are the same."""

    original: CausalLM
    tuned: CausalLM
    shared_blocks: int
    recorded: dict[tuple[Any, ...], list[BlockInputs]] = field(default_factory=dict, repr=False)

    @property
    def is_known_family(self) -> bool:
        """Whether layers can be told apart, so that shared blocks run once."""
        return is_known_family(self.original)

    @property
    def num_logits(self) -> int:
        """Tokens that both models have a logit for, with the padding they share."""
        return min(vocabulary_rows(self.original), vocabulary_rows(self.tuned))

    def vocabulary(self, tokenizer: Tokenizer) -> int:
        """Tokens that the tokenizer has and both models know."""
        return min(self.num_logits, len(tokenizer))

    @property
    def num_blocks(self) -> int:
        """Blocks of each model."""
        return len(anatomy(self.original).blocks)


def make_pair(original: CausalLM, tuned: CausalLM) -> Pair:
    """Check that two models can be compared, and find the blocks they share.

    Mutates `tuned`: a weight that equals the original's is kept in memory once.

    Raises:
        InputError: different architectures.
    """
    require_one_architecture(base_of(original).config, base_of(tuned).config)
    share_equal_weights(original, tuned)
    if not is_known_family(original) or not compute_alike(original, tuned):
        return Pair(original, tuned, 0)
    return Pair(original, tuned, _shared_blocks(anatomy(original), anatomy(tuned)))


# What two checkpoints must have in common; the vocabulary may be padded differently.
ARCHITECTURE = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
)


def require_one_architecture(original: CausalLM, tuned: CausalLM) -> None:
    """Refuse configs of two architectures.

    Raises:
        InputError: they differ; says in what.
    """
    for name in ARCHITECTURE:
        values = [getattr(c.get_text_config(), name, None) for c in (original, tuned)]
        if values[0] != values[1]:
            raise InputError(
                f"the checkpoints differ in {name}: {values[0]} and {values[1]}",
                needed="two checkpoints of one architecture",
            )


# Settings that may differ between checkpoints whose equal blocks compute the same.
APART_FROM_BLOCKS = (
    "vocab_size",
    "use_cache",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "tie_word_embeddings",
)


def compute_alike(original: CausalLM, tuned: CausalLM) -> bool:
    """Whether equal weights mean equal blocks: one rope, one window, one norm, one softcap."""
    digests = {architecture_digest(base_of(m), APART_FROM_BLOCKS) for m in (original, tuned)}
    return len(digests) == 1


def plain_name(name: str) -> str:
    """A parameter's name without what an adapter inserts."""
    return ADAPTED.sub("", name)


def share_equal_weights(original: CausalLM, tuned: CausalLM) -> int:
    """Mutates `tuned`: its weights that equal the original's become the original's tensors.

    Returns how many bytes that saved.
    """
    kept = dict(base_of(original).named_parameters())
    saved = 0
    for name, tensor in base_of(tuned).named_parameters():
        same = kept.get(plain_name(name))
        if same is None or same.shape != tensor.shape or same.data_ptr() == tensor.data_ptr():
            continue
        if same.dtype == tensor.dtype and torch.equal(same.data, tensor.data.to(same.device)):
            tensor.data = same.data
            saved += tensor.numel() * tensor.element_size()
    return saved


def _is_same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules hold the same tensors and nothing more."""
    ours = {name: p.data_ptr() for name, p in one.named_parameters()}
    return ours == {name: p.data_ptr() for name, p in other.named_parameters()}


def _below_blocks(parts: Anatomy) -> dict[str, int]:
    """Where the decoder's tensors lie that stand before the first block."""
    later = [*parts.blocks.values(), parts.norm]
    known = {id(p) for module in later for p in module.parameters()}
    named = parts.decoder.named_parameters()
    return {name: p.data_ptr() for name, p in named if id(p) not in known}


def _share_embeddings(original: Anatomy, tuned: Anatomy) -> bool:
    return _below_blocks(original) == _below_blocks(tuned)


def _shared_blocks(original: Anatomy, tuned: Anatomy) -> int:
    if not _share_embeddings(original, tuned):
        return 0
    pairs = list(zip(original.blocks.values(), tuned.blocks.values(), strict=True))
    return next((i for i, (a, b) in enumerate(pairs) if not _is_same(a, b)), len(pairs))


class _Side:
    """One of the two models, a layer at a time.

    `recorded` keeps what the blocks need besides hidden states: masks and positions, which depend
    on config and shape only, so models of one config record them once.
    """

    def __init__(
        self, model: CausalLM, ids_NT: Tensor, batch: int, recorded: dict[Any, list[BlockInputs]]
    ) -> None:
        self.parts = anatomy(model)
        self.ids_NT, self.batch = ids_NT, batch
        self.recorded = recorded
        self.key = (architecture_digest(base_of(model)), batch, ids_NT.shape[1])

    def embedded(self) -> Tensor:
        """What enters the first block, [N, T, D]."""
        starts = range(0, len(self.ids_NT), self.batch)
        parts = [self.ids_NT[s : s + self.batch] for s in starts]
        return torch.cat([hidden_entering(self.parts, ids_BT, 0) for ids_BT in parts])

    def after_block(self, index: int, hidden_NTD: Tensor) -> Tensor:
        """What leaves a block, [N, T, D]."""
        if self.key not in self.recorded:
            self.recorded[self.key] = record_inputs(self.parts, self.ids_NT[: self.batch])
        block = list(self.parts.blocks.values())[index]
        args, kwargs = self.recorded[self.key][index]
        out_NTD = torch.empty_like(hidden_NTD)
        for start in range(0, len(hidden_NTD), self.batch):
            hidden_BTD = hidden_NTD[start : start + self.batch]
            rows = len(hidden_BTD)
            if rows < self.batch:  # every batch has the shape that was recorded
                index_B = torch.arange(self.batch, device=hidden_BTD.device) % rows
                hidden_BTD = hidden_BTD[index_B]
            output = block(hidden_BTD, *args, **kwargs)
            out_BTD = output[0] if isinstance(output, tuple) else output
            out_NTD[start : start + rows] = out_BTD[:rows]
        return out_NTD

    def normed(self, hidden: Tensor) -> Tensor:
        """After the final norm."""
        normed: Tensor = self.parts.norm(hidden)
        return normed


@torch.no_grad()
def _run_layers(
    pair: Pair, ids_NT: Tensor, observe: Observer | None
) -> tuple[_Side, _Side, Tensor, Tensor]:
    """Both models through all blocks, [N, T, D] each; `observe` sees every layer."""
    batch = min(len(ids_NT), _rows_of(ids_NT.shape[1], ids_NT.device))
    original, tuned = (
        _Side(model, ids_NT, batch, pair.recorded) for model in (pair.original, pair.tuned)
    )
    one_NTD = original.embedded()
    two_NTD = one_NTD if _share_embeddings(original.parts, tuned.parts) else tuned.embedded()
    see = observe or (lambda _: None)
    see(LayerStates(0, one_NTD, two_NTD))
    for index in range(pair.num_blocks):
        is_shared = index < pair.shared_blocks
        two_NTD = two_NTD if is_shared else tuned.after_block(index, two_NTD)
        one_NTD = original.after_block(index, one_NTD)
        two_NTD = one_NTD if is_shared else two_NTD
        see(LayerStates(index + 1, one_NTD, two_NTD))
    if observe:
        normed = (original.normed(one_NTD), tuned.normed(two_NTD))
        observe(LayerStates(pair.num_blocks, *normed, is_normed=True))
    return original, tuned, one_NTD, two_NTD


# A generator in `torch.no_grad` holds what it gave last; so only what it calls is in it.
def paired_logits(
    pair: Pair,
    rows: Sequence[Sequence[int]],
    num_scored: int,
    *,
    observe: Observer | None = None,
) -> Iterator[PairedLogits]:
    """Both models' logits where the last `num_scored` tokens of every row are predicted.

    With `observe` all rows must have one length: it sees each layer's states of all of them. Who
    still holds one while the next are computed takes memory for both: map a function over them.

    Raises:
        InputError: a model is not causal, or `observe` is given and it is of no known family.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_length[len(row)].append(index)
    assert not observe or len(by_length) == 1, "layers are observed for rows of one length"
    device = pair.original.device
    proved = [runs_in_batches(model) for model in (pair.original, pair.tuned)]
    batches = all(proved)
    for length, members in by_length.items():
        assert length > num_scored, "the first token of a row is predicted from nothing"
        size = len(members) if observe else _rows_of(length, device)
        for start in range(0, len(members), size):
            chosen = members[start : start + size]
            ids_BT = torch.tensor([rows[i] for i in chosen], device=device)
            if pair.is_known_family or observe:
                yield from _known(pair, chosen, ids_BT, num_scored, observe)
            else:
                yield from _unknown(pair, chosen, ids_BT, num_scored, batches=batches)


def _rows_of(length: int, device: torch.device) -> int:
    """Rows of so many tokens that run together."""
    tokens = TOKENS_PER_PASS if device.type == "cpu" else TOKENS_ELSEWHERE
    return max(1, tokens // length)


def _known(
    pair: Pair, chosen: list[int], ids_BT: Tensor, num_scored: int, observe: Observer | None
) -> Iterator[PairedLogits]:
    original, tuned, first_BTD, second_BTD = _run_layers(pair, ids_BT, observe)
    scored = slice(-num_scored - 1, -1)
    ends_differ = not (
        _is_same(original.parts.norm, tuned.parts.norm)
        and _is_same(original.parts.head, tuned.parts.head)
    )
    size = rows_per_pass(num_scored, pair.num_logits)
    for start in range(0, len(chosen), size):
        part = slice(start, start + size)
        with torch.no_grad():
            one_RKV = original.parts.logits(first_BTD[part, scored])
            two_RKV = one_RKV
            if second_BTD is not first_BTD or ends_differ:
                two_RKV = tuned.parts.logits(second_BTD[part, scored])
        for n, row in enumerate(chosen[part]):
            one_KV = one_RKV[n]
            two_KV = one_KV if two_RKV is one_RKV else two_RKV[n]
            yield PairedLogits(row, one_KV, two_KV, ids_BT[start + n, -num_scored:])
        del one_RKV, two_RKV, one_KV, two_KV  # before the next rows' exist


def _unknown(
    pair: Pair, chosen: list[int], ids_BT: Tensor, num_scored: int, *, batches: bool
) -> Iterator[PairedLogits]:
    models = (pair.original, pair.tuned)
    size = rows_per_pass(num_scored, max(map(vocabulary_rows, models))) if batches else 1
    for start in range(0, len(chosen), size):
        part_BT = ids_BT[start : start + size]
        with torch.no_grad():
            both = [logits_of(model, part_BT, num_scored + 1)[:, :-1] for model in models]
        for n in range(len(part_BT)):
            target_K = part_BT[n, -num_scored:]
            yield PairedLogits(chosen[start + n], both[0][n], both[1][n], target_K)
        del both


def same_parts(original: CausalLM, tuned: CausalLM) -> tuple[set[int], bool]:
    """The 0-based blocks that hold the same tensors in both, and if final norm and head do."""
    one, two = anatomy(original), anatomy(tuned)
    pairs = zip(one.blocks.values(), two.blocks.values(), strict=True)
    same = {index for index, pair in enumerate(pairs) if _is_same(*pair)}
    return same, _is_same(one.norm, two.norm) and _is_same(one.head, two.head)


@contextmanager
def with_weights(model: CausalLM, weights: Mapping[str, Tensor]) -> Iterator[CausalLM]:
    """`model` with other weights in modules, by their full names, while it lasts.

    Mutates `model` and puts everything back. Tensors that other models share stay as they are.
    """
    base = base_of(model)
    modules = {name: base.get_submodule(name) for name in weights}
    own = {name: module.weight for name, module in modules.items()}
    try:
        for name, module in modules.items():
            like = own[name]
            weight = weights[name].to(like.device, like.dtype)
            module.weight = nn.Parameter(weight, requires_grad=False)
        yield model
    finally:
        for name, module in modules.items():
            module.weight = own[name]


@contextmanager
def exchanged(
    into: CausalLM, source: CausalLM, blocks: Iterable[int], *, ends: bool
) -> Iterator[CausalLM]:
    """`into` with some 0-based blocks of `source`, with `ends` its final norm and head too.

    Mutates `into` and puts everything back. Embeddings stay those of `into`.
    """
    own, other = anatomy(into), anatomy(source)
    base = base_of(into)
    parent = base.get_submodule(next(iter(own.blocks)).rpartition(".")[0])
    norm_owner = base.get_submodule(own.norm_name.rpartition(".")[0])
    norm_name = own.norm_name.rpartition(".")[2]
    others = list(other.blocks.values())
    try:
        for index in blocks:
            parent[index] = others[index]
        if ends:
            setattr(norm_owner, norm_name, other.norm)
            base.set_output_embeddings(other.head)
        yield into
    finally:
        for index, block in enumerate(own.blocks.values()):
            parent[index] = block
        setattr(norm_owner, norm_name, own.norm)
        base.set_output_embeddings(own.head)
