"""Versions of the packages that a result depends on: they go into records and manifests."""

import platform
from importlib import metadata

_PACKAGES = (
    "keras-se",
    "keras",
    "tensorflow",
    "numpy",
    "ai-edge-litert",
    "litert-quantizer",
    "tflite-micro",
)


def installed_versions() -> dict[str, str]:
    """Return Python's version and those of the packages that are installed."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
