"""Pre-train a small Llama model from a folder of .txt files: how the built-in model was made.

The defaults are the built-in model's: 12 blocks of width 128, 4 heads (2 for keys and values),
MLP 352, tied embeddings, byte-level BPE of 4,096; 2.74 M parameters, context 512. It saw 17.5 M
tokens of 96 public-domain novels once, about an hour on two CPU cores, and reached 4.10 nats per
token on 4 held-out novels. What its record leaves open is settled here: the warm-up, which novels
are held out, how paragraphs are found, which part of a novel is read. So this makes a model like
it, not the same bytes; and either is a laboratory animal, not a writer.

A novel longer than the equal share of --tokens gives its last tokens, so that end-of-text stands
where it ends; held-out novels are cut alike. Weight decay reaches the matrices inside the blocks,
not the embeddings (which are also the output matrix) and not the norms. The seed settles the
held-out files, the first weights and the order of the windows: the same CPU, versions and number
of threads repeat every bit, a GPU may not. No second pass, no resuming, no search for settings.

A GPU can afford a better one. A model that ships in the package has 12 blocks or more, at most
8 M parameters and at most 16 MB, so a larger one is stored in half precision, for example
`--width 256 --heads 8 --mlp 512 --bf16 --storage bfloat16`. Whatever is reported is measured on
the weights as stored.

Shape letters: B windows of a batch, N windows in all, S tokens of texts, T tokens of a window.
"""

import math
import sys
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hyperfitting.config import ModelConfig
from hyperfitting.errors import InputError
from hyperfitting.generate.decode import decode
from hyperfitting.models.devices import choose_device
from hyperfitting.models.forward import window_losses
from hyperfitting.models.interface import logits_of
from hyperfitting.models.load import load_tokenizer, quiet_transformers
from hyperfitting.progress import Stage
from hyperfitting.storage import write_json
from hyperfitting.train.loop import epoch_order

END = "<|endoftext|>"  # the first token of the vocabulary: id 0
CONTEXT = 512
STRAIGHT = str.maketrans("‘’‚‛“”„‟", "''''\"\"\"\"")
WIDEST_WRAP = 120  # characters; a file of longer lines has one paragraph per line already
LEAST_BLANK = 0.02  # of all lines; a wrapped file with fewer does not part paragraphs by them
WARM_UP, DECAY = 0.02, 0.4  # of all steps
PROMPTS = ("It was a dark evening, and", '"I do not know," said she,', "The old man looked at")
SECONDS_BETWEEN_LINES = 5.0
STORAGE = ("float32", "float16", "bfloat16")
say = partial(print, flush=True)


class Lines(Stage):
    """Says every few seconds how far a stage is, how fast, and how long it will take yet."""

    def __init__(self, title: str, total: int, tokens_each: int = 0) -> None:
        super().__init__(title, total)
        self.count, self.tokens_each = total, tokens_each
        self.start = self.last = time.perf_counter()

    def update(self, done: int, note: str = "") -> None:
        """Print a line where one is due."""
        now = time.perf_counter()
        if done < self.count and now - self.last < SECONDS_BETWEEN_LINES:
            return
        self.last, each = now, (now - self.start) / done
        speed = f"{self.tokens_each / each:,.0f} tokens/s" if self.tokens_each else ""
        left = f"{math.ceil(each * (self.count - done))} s left"
        say("  ".join(filter(None, [f"  {self.title} {done}/{self.count}", note, speed, left])))


