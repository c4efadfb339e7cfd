"""Speed of hybrids that write together against hybrids that write one by one.

The block swap and the single blocks of `hyperfit explain` on a random Llama model: every hybrid
continues the same contexts greedily. Together, each block of either model runs once a step on the
rows that have it; one by one, every hybrid is a model of its own. Interleaved repeats, medians; the
texts are compared. A ratio above 1 means together is faster.
"""

import argparse
from typing import Any

from common import (
    Result,
    about,
    add_sizes,
    add_threads,
    finish,
    interleaved_medians,
    parser_of,
    random_llama,
    versions_in_words,
)

PACKAGES = ("torch", "transformers")


def every_hybrid(num_blocks: int) -> list[Any]:
    """Those of the block swap and of the single blocks."""
    from hyperfitting.models.routed import HybridParts

    whole = frozenset(range(num_blocks))
    found = []
    for is_tuned in (False, True):
        below = whole if is_tuned else frozenset()
        for j in range(num_blocks + 1):
            found.append(
                HybridParts(is_tuned, below ^ frozenset(range(num_blocks - j, num_blocks)),
                            not is_tuned)
            )  # fmt: skip
        found += [HybridParts(is_tuned, below ^ {block}, is_tuned) for block in range(num_blocks)]
    return found


def run(settings: argparse.Namespace) -> Result:
    """Time both ways."""
    import torch

    from hyperfitting.generate.decode import decode
    from hyperfitting.generate.feed import feed_of
    from hyperfitting.generate.ways import even_batches
    from hyperfitting.models.pair import make_pair
    from hyperfitting.models.routed import routed

    torch.set_num_threads(settings.threads)
    sizes = {"vocabulary": settings.vocabulary, "hidden": settings.hidden}
    original, tuned = (
        random_llama(**sizes, blocks=settings.blocks, positions=256, seed=seed) for seed in (0, 1)
    )
    pair, hybrids = make_pair(original, tuned), every_hybrid(settings.blocks)
    generator = torch.Generator().manual_seed(0)
    shape = (settings.contexts, settings.context)
    contexts = torch.randint(settings.vocabulary, shape, generator=generator).tolist()
    feed = feed_of(original)
    texts: dict[str, list[list[int]]] = {}

    def write(model: Any, rows: list[list[int]]) -> list[list[int]]:
        options: dict[str, Any] = {"max_new_tokens": settings.tokens, "batch_size": settings.batch}
        return [text.ids for text in decode(model, rows, feed=feed, **options)]

    def one_by_one() -> None:
        texts["one by one"] = []
        for hybrid in hybrids:
            with hybrid.made(pair) as model:
                texts["one by one"] += write(model, contexts)

    def together() -> None:
        texts["together"] = []
        rows = [(hybrid, context) for hybrid in hybrids for context in contexts]
        for places in even_batches(len(rows), settings.batch):
            part = rows[places.start : places.stop]
            with routed(pair, [hybrid for hybrid, _ in part]) as model:
                texts["together"] += write(model, [context for _, context in part])

    tasks = {"one by one": one_by_one, "together": together}
    seconds = interleaved_medians(tasks, settings.repeats)
    equal = [a == b for a, b in zip(texts["one by one"], texts["together"], strict=True)]
    return about(PACKAGES) | {
        "settings": {k: v for k, v in vars(settings).items() if isinstance(v, int)},
        "hybrids": len(hybrids),
        "seconds": seconds,
        "ratio": seconds["one by one"] / seconds["together"],
        "equal_texts": sum(equal) / len(equal),
    }


def show(result: Result) -> None:
    """The result as text."""
    one, both = (result["seconds"][name] for name in ("one by one", "together"))
    print(f"{versions_in_words(result)}, {result['machine']}")
    print(f"{result['hybrids']} hybrids, one by one {one:.1f} s, together {both:.1f} s: "
          f"ratio {result['ratio']:.2f}; equal texts {result['equal_texts']:.3f}")  # fmt: skip


def main() -> None:
    """Parse, run, print."""
    parser = parser_of(__doc__)
    add_threads(parser)
    fill = add_sizes(
        parser,
        {
            "vocabulary": (2_000, 200, ""),
            "hidden": (128, 32, "width"),
            "blocks": (12, 3, ""),
            "contexts": (60, 4, ""),
            "context": (32, 8, "tokens of a context"),
            "tokens": (96, 8, "that are written"),
            "batch": (256, 16, "rows that run together"),
            "repeats": (3, 1, ""),
        },
    )
    settings = parser.parse_args()
    fill(settings)
    finish(settings, run(settings), show)


if __name__ == "__main__":
    main()
