"""List the files that a run has written, in its folder: nothing else there is ever removed."""

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from keras_se.atomic_files import read_object, remove_unfinished, write_json
from keras_se.errors import InputError
from keras_se.preprocessing import RECORD

MODEL = "model.keras"
BEST = "best.safetensors"
"""Weights of the best epoch so far, of an unfinished run."""
HISTORY = "history.csv"
PICTURE = "report.png"
"""Curves and mistakes of a finished run, where matplotlib is installed."""
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
LIST = "unfinished.json"
"""List of an unfinished run; that of a finished one is in its record, as `files`."""

_FILES = (RECORD, MODEL, BEST, HISTORY, PICTURE)  # the record first: without its model it must not stand there
_FOLDERS = (f"{TENSORBOARD}/train", f"{TENSORBOARD}/validation", TENSORBOARD, CHECKPOINTS)
_EVENTS = r"tensorboard/(train|validation)/events\.out\.tfevents\.[^/\0]+"
_OWN = re.compile("|".join([*map(re.escape, _FILES), r"checkpoints/step-\d+\.safetensors", _EVENTS]))
_STATE = re.compile(f"{re.escape(BEST)}|{CHECKPOINTS}/.*")


class Inventory:
    """Names of a run's files, relative to its folder, kept there until the run is finished."""

    def __init__(self, folder: Path, names: Iterable[str] = ()):
        self.folder = folder
        self.names = list(dict.fromkeys(names))

    def add(self, *paths: Path) -> None:
        """List files that are about to be written; of those that are gone nothing is kept.

        Raises:
            OSError: the list cannot be written.
        """
        new = [str(path.relative_to(self.folder)) for path in paths]
        kept = [name for name in self.names if name in _FILES or (self.folder / name).exists()]
        names = list(dict.fromkeys([*kept, *new]))
        if names != self.names:
            self.names = names
            self._write()

    def add_events(self) -> None:
        """List what TensorBoard's writers of this process have begun; they choose the names themselves."""
        events = (self.folder / TENSORBOARD).glob(f"*/events.out.tfevents.*.{os.getpid()}.*")
        self.add(*sorted(path for path in events if _OWN.fullmatch(str(path.relative_to(self.folder)))))

    def has(self, path: Path) -> bool:
        return str(path.relative_to(self.folder)) in self.names

    def of_finished(self) -> list[str]:
        """Return the files that stay when the run is finished."""
        return sorted(name for name in self.names if not _STATE.fullmatch(name) and (self.folder / name).exists())

    def _write(self) -> None:
        write_json(self.folder / LIST, {"files": self.names})


def check_own(folder: Path) -> None:
    """Refuse a folder with files of a run's names that no run's record lists.

    Raises:
        InputError: it has one, or a list of ours that is damaged, or a part of it is elsewhere.
    """
    for name in _FOLDERS:
        if (folder / name).is_symlink():
            raise InputError(f"{folder / name} is a symbolic link; a run keeps its files in its own folder")
    listed = read_inventory(folder).names
    for name in (MODEL, BEST, HISTORY, RECORD, PICTURE):
        if os.path.lexists(folder / name) and name not in listed:
            raise _foreign(folder, name)
    for name in (CHECKPOINTS, TENSORBOARD):
        path = folder / name
        if os.path.lexists(path) and not listed and not (path.is_dir() and not any(path.iterdir())):
            raise _foreign(folder, name)


def read_inventory(folder: Path) -> Inventory:
    """Return the files that the folder's list and its record name.

    Raises:
        InputError: the list is damaged.
    """
    names: list[str] = []
    if (folder / LIST).exists():
        try:
            names += _names(read_object(folder / LIST).get("files"))
        except ValueError as error:
            raise InputError(
                f"{folder / LIST} is not the list of a run's files ({error}); choose another folder"
            ) from None
    with contextlib.suppress(ValueError):  # a record that cannot be read lists nothing
        names += _names(read_object(folder / RECORD).get("files"))
    return Inventory(folder, names)


def begin(folder: Path) -> Inventory:
    """Remove the files of an earlier run, once nothing can be refused any more, and list those of the new one."""
    earlier = read_inventory(folder)
    if earlier.names:
        earlier._write()  # so that a process that is killed here leaves them listed
    _remove(folder, earlier.names)
    inventory = Inventory(folder, _FILES)
    inventory._write()
    return inventory


def clear(folder: Path) -> None:
    """Remove the files of a run, and its folders where nothing else is in them."""
    _remove(folder, read_inventory(folder).names)
    (folder / LIST).unlink(missing_ok=True)


def clear_state(folder: Path) -> None:
    """Remove what only an unfinished run needs."""
    _remove(folder, [name for name in read_inventory(folder).names if _STATE.fullmatch(name)])
    (folder / LIST).unlink(missing_ok=True)


def remove_cut_short(inventory: Inventory) -> None:
    """Remove what a process that was killed while it wrote one of the files has left."""
    remove_unfinished(*(inventory.folder / name for name in (LIST, *inventory.names)))


def _remove(folder: Path, names: list[str]) -> None:
    linked = tuple(f"{name}/" for name in _FOLDERS if (folder / name).is_symlink())
    names = [name for name in names if not name.startswith(linked)]  # what is there is in another folder
    first = [name for name in _FILES if name in names]
    for name in (*first, *(name for name in names if name not in first)):
        (folder / name).unlink(missing_ok=True)
    remove_unfinished(*(folder / name for name in names))
    for name in _FOLDERS:
        with contextlib.suppress(OSError):  # it is not there, or something else is in it
            (folder / name).rmdir()


def _names(listed: Any) -> list[str]:
    if not isinstance(listed, list):
        raise ValueError(f"files must be a list; got {listed!r:.80}")
    for name in listed:
        if not (isinstance(name, str) and _OWN.fullmatch(name)):
            raise ValueError(f"files must be those of a run; got {name!r:.80}")
    return listed


def _foreign(folder: Path, name: str) -> InputError:
    return InputError(
        f"{folder} holds {name}, which no record of a run lists; choose another folder with --out, or move it away"
    )
