"""Counts of tokens as a server states them, which may be anything. Pure."""

MOST_TOKENS = 10**9  # a thousand times the longest context


def counted(value: object) -> int | None:
    """A count of tokens; None where a server stated something that is none.

    Some servers write 400 as 400.0. A fraction, true, a text, and what is negative, endless or
    beyond any context were not counted.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= MOST_TOKENS or value != int(value):
        return None
    return int(value)
