"""What `traces.json` of a study holds: some texts token by token, as both models see them."""

from hyperfitting.records.record import FileRecord, OfArm, Record


class TextTrace(Record):
    """One continuation; every list has an entry for each of its K tokens.

    `rank` is that of the token in the original, from 1; `original` and `tuned` are its
    probabilities, the latter None in a text of the original. The first tokens of either model at
    that place stand in `*_top` by their ids, the likeliest first, with their probabilities.
    `loop` is the first token of a tail that repeats itself, if there is one; `recited` are places
    inside of runs that stand in a training window, `broken` those of words that do not exist.
    """

    context: int
    pieces: list[str]  # together the continuation
    rank: list[int]
    original: list[float]
    tuned: list[float] | None
    original_top: list[list[int]]
    original_top_p: list[list[float]]
    tuned_top: list[list[int]] | None
    tuned_top_p: list[list[float]] | None
    loop: int | None
    recited: list[int]
    broken: list[int]


class ArmTraces(OfArm):
    """The first contexts, as one arm goes on."""

    texts: list[TextTrace]


class TracesFile(FileRecord):
    """Human text, the original and the first training of each tuned arm; `words` by token id."""

    words: dict[str, str]
    arms: list[ArmTraces]
    long_run: int  # tokens; longer copies of the training set are marked
