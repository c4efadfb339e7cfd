"""Studies in which much is undefined, run through every stage that writes or reads a folder."""

import html
import json
import re

import numpy as np

from hyperfitting.config.judge import JudgeConfig
from hyperfitting.evaluate.verb import evaluate
from hyperfitting.explain.verb import write_explanation
from hyperfitting.judge.verb import judge
from hyperfitting.progress import Progress
from hyperfitting.records.study import Account
from hyperfitting.runs import StudyFolder
from tests.comparing import EVALUATE, EXPLAIN, changed, comparison, dataset, sharper, windows
from tests.judge.serving import serving, verdict
from tests.tiny import byte_tokenizer, tiny_model

# Words of a programming language in the place of a number. "None" is also a word of English.
BROKEN = re.compile(r"\b(nan|NaN|inf|-inf|Infinity|None(?! of)|null|Traceback|TypeError)\b")


def save(model, folder):
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def one_block(seed=None):
    """A model of one block; with a seed its block differs."""
    model = tiny_model(blocks=1)
    if seed is not None:
        other = tiny_model(blocks=1, seed=seed)
        model.model.layers[0].load_state_dict(other.model.layers[0].state_dict())
    return model


def short(contexts, context, continuation):
    """Contexts of so many tokens with so many after them."""
    data = dataset(contexts)
    rows = windows(contexts, context + continuation, seed=9).ids_NT.tolist()
    data.contexts.contexts[:] = [row[:context] for row in rows]
    data.contexts.continuations[:] = [row[context:] for row in rows]
    return data


# name: original, tuned, held-out set
CASES = {
    "one context": (tiny_model, changed, lambda: dataset(1)),
    "two contexts": (tiny_model, changed, lambda: dataset(2)),
    "three contexts": (tiny_model, changed, lambda: dataset(3)),
    "one block": (one_block, lambda: one_block(7), dataset),
    "the same model": (tiny_model, tiny_model, dataset),
    "the same model, one context": (tiny_model, tiny_model, lambda: dataset(1)),
    "doubled logits": (tiny_model, sharper, dataset),
    "doubled logits, two contexts": (tiny_model, sharper, lambda: dataset(2)),
    "beyond any temperature": (tiny_model, lambda: sharper(1e4), dataset),
    "texts of two tokens": (tiny_model, changed, lambda: short(3, 1, 2)),
}


def run_case(name, folder, monkeypatch):
    """Evaluate, explain, judge and report one case; returns the study's folder."""
    original, tuned, data = CASES[name]
    compared = comparison(save(original(), folder / "original"), tuned, data=data())
    compared.data.update(windows="documents", context_tokens=6, continuation_tokens=10)
    compared.dataset.account.update(dict.fromkeys(Account.model_fields, 0))
    study = StudyFolder(folder / "study")
    evaluate(compared, EVALUATE, study.path)
    write_explanation(study, compared, EXPLAIN, Progress())
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(key="secret-key", answer=lambda _: json.dumps(verdict("tie"))) as server:
        settings = JudgeConfig(a="tuned", b="original", model="scripted", endpoint=server.url)
        judge(study.path, settings)
    return study


def page_text(study):
    """The words of a page, without markup, styles and figures."""
    page = study.report_file.read_text()
    page = re.sub(r"<(style|svg).*?</\1>", " ", page, flags=re.DOTALL)
    # What models wrote proves nothing about us.
    page = re.sub(r'<section id="(examples)">.*?</section>', " ", page, flags=re.DOTALL)
    page = re.sub(r"<script.*?</script>", " ", page, flags=re.DOTALL)
    titles = " ".join(re.findall(r"</summary><span>(.*?)</span>", page, flags=re.DOTALL))
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page) + titles).split())


def every_number(content, path=()):
    """The path of every number of a JSON file; of a list its first entry that has it."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from every_number(value, (*path, key))
    elif isinstance(content, list):
        seen = set()
        for place, value in enumerate(content):
            for found in every_number(value, (*path, place)):
                kind = tuple("*" if isinstance(step, int) else step for step in found)
                if kind not in seen:
                    seen.add(kind)
                    yield found
    elif isinstance(content, int | float | np.number) and not isinstance(content, bool):
        yield path
