"""Published weights from the Hugging Face hub: one commit's file, its hash checked, cached by huggingface-hub."""

import hashlib
import logging
import re
from pathlib import Path

from keras_se.errors import InputError
from keras_se.extras import import_extra
from keras_se.timm_names import PUBLISHED, list_weights

FILE = "model.safetensors"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def published_name(weights: str) -> str:
    """`seresnet50.a1_in1k` of `timm/seresnet50.a1_in1k@COMMIT`.

    Raises:
        InputError: no such weights are known.
    """
    name = weights.removeprefix("timm/").partition("@")[0]
    if name not in PUBLISHED:
        raise InputError(f"weights must be one of {', '.join(list_weights())}; got {weights!r}")
    return name


def fetch(weights: str) -> Path:
    """The file of `timm/NAME` or `timm/NAME@COMMIT`, from the hub's cache or the hub.

    Its sha256 must be the one of the table; else, if the commit is not the table's, the one that the hub gave for it.
    With HF_HUB_OFFLINE set only the cache is asked.

    Raises:
        InputError: huggingface-hub is not installed, no commit is named, the file can be neither found nor fetched,
            or it has another hash.
    """
    name = published_name(weights)
    repository, revision, sha256 = f"timm/{name}", PUBLISHED[name].revision, PUBLISHED[name].sha256
    asked = weights.partition("@")[2]
    if asked and asked != revision:
        revision, sha256 = asked, None
    if revision is None or not _COMMIT.fullmatch(revision):
        raise InputError(
            f"weights from the hub are pinned to a commit: weights='{repository}@COMMIT', with the 40 digits that "
            f"huggingface_hub.model_info('{repository}').sha prints; got {weights!r}"
        )
    hub = import_extra("huggingface_hub", "hub")
    file = _download(hub, repository, revision)
    expected = sha256 or _sha256_of_the_hub(hub, repository, revision, file)
    found = _sha256(file)
    if expected is None:
        logging.getLogger("keras_se").warning("%s: sha256 %s, which nothing is known to check against", file, found)
    elif found != expected:
        raise InputError(f"{file} must have the sha256 {expected}; got {found}; remove it to have it fetched again")
    return file


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
    raise InputError(f"cannot fetch {FILE} of {repository}@{revision}: {problem}; or pass the path of a copy")


def _sha256_of_the_hub(hub, repository, revision, file: Path) -> str | None:
    """What the hub says of a large file: its ETag, by which the cache names it where it can link to it."""
    if _SHA256.fullmatch(file.resolve().name):
        return file.resolve().name
    errors = import_extra("huggingface_hub.errors", "hub")
    try:
        etag = hub.get_hf_file_metadata(hub.hf_hub_url(repository, FILE, revision=revision)).etag
    except (OSError, errors.EntryNotFoundError):
        return None
    return etag if etag and _SHA256.fullmatch(etag) else None


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
