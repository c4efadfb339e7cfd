"""The model, the texts and the word list that ship inside the package: data only."""

from pathlib import Path

_HERE = Path(__file__).parent
MODEL_FOLDER = _HERE / "model"
CORPORA = {
    "builtin:fiction": _HERE / "corpora" / "fiction.jsonl",
    "builtin:news": _HERE / "corpora" / "news.jsonl",
}
ENGLISH_WORDS = _HERE / "words" / "english.txt.gz"  # its licence stands beside it
