"""A walk through the HDF5 part of a Keras file, in a process of its own: `python -P hdf5_walk.py FILE`.

HDF5 reads groups and attributes in native code, which a damaged file can end by a signal or have fill the memory. The
exit status says whether all could be read, and the last line on standard error why not.
"""

import contextlib
import importlib
import io
import sys
import zipfile
from pathlib import Path

import h5py

_MEMORY = 512 << 20  # bytes beside this process at its start and the file: a damaged size can ask for any number
_COPIES = 3  # of an archive's member in memory, while zipfile reads it


def main(path: str) -> None:
    """Read the attributes of every group and array, and the shape of every array."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # no such limits on Windows
        resource = importlib.import_module("resource")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + _MEMORY + _COPIES * Path(path).stat().st_size
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
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
