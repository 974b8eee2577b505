"""Published weights from the Hugging Face hub: one commit's file, its hash checked, cached by huggingface-hub.

In: `timm/NAME`, or `timm/NAME@COMMIT`. Out: the file, and the commit and hash that a record keeps.
"""

import hashlib
import logging
import re
from pathlib import Path
from typing import NamedTuple

from keras_se.errors import InputError
from keras_se.optional_packages import import_extra
from keras_se.weights.timm_mapping import PUBLISHED, list_weights

FILE = "model.safetensors"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Fetched(NamedTuple):
    """A file of the hub."""

    path: Path
    weights: str
    """Name `timm/NAME@COMMIT`, which fetches the same file again."""
    sha256: str


def published_name(weights: str) -> str:
    """Return `seresnet50.a1_in1k` of `timm/seresnet50.a1_in1k@COMMIT`.

    Raises:
        InputError: no such weights are known.
    """
    name = weights.removeprefix("timm/").partition("@")[0]
    if name not in PUBLISHED:
        raise InputError(f"weights must be one of {', '.join(list_weights())}; got {weights!r}")
    return name


def fetch(weights: str) -> Fetched:
    """Return the file of `timm/NAME` or `timm/NAME@COMMIT`, from the hub's cache or the hub.

    Without a commit it is the table's, else the one that the hub's repository is at now; where the hub is not reached,
    the newest in the cache. The file's sha256 must be the table's if the commit is; else the one that the hub gives for
    it. With HF_HUB_OFFLINE set only the cache is asked.

    Raises:
        InputError: huggingface-hub is not installed, the commit is none, the file can be neither found nor fetched, or
            it has another hash.
    """
    name = published_name(weights)
    repository, revision, expected = f"timm/{name}", PUBLISHED[name].revision, PUBLISHED[name].sha256
    hub = import_extra("huggingface_hub", "hub")
    _, pinned, commit = weights.partition("@")
    if pinned and not _COMMIT.fullmatch(commit):
        raise InputError(
            f"weights are pinned by the 40 digits of a commit, {repository}@COMMIT; got {weights!r}: leave @ and what "
            "follows out for the hub's current commit"
        )
    if not pinned:
        commit = revision or _current_commit(hub, repository)
    if commit != revision:
        expected = None
    file = _download(hub, repository, commit)
    expected = expected or _sha256_of_the_hub(hub, repository, commit, file)
    sha256 = _sha256(file)
    if expected is None:
        logging.getLogger("keras_se").warning("%s: sha256 %s, which nothing is known to check against", file, sha256)
    elif sha256 != expected:
        raise InputError(f"{file} must have the sha256 {expected}; got {sha256}; remove it to have it fetched again")
    return Fetched(file, f"{repository}@{commit}", sha256)


def _current_commit(hub, repository: str) -> str:
    """Return the commit that the repository is at; where the hub is not reached, the newest one in the cache."""
    errors = import_extra("huggingface_hub.errors", "hub")
    try:
        return hub.model_info(repository).sha
    except errors.RepositoryNotFoundError:
        raise _not_fetched(repository, "the hub has no such repository") from None
    except Exception as error:  # the errors of the hub and of the HTTP client have no common one
        cached = _cached_commits(hub, repository)
        if not cached:
            problem = f"no commit of it is in the cache, and the hub is not reached ({type(error).__name__}; is "
            raise _not_fetched(repository, f"{problem}HF_HUB_OFFLINE set?)") from None
    logging.getLogger("keras_se").warning("%s: the hub is not reached; taking %s from the cache", repository, cached[0])
    return cached[0]


def _cached_commits(hub, repository: str) -> list[str]:
    """Return the commits whose file is in the cache, newest first."""
    errors = import_extra("huggingface_hub.errors", "hub")
    try:
        repositories = hub.scan_cache_dir(hub.constants.HF_HUB_CACHE).repos
    except errors.CacheNotFound:
        return []
    revisions = [
        revision
        for cached in repositories
        if (cached.repo_type, cached.repo_id) == ("model", repository)
        for revision in cached.revisions
        if any(file.file_name == FILE for file in revision.files)
    ]
    return [
        revision.commit_hash
        for revision in sorted(revisions, key=lambda revision: revision.last_modified, reverse=True)
    ]


def _not_fetched(what: str, problem: str) -> InputError:
    return InputError(f"cannot fetch {FILE} of {what}: {problem}; or pass the path of a copy")


def _download(hub, repository, revision) -> Path:
    errors = import_extra("huggingface_hub.errors", "hub")
    try:
        return Path(hub.hf_hub_download(repository, FILE, revision=revision))
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        problem = "it is not in the cache, and the hub is not reached (is HF_HUB_OFFLINE set?)"
    except errors.RepositoryNotFoundError:
        problem = "the hub has no such repository"
    except errors.RevisionNotFoundError:
        problem = "the repository has no such commit"
    except errors.EntryNotFoundError:
        problem = "the commit has no such file"
    except OSError as error:
        problem = str(error).partition("\n")[0]
    raise _not_fetched(f"{repository}@{revision}", problem)


def _sha256_of_the_hub(hub, repository, revision, file: Path) -> str | None:
    """Return the hub's hash of a large file: its ETag, by which the cache names it where it can link to it."""
    if _SHA256.fullmatch(file.resolve().name):
        return file.resolve().name
    try:
        etag = hub.get_hf_file_metadata(hub.hf_hub_url(repository, FILE, revision=revision)).etag
    except Exception:  # the errors of the hub and of the HTTP client have no common one
        return None
    return etag if etag and _SHA256.fullmatch(etag) else None


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