def ends_paragraph(line: str, following: str, width: float) -> bool:
    """Whether a wrapped line closes a sentence and had room for the word that comes next."""
    return line[-1] in ".!?:\"'" and len(line) + 1 + len(following.split()[0]) <= width


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text: hard wraps joined, quotes straight, single spaces."""
    lines = [" ".join(line.split()) for line in text.translate(STRAIGHT).strip().split("\n")]
    width = float(np.quantile([len(line) for line in lines if line] or [0], 0.9))
    if width > WIDEST_WRAP:
        return [line for line in lines if line]
    spaced = lines.count("") > LEAST_BLANK * len(lines)
    found: list[list[str]] = [[]]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line:
            found[-1].append(line)
        if not line or (following and not spaced and ends_paragraph(line, following, width)):
            found.append([])
    return [" ".join(wrapped) for wrapped in found if wrapped]


def read_text(path: Path) -> str:
    """A text file, one paragraph per line; refused where it is not UTF-8."""
    try:
        return "\n".join(paragraphs(path.read_text(encoding="utf-8-sig")))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read: {error}", needed="text in UTF-8") from None


def split_files(folder: Path, num_heldout: int, seed: int) -> tuple[list[Path], list[Path]]:
    """Files to train on and files held out; refused where they are too few."""
    files = sorted(folder.glob("*.txt"))
    if len(files) <= num_heldout:
        raise InputError(
            f"{folder} holds {len(files)} .txt files" if files else f"no .txt file in {folder}",
            needed=f"at least {num_heldout + 1} files, because {num_heldout} are held out",
            hint="one novel per file; --heldout-files sets how many are held out",
        )
    drawn = set(np.random.default_rng(seed).permutation(len(files))[:num_heldout].tolist())
    kept = [file for i, file in enumerate(files) if i not in drawn]
    return kept, [file for file in files if file not in kept]


def claim(out: Path) -> None:
    """Make the output folder before anything slow happens; refused where it holds something."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} is not an empty folder", needed="a new or empty one for --out")
    out.mkdir(parents=True, exist_ok=True)


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """A byte-level BPE of the texts with one special token, which begins, ends and pads."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((line for text in texts for line in text.split("\n")), trainer)
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token"), END)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def encode(tokenizer: Any, texts: Sequence[str], title: str) -> list[NDArray[np.int64]]:
    """Token ids of every text, each closed by the end-of-text token."""
    stage, encoded = Lines(title, len(texts)), []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        encoded.append(np.array([*ids, tokenizer.eos_token_id], dtype=np.int64))
        stage.update(len(encoded))
    return encoded


def equal_share(lengths: Sequence[int], tokens: int) -> int:
    """The most tokens each text may give so that all together give at most `tokens`."""
    left = tokens
    for shorter, length in enumerate(sorted(lengths)):  # the short ones give all they have
        share = left // (len(lengths) - shorter)
        if share <= length:
            return share
        left -= length
    return max(lengths)


def cut_windows(encoded: Sequence[NDArray[np.int64]], share: int, width: int) -> NDArray[np.int64]:
    """Windows of the texts' last `share` tokens, [N, T]; refused where not one is filled."""
    ids_S = np.concatenate([text_S[max(0, len(text_S) - share) :] for text_S in encoded])
    if len(ids_S) < width:
        raise InputError(
            f"{len(encoded)} texts give {len(ids_S)} tokens, at most {share} each",
            needed=f"at least one window of {width} tokens",
            hint="raise --tokens, add texts or lower --window",
        )
    return ids_S[: len(ids_S) // width * width].reshape(-1, width)


def build_model(settings: Namespace, tokenizer: Any) -> Any:
    """A Llama model whose weights are drawn from the seed; refused where sizes do not match."""
    if settings.width % (2 * settings.heads) or settings.heads % settings.kv_heads:
        raise InputError(
            f"width {settings.width}, {settings.heads} heads, {settings.kv_heads} KV heads",
            needed="a width of heads x an even number, and heads that the KV heads divide",
        )
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    special = dict.fromkeys(names, tokenizer.eos_token_id)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.mlp,
        num_hidden_layers=settings.blocks,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.kv_heads,
        max_position_embeddings=max(CONTEXT, settings.window),
        tie_word_embeddings=True,
        **special,
    )
    torch.manual_seed(settings.seed)
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(**special)
    return model


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Rate of the step numbered from 0: linear warm-up, constant, linear decay."""
    rising = (step + 1) / max(1, round(WARM_UP * steps))
    falling = (steps - step) / max(1, round(DECAY * steps))
    return peak * min(1.0, rising, falling)


def make_optimizer(model: Any) -> torch.optim.AdamW:
    """AdamW that lets only the matrices inside the blocks decay."""
    decays = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    groups = [{"params": decays, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)


def train(model: Any, windows_NT: NDArray[np.int64], settings: Namespace) -> None:
    """One pass over the windows in the seed's order; refused where the loss is not finite."""
    half = settings.bf16 and model.device.type == "cuda"
    optimizer, recent = make_optimizer(model.train()), deque[float](maxlen=20)
    order = epoch_order(settings.seed, 0, len(windows_NT))
    steps = math.ceil(len(order) / settings.batch)
    stage = Lines("step", steps, settings.batch * settings.window)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, settings.learning_rate)
        chosen = order[step * settings.batch : (step + 1) * settings.batch]
        ids_BT = torch.from_numpy(windows_NT[chosen]).to(model.device)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=half):
            logits_BTV = logits_of(model, ids_BT, ids_BT.shape[1])[:, :-1]
        targets = ids_BT[:, 1:].flatten()
        loss = torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        recent.append(loss.item())
        if not math.isfinite(recent[-1]):
            raise InputError(f"the loss is {recent[-1]}", hint="lower --learning-rate")
        stage.update(step + 1, f"loss {np.mean(recent):.3f}")


