"""Send an export to a model hub."""

import shlex
from pathlib import Path

from huggingface_hub import HfApi, get_token

from hyperfitting.data.hub import in_words, is_hub_id
from hyperfitting.errors import InputError

MESSAGE = "Export by hyperfitting"


def require_hub(repository: str) -> None:
    """Refuse what is no repository, or a machine without a token, before anything is computed.

    Raises:
        InputError: it is no name, or no token is known.
    """
    if not is_hub_id(repository) or "/" not in repository:
        raise InputError(
            f"push_to_hub is {repository!r}, which is no repository",
            needed="a name such as me/my-model",
        )
    if get_token() is None:
        raise InputError(
            f"the export is to be sent to {repository}, and no token of the hub is known here",
            needed="a token that may write: `hf auth login`, or HF_TOKEN",
            hint="without push_to_hub the folder can be sent later: hf upload REPOSITORY FOLDER",
        )


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Upload every file of an export; returns the address of the commit.

    Raises:
        InputError: the hub refuses, or does not answer.
    """
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(
            folder_path=folder, repo_id=repository, commit_message=MESSAGE, ignore_patterns=[".*"]
        )
    except Exception as error:  # of the hub, of the network, of what is no hub at all
        raise InputError(
            f"the hub did not take the export: {in_words(error, 'model')}",
            needed=f"a token that may write to {repository}, and a hub that answers",
            hint=f"the export is whole in {folder}: "
            + shlex.join(["hf", "upload", repository, str(folder)]),
        ) from error
    return str(done.commit_url)
