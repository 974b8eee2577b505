"""OpenVINO on an Intel processor.

In: a quantized file. Out: the file, and OpenVINO's own format beside it.
"""

from keras_se.export.sandbox import runner
from keras_se.export.targets.base import Deliverable, QuantizedModel, Target
from keras_se.optional_packages import import_extra


def package(quantized: QuantizedModel, target: Target) -> Deliverable:
    """Return the file as it is, with OpenVINO's own format, which computes the same and is read several times faster.

    Raises:
        InputError: OpenVINO is not installed, or cannot read or compile the file.
    """
    check_tool(target)
    files = runner.call(
        "keras_se.export.runtimes.openvino:converted", by="OpenVINO", file="the file", content=quantized.file.content
    )
    return Deliverable(quantized.file, {"openvino": files.pop("version")}, files)


def check_tool(target: Target) -> None:
    """Raise InputError where OpenVINO is not installed."""
    import_extra("openvino", "openvino")


TARGETS = (
    Target(
        "openvino",
        "OpenVINO on an Intel processor; int8 is exact on one with VNNI or AMX",
        package=package,
        check_tool=check_tool,
    ),
)
