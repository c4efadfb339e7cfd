"""Whether llama.cpp itself writes from an exported GGUF file what the run wrote.

    pip install llama-cpp-python
    python benchmarks/llama_cpp_answers.py RUN FILE.gguf [--lora ADAPTER.gguf] [--contexts 20]

`export` reads a GGUF file back through transformers, in float32. Here llama.cpp reads the texts
and writes, greedily and with its own products: how many held-out contexts it reads as the same
tokens, how many texts are the same to the last token, and TTR and loops of both. An exported
adapter: FILE is the base, ADAPTER what convert_lora_to_gguf.py of llama.cpp makes of it.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from common import Result, about, finish, note, parser_of, versions_in_words
from numpy.typing import NDArray

from hyperfitting.config import ModelConfig
from hyperfitting.data.store import load_dataset
from hyperfitting.generate.decode import decode
from hyperfitting.generate.verb import open_model
from hyperfitting.measure.text import loop_period, type_token_ratio
from hyperfitting.models.tokens import Tokens
from hyperfitting.runs import RunFolder

LENGTH = 96


def of_the_run(run: str, count: int) -> tuple[Tokens, list[list[int]], list[list[int]]]:
    """Its tokens, held-out contexts, and what it writes after them."""
    model, tokenizer = open_model(ModelConfig(name=run))
    tokens = Tokens.of(model, tokenizer)
    contexts = load_dataset(RunFolder(Path(run)).windows_file).contexts.first(count).contexts
    banned = [*tokens.banned("natural"), *tokens.ends]
    found = decode(model, contexts, max_new_tokens=LENGTH, ends=[], banned=banned)
    return tokens, contexts, [text.ids for text in found]


def of_llama_cpp(
    file: str, lora: str | None, tokens: Tokens, contexts: Sequence[Sequence[int]]
) -> tuple[int, list[list[int]]]:
    """How many contexts it reads as the same tokens, and what it writes after each."""
    from llama_cpp import Llama, LogitsProcessorList

    room = len(contexts[0]) + LENGTH + 8
    model = Llama(file, n_ctx=room, lora_path=lora, verbose=False)
    banned = [*tokens.banned("natural"), *tokens.ends]

    def without_ends(_: object, logits_V: NDArray[np.float32]) -> NDArray[np.float32]:
        logits_V[banned] = -np.inf  # as in the run: a text of fixed length has no end in it
        return logits_V

    read, texts = 0, []
    for context in contexts:
        text = tokens.tokenizer.decode(list(context), skip_special_tokens=True)
        own = tokens.tokenizer(text, add_special_tokens=False)["input_ids"]
        read += model.tokenize(str(text).encode(), add_bos=False) == own
        model.reset()
        stream = model.generate(
            list(context),
            temp=0.0,
            repeat_penalty=1.0,
            logits_processor=LogitsProcessorList([without_ends]),
        )
        texts.append([next(stream) for _ in range(LENGTH)])
    return read, texts


def measured(texts: Sequence[Sequence[int]]) -> dict[str, float]:
    """Mean TTR and share of looped texts."""
    ttr = [type_token_ratio(list(text)) or 0.0 for text in texts]
    return {
        "ttr": float(np.mean(ttr)),
        "looped": float(np.mean([loop_period(list(text)) is not None for text in texts])),
    }


def show(result: Result) -> None:
    """As lines."""
    print(f"{result['file']}, {versions_in_words(result)}, {result['contexts']} contexts")
    print(f"read as the same tokens: {result['read']}")
    print(f"same greedy texts: {result['equal']}; same tokens: {result['equal_tokens']:.3f}")
    for name in ("run", "llama_cpp"):
        print(f"{name}: TTR {result[name]['ttr']:.3f}, loops {result[name]['looped']:.2f}")


def main() -> None:
    """Write with both and print the comparison."""
    parser = parser_of(__doc__, quick="three contexts")
    parser.add_argument("run")
    parser.add_argument("file")
    parser.add_argument("--lora", help="an adapter's GGUF file, on the base model's")
    parser.add_argument("--contexts", type=int, default=20)
    settings = parser.parse_args()
    if find_spec("llama_cpp") is None:
        note("llama-cpp-python is not installed: pip install llama-cpp-python (it is compiled)")
        sys.exit(2)
    tokens, contexts, ours = of_the_run(settings.run, 3 if settings.quick else settings.contexts)
    read, theirs = of_llama_cpp(settings.file, settings.lora, tokens, contexts)
    pairs = list(zip(ours, theirs, strict=True))
    same = [np.mean([a == b for a, b in zip(*pair, strict=True)]) for pair in pairs]
    result = {
        **about(("llama_cpp_python", "torch")), "file": Path(settings.file).name,
        "contexts": len(contexts), "read": read, "equal_tokens": float(np.mean(same)),
        "equal": sum(a == b for a, b in pairs),
        "run": measured(ours), "llama_cpp": measured(theirs),
    }  # fmt: skip
    finish(settings, result, show)


if __name__ == "__main__":
    main()
