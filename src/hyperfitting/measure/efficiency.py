"""When training is worth its time: definitions, section 7.5. Pure; E monitored epochs in order."""

from collections.abc import Sequence

USEFUL_SHARE = 0.95  # of the largest TTR


def epoch_ttr_doubled(epochs: Sequence[int], ttrs: Sequence[float]) -> int | None:
    """The first monitored epoch whose TTR is at least twice that of the first; None if none is.

    Definitions, section 7.5. The first is epoch 0, the original.
    """
    doubled = (e for e, ttr in zip(epochs, ttrs, strict=True) if ttr >= 2 * ttrs[0])
    return next(doubled, None) if ttrs and ttrs[0] > 0 else None


def useful_range(epochs: Sequence[int], ttrs: Sequence[float]) -> tuple[int, int] | None:
    """First and last monitored epoch with at least 95 % of the largest TTR; None of no epochs.

    Definitions, section 7.5.
    """
    if not ttrs:
        return None
    good = [e for e, t in zip(epochs, ttrs, strict=True) if t >= USEFUL_SHARE * max(ttrs)]
    return good[0], good[-1]
