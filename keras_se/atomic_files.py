"""Files that appear whole or not at all."""

import glob
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from keras_se.errors import InputError

_UNFINISHED = ".unfinished-"


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path of the suffix of `path`; on leaving the block without an error it becomes `path`.

    Raises:
        InputError: the folder cannot be made or written.
        OSError: the disk is full or fails; it names `path`.
    """
    path = Path(path)
    folder = writable_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f"{_UNFINISHED}{path.stem}-", suffix=path.suffix, dir=folder)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes it private
        temporary.replace(path)
        _synchronize(folder)
    except OSError as error:  # of a write it names no file, and HDF5's has no number either
        if error.filename not in (None, name):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write `content` to `path` whole or not at all; missing folders are made."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write several files, of which none appears before all are on the disk; they appear in the mapping's order."""
    with ExitStack() as stack:  # which it leaves last in, first out
        temporaries = {path: stack.enter_context(replacing(path)) for path in reversed([*contents])}
        for path, content in contents.items():
            with _naming(path):
                temporaries[path].write_bytes(content)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Give an error of a write the name of the file that was to be written."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_json(path: Path | str, document: Any) -> None:
    """Write `document` as JSON to `path` whole or not at all."""
    write_bytes(path, json_bytes(document))


def json_bytes(document: Any) -> bytes:
    """Return the content of a JSON file."""
    return (json.dumps(document, indent=2) + "\n").encode()


def read_object(path: Path | str) -> dict[str, Any]:
    """Read the JSON object in a file.

    Raises:
        ValueError: the file cannot be read, or holds anything else, with the reason.
    """
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(error.strerror) from None
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"no JSON: {error}") from None
    if not isinstance(document, dict):
        raise ValueError(f"it must be a JSON object; it is of type {type(document).__name__}")
    return document


def remove_unfinished(*paths: Path) -> None:
    """Remove what a process that was killed while it wrote these files left beside them."""
    for path in paths:
        for temporary in path.parent.glob(f"{_UNFINISHED}{glob.escape(path.stem)}-????????{glob.escape(path.suffix)}"):
            temporary.unlink(missing_ok=True)


def writable_folder(folder: Path | str) -> Path:
    """Return `folder`, made if it was missing.

    Raises:
        InputError: it cannot be made, or nothing can be written in it.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise _unwritable(folder, error) from None


def check_writable(folder: Path | str) -> Path:
    """Return `folder`, which is not made yet where it is missing: what is refused later leaves no empty folder.

    Raises:
        InputError: it is no folder and cannot become one, or nothing can be written in it.
    """
    nearest = folder = Path(folder)
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return folder
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(f"cannot write in {folder} ({error.strerror}); choose another folder with --out")


def _synchronize(folder: Path) -> None:
    """Have the folder's entries on the disk: a file's new name is one."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
