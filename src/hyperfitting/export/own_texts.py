"""What a run itself writes after held-out contexts: once for all exports of it."""

from pathlib import Path

from hyperfitting.data.windows import Contexts
from hyperfitting.environment import environment
from hyperfitting.errors import InputError, SaidError
from hyperfitting.export.formats import Job
from hyperfitting.export.verify import Side, greedy_texts
from hyperfitting.generate.both_modes import BothModes
from hyperfitting.generate.texts import Decoded
from hyperfitting.models.digests import behaviour_digest
from hyperfitting.records.exported import OwnText, OwnTexts
from hyperfitting.records.record import read_file, write_file
from hyperfitting.seals import content_digest


def own_texts(job: Job, run: Side, contexts: Contexts, *, keeps: bool) -> BothModes:
    """The greedy texts of a run, read where an export before left them; kept for the next."""
    path = job.run.own_texts_file(_key(job, run, contexts))
    found = _read(job, path)
    if found is None:
        found = greedy_texts(run, "texts of the run", contexts, job.config, job.progress)
        if keeps:
            _keep(job, path, found)
    return found


def _key(job: Job, run: Side, contexts: Contexts) -> str:
    """Tells texts apart by all that they depend on."""
    config, tokens = job.config, run.tokens
    about = [
        behaviour_digest(run.model),
        config.strength,  # which an adapter's digest does not see
        tokens.rules(), contexts.digest(),
        config.natural_tokens, config.batch_size, str(run.model.device),
        environment().model_dump(mode="json"),
    ]  # fmt: skip
    return content_digest(about)[:16]


def _keep(job: Job, path: Path, texts: BothModes) -> None:
    """Write them for the next export; where that cannot be, this one is as good."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, _as_record(texts))
    except (OSError, SaidError) as error:
        why = str(error).partition("\n")[0]
        job.progress.say(f"  the run's texts are not kept for its next export: {why}")


def _read(job: Job, path: Path) -> BothModes | None:
    """What stands in a file; None where it is not there or cannot be read, and then it is said."""
    if not path.exists():
        return None
    try:
        found = read_file(OwnTexts, path, "remove that file")
    except InputError as error:
        job.progress.say(f"  {error.given}; the run's texts are computed again")
        return None
    fixed, natural = (
        [Decoded(text.ids, text.num_ties) for text in texts]
        for texts in (found.fixed, found.natural)
    )
    return BothModes(fixed, natural, found.seconds)


def _as_record(texts: BothModes) -> OwnTexts:
    fixed, natural = (
        [OwnText(ids=text.ids, num_ties=text.num_ties) for text in each]
        for each in (texts.fixed, texts.natural)
    )
    return OwnTexts(fixed=fixed, natural=natural, seconds=texts.seconds)
