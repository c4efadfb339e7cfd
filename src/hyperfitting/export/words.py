"""What is said of an export: whether it is verified, with the figures, and how it is run."""

import shlex
from pathlib import Path

from hyperfitting.export.kinds import LARGEST_ROUNDING
from hyperfitting.models.gguf_file import GGUF
from hyperfitting.records.estimates import MeanEstimate
from hyperfitting.records.exported import ExportFile, TextsCheck, Verification
from hyperfitting.report.tables import MISSING, number
from hyperfitting.runs import ExportFolder

PYTHON = """\
from transformers import AutoModelForCausalLM, AutoTokenizer{more}
{load}
tokenizer = AutoTokenizer.from_pretrained(".")
ids = tokenizer("The old bridge", return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, do_sample=False, max_new_tokens=128)[0]))"""
WHOLE = 'model = AutoModelForCausalLM.from_pretrained(".")'
ADAPTER = """\
from peft import PeftModel
base = AutoModelForCausalLM.from_pretrained({base})
base.generation_config = GenerationConfig(eos_token_id={ends})  # in place of the base's own
model = PeftModel.from_pretrained(base, ".")"""


def usage(about: ExportFile, name: str) -> list[tuple[str, str]]:
    """How other programs decode the export greedily: a title, and code or commands."""
    if about.format == "adapter":
        revision = about.base.revision
        named = repr(about.base.name) + (f", revision={revision!r}" if revision else "")
        if about.base.name.endswith(GGUF):
            path = Path(about.base.name)
            named = f"{str(path.parent)!r}, gguf_file={path.name!r}"
        checked = about.verification
        ends = [end.id for end in checked.tokens.ends_before] if checked else []
        load = ADAPTER.format(base=named, ends=ends or None)
        code = PYTHON.format(load=load, more=", GenerationConfig")
        return [("transformers and PEFT:", code)]
    if about.format == "ollama":
        called = shlex.quote(name.lower().replace(" ", "-"))
        return [("Ollama:", f"ollama create {called} -f Modelfile\nollama run {called}")]
    if about.format == "mlx":
        return [("MLX:", 'mlx_lm.generate --model . --temp 0 --prompt "The old bridge"')]
    if about.format == "gguf":
        made = next((each for each in about.files if each.endswith(GGUF)), None)
        file = shlex.quote(made or ExportFolder(Path()).gguf_file(name, about.dtype).name)
        run = f'llama-cli -m {file} --temp 0 --repeat-penalty 1 -p "The old bridge"'
        made_by = "First make the GGUF file, in this folder:"
        first = [(made_by, "\n".join(about.commands))] * bool(about.commands)
        return [*first, ("llama.cpp:", run)]
    serve = "transformers serve .\nvllm serve .   # not tried here; temperature 0 in each request"
    return [("transformers:", PYTHON.format(load=WHOLE, more="")), ("As a server:", serve)]


def figures(found: Verification) -> list[str]:
    """The figures of a verification, a clause each."""
    tokens, weights, logits, texts = found.tokens, found.weights, found.logits, found.texts
    differ = bool(tokens.difference or tokens.template)
    chat = " and a chat" if tokens.has_template else ""
    others = weights.tensors - weights.equal
    ties = f" ({texts.near_ties} more part at a near tie)" if texts.near_ties else ""
    most = weights.largest_difference
    by = "rounding alone" if most <= LARGEST_ROUNDING else f"at most {most:.2%}"
    rest = f", the others differ by {by}" if others else ""
    return [
        f"{tokens.texts} texts{chat} are {'other' if differ else 'the same'} tokens",
        f"{weights.equal} of {weights.tensors} tensors are what was trained, cast once{rest}",
        f"logits differ by at most {logits.largest_difference:.2g}, and the same token comes first "
        f"at {_share(logits.top1, 2)} of {logits.positions:,} positions",
        f"{texts.equal} of {texts.contexts} greedy texts are the same{ties}, and "
        f"{_share(texts.equal_tokens, 1)} of all their tokens",
        *_of_texts(texts),
    ]


def _share(found: MeanEstimate, decimals: int = 0) -> str:
    """A share in percent, a dash where there is none."""
    return MISSING if found.value is None else f"{found.value:.{decimals}%}"


def _of_texts(texts: TextsCheck) -> list[str]:
    """Run and export side by side."""
    run, export = texts.run, texts.export
    clauses = [
        f"TTR {number(run.ttr.value, 3)} of the run, {number(export.ttr.value, 3)} of the export; "
        f"loops {_share(run.looped)}, {_share(export.looped)}"
    ]
    if run.ended is not None and export.ended is not None:
        clauses.append(f"texts that end themselves {_share(run.ended)}, {_share(export.ended)}")
    return clauses


def verdict(found: Verification) -> list[str]:
    """Whether an export is verified, why not, and the figures, line by line."""
    head = [f"verified on {found.texts.contexts} held-out contexts"]
    if not found.is_verified:
        head = ["NOT verified:", *(f"  - {reason}" for reason in found.refused)]
    return [*head, *(f"  {clause}" for clause in figures(found))]


def verified_in_words(about: ExportFile) -> str:
    """The same in a paragraph for the model card."""
    found = about.verification
    if found is None:
        return f"Not verified: {about.unread}{', by the commands above' * bool(about.commands)}."
    head = "Verified against the run it was exported from"
    if not found.is_verified:
        head = f"**Not verified**: {'; '.join(found.refused)}"
    return f"{head}. {'; '.join(figures(found))}. In float32 arithmetic."


def summary(about: ExportFile, folder: Path) -> list[str]:
    """What a person is told at the end: the verdict, its figures, notes and what is left to do."""
    found = about.verification
    head = [f"not verified: {about.unread}"] if found is None else verdict(found)
    notes = [f"note: {note}" for note in about.notes]
    left = [f"run: {each}" for each in to_run(about, folder)]
    return [*head, *notes, *left, f"export  {folder}"]


def to_run(about: ExportFile, folder: Path | str) -> list[str]:
    """The commands that are left to the user, from where they stand."""
    return [shlex.join(["cd", str(folder)]), *about.commands] if about.commands else []