def say_samples(model: Any, tokenizer: Any) -> None:
    """Print what the model makes of the fixed prompts, greedily."""
    say("greedy samples after the bar (a slash stands for a line break):")
    contexts = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in PROMPTS]
    decoded = decode(model, contexts, max_new_tokens=48, ends=[tokenizer.eos_token_id])
    for prompt, continuation in zip(PROMPTS, decoded, strict=True):
        text = prompt + "|" + tokenizer.decode(continuation.ids)
        say("  " + text.replace("\n", " / "))


def prepare(
    settings: Namespace,
) -> tuple[Any, NDArray[np.int64], NDArray[np.int64], dict[str, Any]]:
    """Tokenizer, windows to train on, windows held out, and what to record of them."""
    files, heldout_files = split_files(settings.folder, settings.heldout_files, settings.seed)
    claim(settings.out)
    texts, heldout = ([read_text(f) for f in group] for group in (files, heldout_files))
    say(f"texts: {len(files)}, {sum(map(len, texts)) / 1e6:.2f} M characters")
    say(f"held out: {', '.join(file.stem for file in heldout_files)}")
    if settings.tokenizer:
        tokenizer = load_tokenizer(ModelConfig(name=str(settings.tokenizer)))
    else:
        say("training the tokenizer: about half a second per million characters")
        tokenizer = train_tokenizer(texts, settings.vocabulary)
    encoded = encode(tokenizer, texts, "encoded")
    share = equal_share([len(text_S) for text_S in encoded], settings.tokens)
    train_NT = cut_windows(encoded, share, settings.window)
    heldout_NT = cut_windows(encode(tokenizer, heldout, "held out"), share, settings.window)
    say(f"training on {train_NT.size:,} tokens: the last {share:,} of each text, or all it has")
    record = {
        "tokens": train_NT.size,
        "tokens_per_text_at_most": share,
        "heldout_texts": [file.stem for file in heldout_files],
        "heldout_tokens": heldout_NT.size,
    }
    return tokenizer, train_NT, heldout_NT, record


def pretrain(settings: Namespace) -> None:
    """From the folder of texts to the folder of the model."""
    start = time.perf_counter()
    device = choose_device(ModelConfig(name="new", device=settings.device))
    tokenizer, train_NT, heldout_NT, record = prepare(settings)
    model = build_model(settings, tokenizer).to(device)
    say(f"model: {model.num_parameters():,} parameters on {device.type}")
    train(model, train_NT, settings)
    with quiet_transformers():
        model.eval().to(getattr(torch, settings.storage)).save_pretrained(settings.out)
    tokenizer.save_pretrained(settings.out)
    model.float()
    stage = Lines("held-out window", len(heldout_NT), settings.window)
    length_N = np.full(len(heldout_NT), settings.window)
    label_NT = np.ones_like(heldout_NT, dtype=bool)
    loss = window_losses(model, heldout_NT, label_NT, length_N, stage).mean()
    say(f"validation loss: {loss:.3f} nats per token on {heldout_NT.size:,} held-out tokens")
    say_samples(model, tokenizer)
    record |= {
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in vars(settings).items()},
        "parameters": model.num_parameters(),
        "validation_loss_nats": float(loss),
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, tokenizers, np)},
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    write_json(settings.out / "training.json", record)
    say(f"wrote {settings.out} after {record['seconds']} s")


def count(text: str) -> int:
    """A whole number above zero, as argparse wants it."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def parse(arguments: Sequence[str] | None) -> Namespace:
    """Settings from the command line; the defaults are those of the built-in model."""
    parser = ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, help="folder of .txt files, one novel each")
    add("--out", type=Path, required=True, help="new folder for the model")
    add("--blocks", type=count, default=12, help="transformer blocks")
    add("--width", type=count, default=128, help="width of the residual stream")
    add("--heads", type=count, default=4, help="query heads per block")
    add("--kv-heads", type=count, default=2, help="key and value heads per block")
    add("--mlp", type=count, default=352, help="width inside the MLP")
    add("--vocabulary", type=count, default=4096, help="tokens of a newly trained tokenizer")
    add("--tokens", type=count, default=17_500_000, help="most tokens to train on")
    add("--heldout-files", type=count, default=4, help="texts held out")
    add("--window", type=count, default=256, help="tokens per window")
    add("--batch", type=count, default=16, help="windows per step")
    add("--learning-rate", type=float, default=4e-3, help="peak rate")
    add("--seed", type=int, default=0, help="of held-out files, weights and window order")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to train")
    add("--tokenizer", type=Path, help="model folder whose tokenizer is used, not a new one")
    add("--bf16", action="store_true", help="compute in bfloat16 autocast on CUDA")
    add("--storage", choices=STORAGE, default=STORAGE[0], help="of the saved weights")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 2 is wrong input."""
    try:
        pretrain(parse(arguments))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
