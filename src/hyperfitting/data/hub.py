"""The hub: what may be a name there, and one question to it before anything is fetched.

huggingface_hub asks for each file again and again, for half a minute, before it says that there is
no network or no such repository. So the repository is asked for first, once.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # exported lazily

from hyperfitting.errors import nearest

Kind = Literal["model", "dataset"]


class Answer(NamedTuple):
    """What the hub says of a repository: its files, or None and why it gives none."""

    files: frozenset[str] | None
    reason: str


def is_hub_id(name: str) -> bool:
    """Whether the hub could know a name: `name` or `owner/name`, and no path."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name[0] not in "./~"


def ask(name: str, kind: Kind, revision: str | None = None) -> Answer:
    """Ask the hub once, at most `HF_HUB_ETAG_TIMEOUT` seconds long, or not at all when offline."""
    if constants.HF_HUB_OFFLINE:
        return Answer(
            None, "it is not in the hub's cache, and HF_HUB_OFFLINE keeps the hub from being asked"
        )
    timeout = constants.HF_HUB_ETAG_TIMEOUT
    try:
        if kind == "model":
            siblings = HfApi().model_info(name, revision=revision, timeout=timeout).siblings
        else:
            siblings = HfApi().dataset_info(name, revision=revision, timeout=timeout).siblings
    except Exception as error:  # of the hub, of the network, of what is no hub at all
        return Answer(None, in_words(error, kind, revision))
    return Answer(frozenset(file.rfilename for file in siblings or ()), "")


def in_words(error: Exception, kind: Kind, revision: str | None = None) -> str:
    """Why the hub gives nothing, in one sentence without addresses and advice."""
    if isinstance(error, GatedRepoError):  # a kind of the next
        return "it is gated on the hub: its owner has to let you in (`hf auth login`)"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub has no such {kind}, or keeps it private"
    if isinstance(error, RevisionNotFoundError):
        return f"on the hub it has no revision {revision or 'main'!r}"
    if isinstance(error, HfHubHTTPError):
        return f"the hub answers with status {error.response.status_code}"
    if "Timeout" in type(error).__name__:
        return f"the hub does not answer within {constants.HF_HUB_ETAG_TIMEOUT} seconds"
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"the hub cannot be reached ({first})"


@contextmanager
def without_asking() -> Iterator[None]:
    """What `datasets` loads while the block runs comes from its cache."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def near_path(name: str, others: Iterable[str] = (), *, folders_only: bool = False) -> str | None:
    """A hint at what stands where `name` does not: beside it, or among `others`."""
    path = Path(name)
    before = name.rstrip("/").removesuffix(path.name)  # as it was written, `./` too
    try:
        entries = [each for each in path.parent.iterdir() if each.is_dir() or not folders_only]
    except OSError:  # no folder, or one that may not be read: there is nothing to hint at
        entries = []
    beside = {each.name: before + each.name for each in entries}
    known = beside | {other: other for other in others}
    match = nearest(path.name, known)
    return f"did you mean {known[match]!r}?" if match else None
