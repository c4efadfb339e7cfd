"""From figures to findings, and to the cheapest thing that would help. Pure; limits are ours."""

from collections.abc import Sequence

from hyperfitting.records.diagnosed import Diagnosis, Finding, Looped, Reading, Tried
from hyperfitting.records.estimates import MeanEstimate

RARELY, OFTEN = 0.1, 0.3  # shares of texts that loop: below, nobody minds; above, everybody does
# By how much the likelihood of human text falls short of what the model itself expects of its
# predictions, in nats: near 0 for a model that knows what it does not know.
OVERCONFIDENT = 2.0
# What human text costs, in what guessing among all tokens would: a model that knows nothing, and
# one that knows worse than that, beyond any that was trained to be sure of itself.
NOTHING, WORSE = 0.95, 2.0
LESS_LIKELY = 1.0  # nats per token below human text: no longer a text of this model's language
MORE_BROKEN = 0.02  # share of words that do not exist, above that of human text
LONG_ANSWER = 128  # tokens within which a chat that knows its end has ended at least once
LEAST_TOP1 = 0.95  # of choices that 16 bits have to leave as they are


def value(estimate: MeanEstimate) -> float:
    """A share or mean that is defined wherever there are texts."""
    assert estimate.value is not None
    return estimate.value


def gap(reading: Reading) -> float:
    """How much less likely human text is than the model expects, nats per token."""
    return value(reading.nll) - value(reading.entropy)


def is_hyperfitted(found: Diagnosis) -> bool:
    """Whether it looks trained to near-zero loss: no loops, sure of itself, wrong about text."""
    return (
        gap(found.reading) >= OVERCONFIDENT
        and loops(found) <= RARELY
        and why_unfit(found.reading) is None
    )


def why_unfit(read: Reading) -> str | None:
    """Why it cannot be a model of such texts, from what they cost it; None where it may be."""
    cost = value(read.nll) / read.guessing
    guess = f"guessing among all its tokens costs {read.guessing:.2f}"
    if cost > WORSE:
        return f"{guess}: its weights, or its tokenizer, are not what was trained"
    if cost >= NOTHING and gap(read) < OVERCONFIDENT:
        return f"{guess}: it knows nothing of them, as if it were untrained"
    return None


def plain(found: Diagnosis) -> Looped:
    """Greedy texts after texts, in float32."""
    return found.greedy[0]


def loops(found: Diagnosis) -> float:
    """The share of greedy texts that loop, after texts or through the template: the larger one."""
    return max(value(each.looped) for each in found.greedy if each.arithmetic == "float32")


def other(found: Diagnosis) -> Looped | None:
    """Greedy texts after chats, in float32; None where there is no template."""
    return next((each for each in found.greedy[1:] if each.arithmetic == "float32"), None)


def loop_finding(each: Looped) -> Finding:
    """How much it loops after one kind of prompt."""
    share, n = value(each.looped), each.looped.n
    where = f"after {each.prompts}, {each.arithmetic}"
    if each.period is None or each.onset is None:
        return Finding(name="loops", level="fine", says=f"{where}: none of {n} greedy texts loops")
    return Finding(
        name="loops",
        level="problem" if share > OFTEN else "note" if share > RARELY else "fine",
        says=f"{where}: {share:.0%} of {n} greedy texts loop, a round has {each.period:.0f} tokens "
        f"and the first begins after {each.onset:.0f} (medians)",
    )


def ending_finding(
    each: Looped, static: Sequence[Finding], tokens: int, *, is_chat: bool
) -> Finding:
    """Whether texts end themselves within so many tokens, which a chat has to.

    Answers may be longer. That the end was not trained is said where something else speaks for it.
    """
    share = value(each.ended)
    never = is_chat and share == 0
    suspected = any(f.name in ("padding", "template") and f.level != "fine" for f in static)
    untrained = suspected and tokens >= LONG_ANSWER
    return Finding(
        name="ending",
        level="fine" if not never else "problem" if untrained else "note",
        says=f"after {each.prompts}: {share:.0%} of {each.ended.n} texts end within {tokens} "
        "tokens",
        advice="its end may never have been trained (see `padding` and `template`)"
        if never and untrained
        else "answers may be longer: natural_tokens=1024 shows it"
        if never
        else None,
    )


def precision_findings(found: Diagnosis) -> list[Finding]:
    """Whether 16 bits change what it writes, for each arithmetic that was tried."""
    whole, findings = value(plain(found).looped), []
    for half in found.greedy:
        if half.top1 is None:
            continue
        share, same = value(half.looped), value(half.top1)
        is_broken = share - whole > OFTEN or same < LEAST_TOP1
        finding = Finding(
            name="precision", level="problem" if is_broken else "fine",
            says=f"in {half.arithmetic} it chooses the same token at {same:.1%} of places, and "
            f"{share:.0%} of its texts loop ({whole:.0%} in float32)",
            advice="run it in float32" if is_broken else None,
        )  # fmt: skip
        findings.append(finding)
    return findings


