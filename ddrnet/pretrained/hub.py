"""Files of the Hugging Face Hub, in the cache of huggingface_hub. Loads no torch."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from ddrnet.errors import HubError
from ddrnet.files import sha256_of
from ddrnet.pretrained.weights_cache import unwritable
from ddrnet.weights.row import HubFile

ORPHAN_AGE = 3600.0
"""Seconds without a write after which a part of a download counts as left behind."""


def download(file: HubFile, cache_dir: str | Path | None = None) -> Path:
    """Return the path of a Hub file; fetch it unless the cache has the Hub's current version.

    The Hub's client repeats requests that fail for a moment; nothing is repeated on top of that. It
    does not continue a download that broke off: it starts over, and a killed process leaves its
    part in the cache. Parts that nobody has written to for an hour are deleted first.

    Args:
        file: The file. Its content is compared with the hash that the Hub names, not with
            `file.sha256`.
        cache_dir: Replaces huggingface_hub's cache.

    Raises:
        HubError: If the Hub does not serve the file, or sends other bytes than it announced.
        WeightsUnavailableError: If the cache cannot be written.
    """
    from huggingface_hub import constants, hf_hub_download

    root = Path(cache_dir or constants.HF_HUB_CACHE)
    _remove_orphans(root / f"models--{file.repo.replace('/', '--')}" / "blobs")
    try:
        fetched = hf_hub_download(
            file.repo,
            file.filename,
            revision=file.revision,
            cache_dir=cache_dir,
            library_name="ddrnet",
            local_files_only=is_offline(),
        )
    except _hub_errors() as error:
        if isinstance(error, OSError) and _is_of_the_disk(error):
            raise unwritable(root, error) from error
        raise HubError(_reason(error, file)) from error
    path = Path(fetched)
    _check_transfer(path, file)
    return path


def upload(
    repo: str, files: Mapping[str, bytes], message: str, *, private: bool | None = None
) -> str:
    """Write files to a repository in one commit; create the repository if it does not exist.

    Args:
        repo: "owner/name".
        files: Path in the repository -> content.
        message: The commit message.
        private: Whether a new repository is private; None follows the owner's settings.

    Returns:
        The hash of the commit.

    Raises:
        HubError: If the Hub refuses the upload.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    if is_offline():
        raise HubError(f"cannot upload to {repo}: HF_HUB_OFFLINE is set")
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    api = HfApi(library_name="ddrnet")
    try:
        url = api.create_repo(repo, private=private, exist_ok=True)
        commit = api.create_commit(url.repo_id, operations, commit_message=message)
    except _hub_errors() as error:
        raise HubError(
            f"cannot upload to {repo}: {error}; to get write access, set HF_TOKEN or run "
            "`hf auth login`"
        ) from error
    return str(commit.oid)


def find_cached(file: HubFile, cache_dir: str | Path | None = None) -> Path | None:
    """Return the path of a Hub file if it is cached, without a request to the Hub."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        file.repo, file.filename, cache_dir=cache_dir, revision=file.revision
    )
    return Path(found) if isinstance(found, str) else None


def remove(path: Path) -> None:
    """Delete a file of the Hub's cache, and the blob that it links to."""
    while path.is_symlink():
        target = path.parent / path.readlink()
        path.unlink()
        path = target
    path.unlink(missing_ok=True)


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE is set, now or when huggingface_hub was imported."""
    from huggingface_hub import constants

    now = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    return now or bool(constants.HF_HUB_OFFLINE)


def _remove_orphans(blobs: Path) -> None:
    """Delete parts of downloads that a killed process left behind."""
    for part in blobs.glob("*.incomplete"):
        with suppress(OSError):  # another process deletes it too, or the cache is read-only
            if time.time() - part.stat().st_mtime > ORPHAN_AGE:
                part.unlink()


def _check_transfer(path: Path, file: HubFile) -> None:
    """Compare a large file with the hash in its blob's name; the Hub's client does not.

    Raises:
        HubError: If they differ. The blob is removed; the client would keep it for ever.
    """
    expected = path.readlink().name if path.is_symlink() else ""
    if not re.fullmatch(r"[0-9a-f]{64}", expected):
        return
    got = sha256_of(path)
    if got != expected:
        remove(path)
        raise HubError(
            f"{file.address} sent a damaged file: {file.filename} has sha256 {got}, expected "
            f"{expected}; it was removed from the cache, try again"
        )


def _hub_errors() -> tuple[type[Exception], ...]:
    """Return every error that the Hub's client raises."""
    from huggingface_hub import get_session
    from huggingface_hub.errors import HFValidationError

    # The client's HTTP library differs between versions; hf_xet, if installed, raises RuntimeError.
    http_library = import_module(type(get_session()).__module__.partition(".")[0])
    return (OSError, RuntimeError, HFValidationError, http_library.HTTPError)


def _is_of_the_disk(error: OSError) -> bool:
    """Whether the operating system refused a file; errors of the network have no error number."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    of_the_hub = isinstance(error, HfHubHTTPError | EntryNotFoundError | ConnectionError)
    return not of_the_hub and error.errno is not None


def _reason(error: Exception, file: HubFile) -> str:
    """Return what went wrong, and what to do about it."""
    from huggingface_hub import constants, errors

    repo = file.repo
    if isinstance(error, errors.HFValidationError):
        return f"{repo!r} is not the name of a Hub repository; expected 'owner/name': {error}"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{repo} is gated: accept its terms at {constants.ENDPOINT}/{repo}, then set HF_TOKEN "
            "or run `hf auth login`"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"there is no model {repo} at {constants.ENDPOINT}, or it is private: check the name; "
            "for a private model, set HF_TOKEN or run `hf auth login`"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo} has no revision {file.revision!r}"
    if isinstance(error, errors.LocalEntryNotFoundError) and is_offline():
        return f"{file.address} is not in the cache and HF_HUB_OFFLINE is set: unset it once"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"cannot reach {constants.ENDPOINT} for {file.address}: {error.__cause__ or error}"
    if isinstance(error, errors.EntryNotFoundError):
        return f"{file.address} has no file {file.filename}"
    return f"cannot fetch {file.filename} of {file.address}: {error}"
