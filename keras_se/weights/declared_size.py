"""Hold the sizes that a model's file declares against the file's own, before anything is unpacked."""

import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_se.errors import InputError

_BYTES, _TIMES = 2**27, 20
"""A file unpacks to at most this many bytes or, where that is more, times its size: Keras packs nothing."""


def check_declared_size(path: Path) -> None:
    """Refuse a `.keras` or HDF5 file that would fill the memory when it is read.

    A file that is neither, or damaged, passes: reading it says what is wrong.

    Raises:
        InputError: it declares far more than it holds, in its archive or in the arrays of its HDF5 file.
    """
    size = path.stat().st_size
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check(path, size, sum(entry.file_size for entry in archive.infolist()))
                for name in archive.namelist():
                    if name.endswith(".h5"):
                        _check(path, size, _declared(io.BytesIO(archive.read(name))))
        else:
            _check(path, size, _declared(path))
    except InputError:
        raise
    except Exception:  # zipfile's and HDF5's have no common one
        return


def _check(path: Path, size: int, declared: int) -> None:
    if declared > max(_BYTES, _TIMES * size):
        raise InputError(
            f"{path} must unpack to at most {_TIMES} times its {size:,} bytes; it says {declared:,}: save it again "
            "with Keras"
        )


def _declared(file: Any) -> int:
    """Return the bytes of all arrays of an HDF5 file, as they would be in memory."""
    import h5py

    with h5py.File(file, "r") as opened:
        return sum(math.prod(dataset.shape or ()) * dataset.dtype.itemsize for dataset in _datasets(opened))


def _datasets(opened: Any) -> Iterator[Any]:
    import h5py

    datasets: list[Any] = []
    opened.visititems(lambda name, dataset: datasets.append(dataset) if isinstance(dataset, h5py.Dataset) else None)
    yield from datasets
