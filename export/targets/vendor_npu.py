"""Neural processors of phones and laptops, by LiteRT's ahead-of-time compilers, one a vendor.

In: a quantized file. Out: the file compiled for one processor, and how many of its operations that runs.

Each needs its vendor's own package, which is fetched from the vendor when it is installed. None of this has been tried
on a device.
"""

import contextlib
import importlib.metadata
import importlib.util
import io
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from keras_se.errors import InputError
from keras_se.export.targets.base import Deliverable, QuantizedModel, Target
from keras_se.export.tflite.model import TFLiteModel
from keras_se.optional_packages import import_extra


class Vendor(NamedTuple):
    """A vendor's part of `ai_edge_litert`."""

    words: str
    """Name of the vendor, as people write it."""
    name: str
    """Name of its package in `ai_edge_litert.aot.vendors`."""
    sdk: str
    """Distribution that brings its compiler, of LiteRT's own version; the module has underscores for hyphens."""
    processors: str
    """Processors that LiteRT 2.3 compiles for ahead of time, as `ai_edge_litert.aot.vendors` names them."""

    def soc(self, model: str) -> Any:
        """Return LiteRT's target for one of its processors."""
        targets = import_extra(f"ai_edge_litert.aot.vendors.{self.name}.target", "edge")
        return targets.Target(targets.SocModel(model))


VENDORS: dict[str, Vendor] = {
    "google_tensor": Vendor(
        "Google", "google_tensor", "ai-edge-litert-sdk-google-tensor", "Tensor_G3 Tensor_G4 Tensor_G5 Tensor_G6"
    ),
    "intel_npu": Vendor("Intel NPU", "intel_openvino", "ai-edge-litert-sdk-intel", "LNL PTL"),
    "mediatek": Vendor(
        "MediaTek",
        "mediatek",
        "ai-edge-litert-sdk-mediatek",
        "MT6853 MT6877 MT6878 MT6879 MT6886 MT6893 MT6895 MT6897 MT6983 MT6985 MT6989 MT6991 MT6993 MT8171 MT8188 "
        "MT8189",
    ),
    "qualcomm": Vendor(
        "Qualcomm",
        "qualcomm",
        "ai-edge-litert-sdk-qualcomm",
        "SA8255 SA8295 SM8350 SM8450 SM8475 SM8550 SM8650 SM8750 SM8845 SM8850",
    ),
}


def package(quantized: QuantizedModel, target: Target) -> Deliverable:
    """Compile the file for the target's processor; the manifest says how many of its operations that runs.

    Raises:
        InputError: the vendor's package is missing, its compiler fails, or it takes none of the operations.
    """
    soc = VENDORS[target.options["vendor"]].soc(target.options["soc"])
    check_tool(target)
    compiled = _compiled(quantized.file.content, soc, target.name)
    stats = [] if compiled.partition_stats is None else compiled.partition_stats.subgraph_stats
    counts = {
        "operations_on_npu": sum(part.num_ops_offloaded for part in stats),
        "operations": sum(part.num_total_ops for part in stats),
        "partitions": sum(part.num_partitions_offloaded for part in stats),
    }
    if counts["operations_on_npu"] == 0:
        raise InputError(
            f"{target.name} takes none of the operations of a {quantized.recipe.name} file; try another recipe"
        )
    return Deliverable(
        TFLiteModel(compiled.model_bytes), {"npu": {"processor": repr(soc), **counts, "tested_on_hardware": False}}
    )


def check_tool(target: Target) -> None:
    """Refuse to go on without the vendor's compiler.

    Raises:
        InputError: its package is not installed.
    """
    sdk = VENDORS[target.options["vendor"]].sdk
    if importlib.util.find_spec(sdk.replace("-", "_")) is None:
        version = importlib.metadata.version("ai-edge-litert")
        raise InputError(
            f"{target.name} needs its vendor's compiler; {sdk} is not installed; pip install {sdk}=={version}"
        )


def _compiled(content: bytes, soc: Any, name: str) -> Any:
    """Return the compiled `aot_types.Model`, in memory."""
    aot = import_extra("ai_edge_litert.aot.aot_compile", "edge")
    log = io.StringIO()  # it prints its failures and a bar
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        try:
            result = aot.aot_compile(str(path), output_dir=folder, target=soc)
        except (OSError, RuntimeError) as error:  # no compiler for this platform; ValueError becomes a failed back end
            raise InputError(f"{name}: LiteRT's ahead-of-time compiler cannot run: {error}") from None
        result.load()
    for _, error in result.failed_backends:
        raise InputError(f"{name}: the vendor's compiler failed: {error}")
    [model] = result.models
    return model


TARGETS = tuple(
    Target(
        f"{name}_{processor.lower().removeprefix('tensor_')}",
        f"{vendor.words} {processor}, through its vendor's compiler; untested on hardware",
        package=package,
        check_tool=check_tool,
        options={"vendor": name, "soc": processor},
    )
    for name, vendor in VENDORS.items()
    for processor in vendor.processors.split()
)