def looks_finding(found: Diagnosis) -> Finding:
    """Whether it looks hyperfitted already."""
    read = found.reading
    says = (
        f"human text costs it {value(read.nll):.2f} nats a token, and it expects "
        f"{value(read.entropy):.2f}"
    )
    if why := why_unfit(read):
        return Finding(
            name="looks", level="problem", says=f"{says}; {why}",
            advice="look at the file of its weights and at its tokenizer; for texts of a language "
            "that it does not speak, give others (--data)",
        )  # fmt: skip
    if is_hyperfitted(found):
        return Finding(name="looks", level="note", says=f"{says}: it looks hyperfitted already")
    sure = gap(read) >= OVERCONFIDENT
    return Finding(
        name="looks", level="note" if sure else "fine",
        says=f"{says}: " + ("overconfident" if sure else "not hyperfitted"),
    )  # fmt: skip


def is_text(each: Tried, reading: Reading) -> bool:
    """Whether what a decoder writes is still text: likely enough, of words that exist."""
    human, words = reading.human_coherence, each.nonwords.value
    likely = value(each.coherence) >= value(human) - LESS_LIKELY
    known = reading.human_nonwords.value
    return likely and (words is None or known is None or words <= known + MORE_BROKEN)


def helpful(tried: Sequence[Tried], reading: Reading) -> list[Tried]:
    """Decoders that would do: those that draw nothing first, then as varied as human text."""
    would = [each for each in tried if value(each.looped) <= RARELY and is_text(each, reading)]
    human = value(reading.human_ttr)
    return sorted(would, key=lambda e: (not e.is_deterministic, abs(value(e.ttr) - human)))


def in_words(each: Tried) -> str:
    """A decoder with its figures."""
    broken = each.nonwords.value
    words = "" if broken is None else f", {broken:.1%} of its words do not exist"
    return (
        f"{each.decoder} ({value(each.looped):.0%} loops, TTR {value(each.ttr):.2f}, "
        f"{value(each.coherence):.1f} nats a token{words}, {each.milliseconds:.0f} ms a token)"
    )


def advice(found: Diagnosis, fix: str) -> str:
    """The cheapest thing that would help this model; `fix` is the command that trains it."""
    here = plain(found)
    wrong = [each for each in found.findings if each.level == "problem" and each.advice]
    for name in ("tokenizer", "looks", "precision"):
        if first := next((each for each in wrong if each.name == name), None):
            return f"{_sentence(first.says)} {_sentence(first.advice)}"
    if is_hyperfitted(found):
        greedy = found.tried[0]
        head = "It looks hyperfitted already: it does not loop, and it is far too sure of itself"
        if not is_text(greedy, found.reading):
            return (
                f"{head}. But what it writes is broken text: {_broken(greedy)}. Train again from "
                "its base, with fewer epochs, a smaller rate or other texts."
            )
        return f"{head}. Decode it greedily; there is nothing more to train."
    of_ends = ("ends", "settings", "template", "ending")
    ends = next((each for each in wrong if each.name in of_ends), None)
    chat = other(found)
    if loops(found) <= RARELY:
        if ends is not None:
            return f"It does not loop, but {ends.says}. {_sentence(ends.advice)}"
        return "It rarely loops under greedy decoding: there is nothing to mend."
    if chat is not None and value(chat.looped) <= RARELY:
        return (
            f"It loops after plain text ({value(here.looped):.0%}) and not through its chat "
            f"template ({value(chat.looped):.0%}): use the template."
        )
    if chat is not None and value(here.looped) <= RARELY:
        return (
            f"It loops through its chat template ({value(chat.looped):.0%} of its answers) and "
            f"rarely after plain text ({value(here.looped):.0%}). Decoders were tried after plain "
            f"text only: try them on chats. {fix} trains loops away, best on conversations."
        )
    return _against_loops(found, here, fix)


def _against_loops(found: Diagnosis, here: Looped, fix: str) -> str:
    """What helps a model that loops, and has nothing else that is wrong."""
    would = helpful(found.tried[1:], found.reading)  # the first is greedy decoding itself
    train = f"{fix} trains that away, for greedy decoding"
    chat = other(found)
    through = ""
    if chat:
        through = f", {value(chat.looped):.0%} through its chat template (no decoder tried there)"
    says = f"It loops: {value(here.looped):.0%} of its greedy texts{through}. "
    if would and would[0].is_deterministic:
        return f"{says}Cheapest: decode with {in_words(would[0])}. Where that cannot be: {train}."
    if would:
        return (
            f"{says}No decoder without chance would do. Cheapest where chance is allowed: "
            f"{in_words(would[0])}. Else: {train}."
        )
    if found.tried[1:]:
        return f"{says}No decoder that was tried writes text without loops; {train}."
    return f"{says}No decoder was tried; {train}."


def _broken(each: Tried) -> str:
    """How much less likely it is than text, and how many words do not exist."""
    words = each.nonwords.value
    share = "" if words is None else f", {words:.0%} of its words do not exist"
    return f"{value(each.coherence):.1f} nats a token under the model itself{share}"


def _sentence(text: str | None) -> str:
    return "" if not text else f"{text[0].upper()}{text[1:]}."
