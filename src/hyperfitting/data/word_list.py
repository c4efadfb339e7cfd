"""The English word list that ships with the package."""

import gzip
from functools import cache

from hyperfitting.builtin import ENGLISH_WORDS


@cache
def english_words() -> frozenset[str]:
    """115,780 English words, lower-cased, with their inflections, without names; read once.

    SCOWL's sizes 10 to 70, American, British, Canadian and Australian (`recipes/word_list.py`).
    """
    return frozenset(gzip.decompress(ENGLISH_WORDS.read_bytes()).decode("utf-8").split())
