"""Artifacts: a file that its target takes, its manifest, and how both come to the disk together.

In: a quantized file and its target. Out: `NAME.RECIPE.tflite`, the manifest beside it, and what else the target has.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from keras_se.atomic_files import json_bytes, read_object, write_together
from keras_se.errors import InputError
from keras_se.export.runtimes.litert import xnnpack_partitions
from keras_se.export.targets.base import Deliverable, QuantizedModel, Target
from keras_se.versions import installed_versions


@dataclass(frozen=True)
class Artifact:
    """A file that was exported."""

    path: Path
    recipe: str
    target: str
    manifest: dict[str, Any]
    """Fields of the JSON file beside it."""


class BuiltArtifact(NamedTuple):
    """A file as its target takes it, not yet on disk."""

    of: QuantizedModel
    target: str
    deliverable: Deliverable
    manifest: dict[str, Any]


def build_artifact(quantized: QuantizedModel, target: Target, *, source, calibration, **further) -> BuiltArtifact:
    """Package a quantized file for its target and write its manifest; `further` are fields of that.

    Raises:
        InputError: the target's tool is missing, or it refuses the file.
    """
    deliverable = target.package_for_target(quantized)
    [input_type], [output_type] = deliverable.file.io_types
    manifest = {
        "model": quantized.name,
        "model_sha256": source,
        "recipe": quantized.recipe.name,
        "target": target.name,
        "preprocessing": quantized.preprocessing.to_dict(),
        "input_range": quantized.preprocessing.input_range,
        "batch": deliverable.file.input_shape[0],
        "input_type": input_type.lower(),
        "output_type": output_type.lower(),
        "calibration": calibration,
        "bytes": len(deliverable.file.content),
        "sha256": hashlib.sha256(deliverable.file.content).hexdigest(),
        "operations": deliverable.file.operation_counts,
        "dtypes": deliverable.file.dtype_counts,
        "xnnpack_partitions": xnnpack_partitions(quantized.file) if target.xnnpack else None,
        "versions": installed_versions(),
        **further,
        **deliverable.manifest,
    }
    return BuiltArtifact(quantized, target.name, deliverable, manifest)


def write(built: BuiltArtifact, folder: Path) -> Artifact:
    """Write `NAME.RECIPE.tflite`, its manifest, and what else the target has, into the folder.

    Raises:
        InputError: a file of such a name is not one that `write` has written.
    """
    return write_all([built], folder)[0]


def write_all(built: Sequence[BuiltArtifact], folder: Path) -> list[Artifact]:
    """Write several files as `write` does; a full disk or Ctrl-C leaves none of them.

    Raises:
        InputError: as of `write`.
    """
    contents: dict[Path, bytes] = {}
    artifacts = []
    for part in built:
        stem = f"{part.of.name}.{part.of.recipe.name}"
        further = sorted(f"{stem}{suffix}" for suffix in part.deliverable.files)
        check_replaceable(folder, stem, further)
        path = folder / f"{stem}.tflite"
        manifest = {**part.manifest, "files": further}
        contents[_manifest(path)] = json_bytes(manifest)  # first: what a killed process has written is listed
        contents |= {folder / f"{stem}{suffix}": content for suffix, content in part.deliverable.files.items()}
        contents[path] = part.deliverable.file.content
        artifacts.append(Artifact(path, part.of.recipe.name, part.target, manifest))
    write_together(contents)
    return artifacts


def check_replaceable(folder: Path, stem: str, further: Sequence[str] = ()) -> None:
    """Refuse to replace files that no export has written: those that no manifest of ours stands beside or lists.

    Raises:
        InputError: there is one.
    """
    path = folder / f"{stem}.tflite"
    listed = _listed(path)
    for name in (_manifest(path).name, path.name, *further):
        place = folder / name
        if os.path.lexists(place) and not (name in listed and place.is_file()):
            raise InputError(
                f"{place} is in the way, and no manifest says that an export wrote it; choose another folder with "
                "--out, or move it away"
            )


def _listed(path: Path) -> set[str]:
    """Return the names of the files that the manifest beside a .tflite file lists, its own among them."""
    try:
        fields = read_object(_manifest(path))
    except ValueError:
        return set()
    if not {"model", "recipe", "target", "sha256"} <= fields.keys():
        return set()
    further = fields.get("files", [])
    names = further if isinstance(further, list) else []
    return {path.name, _manifest(path).name, *(name for name in names if isinstance(name, str))}


def _manifest(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
