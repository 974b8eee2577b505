"""A walk through the HDF5 part of a Keras file, in a process of its own: `python -P hdf5_walk.py FILE`.

HDF5 reads groups and attributes in native code, which a damaged file can end by a signal. The caller looks at nothing
but that: what else is wrong with a file, reading it says.
"""

import contextlib
import importlib
import io
import sys
import zipfile

import h5py

_MEMORY = 4 << 30  # bytes: a damaged size can ask for any number


def main(path: str) -> None:
    """Read the attributes of every group and array, and the shape of every array."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # no such limits on Windows
        resource = importlib.import_module("resource")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    source = path
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(source, "r") as file:
        file.visititems(_read)


def _read(name: str, item: h5py.HLObject) -> None:
    dict(item.attrs)
    if isinstance(item, h5py.Dataset):
        _ = item.shape, item.dtype


if __name__ == "__main__":
    main(sys.argv[1])
