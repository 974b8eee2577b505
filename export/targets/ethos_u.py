"""Arm's Ethos-U neural processors, by Arm's compiler Vela.

In: a file of integers for one image. Out: the compiled file, the one that Vela was given, and Vela's estimates.
"""

import csv
import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from keras_se.errors import InputError
from keras_se.export.conversion.lowering_config import CONV_BEFORE_POOL
from keras_se.export.sandbox.command import failure, run_python
from keras_se.export.targets.base import (
    FLOAT_RECIPES,
    LAST_MEAN,
    NO_FLOATS,
    RESIZED,
    WIDE_POOL,
    Deliverable,
    Limit,
    QuantizedModel,
    Target,
    is_int16,
)
from keras_se.export.tflite.model import TFLiteModel
from keras_se.optional_packages import import_extra

BEFORE = ".before_vela.tflite"
"""Suffix of the file that Vela compiled. It is kept, because the compiled one runs on the NPU and nowhere else:
parity, diagnosis and latency are measured on this one, of the same numbers."""

_SYSTEMS = "Arm/vela.ini"  # packaged with Vela, and found by this name
_KIB = 1024  # the unit of memory in Vela's summary
_SHARE = re.compile(r"^(CPU|NPU) operators = (\d+)", re.MULTILINE)
_FALLBACK = re.compile(r"operator: (\w+), ofm: .*\nReason: (.*)")
_TENSOR = re.compile(r" \(.*\)$")  # the tensor at the end of a reason: one a reason would be too many


@dataclass(frozen=True)
class Summary:
    """Vela's estimates of one inference: a model of the system, not a measurement."""

    cycles: int
    """Cycles of the NPU's clock, waits for memory included."""
    cycles_npu: int
    """Cycles of these in which the NPU computes."""
    milliseconds: float
    npu_share: float
    """Share of the operations that run on the NPU; the others fall back to the CPU, and cost is not counted."""
    sram_bytes: int
    dram_bytes: int
    flash_bytes: int


class Compiled(NamedTuple):
    """Result of Vela's compilation of a file."""

    content: bytes
    """File for the NPU's driver: one custom operation for each part that runs there."""
    summary: Summary
    fallbacks: Mapping[str, str]
    """Operations that stay on the CPU, by their name in the schema, each with a reason of Vela's."""


def package(quantized: QuantizedModel, target: Target) -> Deliverable:
    """Compile the file for the target's NPU, every operation of it.

    Raises:
        InputError: Vela is not installed or fails, or an operation is left to the CPU.
    """
    compiled = compile_for(quantized.file.content, target)
    if compiled.summary.npu_share < 1:
        raise InputError(
            f"every operation must run on the NPU of {target.name}; {1 - compiled.summary.npu_share:.1%} are left to "
            f"the CPU: {_reasons(compiled.fallbacks)}; replace these operations or choose another recipe"
        )
    manifest = {
        "version": metadata.version("ethos-u-vela"),
        **target.options,
        "compiled_from": {"suffix": BEFORE, "sha256": hashlib.sha256(quantized.file.content).hexdigest()},
        "npu_share": compiled.summary.npu_share,
        "estimates": estimates(compiled.summary),
    }
    return Deliverable(TFLiteModel(compiled.content), {"vela": manifest}, {BEFORE: quantized.file.content})


def vela_summary(content: bytes, accelerator: str) -> Summary:
    """Return Vela's estimates for a file, in the system of the accelerator's target.

    Args:
        content: an integer `.tflite` file, uncompiled. Operations left to the CPU are allowed, and counted nowhere.
        accelerator: Vela's name or the target's: ethos-u65-512 or ethos_u65_512.
    Raises:
        InputError: there is no such accelerator, or Vela is not installed or fails.
    """
    name = accelerator.replace("-", "_")
    targets = {target.name: target for target in TARGETS}
    if name not in targets:
        raise InputError(f"accelerator must be one of {', '.join(targets)}; got {accelerator!r}")
    return compile_for(content, targets[name]).summary


def check_tool(target: Target) -> None:
    """Refuse to go on without Vela.

    Raises:
        InputError: it is not installed.
    """
    import_extra("ethosu.vela", "ethos")


def compile_for(content: bytes, target: Target) -> Compiled:
    """Compile a file by Vela for a target, in a process of its own: malformed files abort it.

    Raises:
        InputError: Vela is not installed or fails.
    """
    check_tool(target)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "network.tflite"), Path(folder, "out")
        source.write_bytes(content)
        options = {
            "accelerator-config": target.options["accelerator"],
            "config": _SYSTEMS,
            "system-config": target.options["system_config"],
            "memory-mode": target.options["memory_mode"],
            "output-dir": out,
        }
        run = run_python(["-m", "ethosu.vela", *(f"--{name}={value}" for name, value in options.items()), source])
        if run.returncode != 0:
            raise InputError(f"Vela cannot compile the file for {target.name}: {failure(run, -1)}{_floats(content)}")
        [compiled], [table] = out.glob("*_vela.tflite"), out.glob("*_summary_*.csv")
        return Compiled(compiled.read_bytes(), _summary(table, run.stdout), dict(_FALLBACK.findall(run.stdout)))


def estimates(summary: Summary) -> dict[str, Any]:
    """Return a summary as the manifest has it."""
    figures = vars(summary).copy()
    del figures["npu_share"]  # known, not estimated
    return figures


def _summary(table: Path, printed: str) -> Summary:
    with table.open() as lines:
        [row] = csv.DictReader(lines)
    operations = {where: int(count) for where, count in _SHARE.findall(printed)}
    return Summary(
        cycles=int(row["cycles_total"]),
        cycles_npu=int(row["cycles_npu"]),
        milliseconds=1e3 * float(row["inference_time"]),
        npu_share=operations["NPU"] / sum(operations.values()),
        sram_bytes=_bytes(row["sram_memory_used"]),
        dram_bytes=_bytes(row["dram_memory_used"]),
        flash_bytes=_bytes(row["on_chip_flash_memory_used"]) + _bytes(row["off_chip_flash_memory_used"]),
    )


def _bytes(kibibytes: str) -> int:
    return round(_KIB * float(kibibytes))


def _reasons(fallbacks: Mapping[str, str]) -> str:
    """List the operations by reason, in one line."""
    by_reason: dict[str, list[str]] = {}
    for operation, reason in sorted(fallbacks.items()):
        by_reason.setdefault(_TENSOR.sub("", reason), []).append(operation)
    return "; ".join(f"{', '.join(operations)} ({reason})" for reason, operations in by_reason.items())


def _floats(content: bytes) -> str:
    """Say what to change: of floats, which it takes in few places, Vela's own message is silent."""
    operations = TFLiteModel(content).float_operations
    return f"; replace what computes in float: {', '.join(operations)}" if operations else "; change the network"


class Npu(NamedTuple):
    """A family of NPUs, in the system that Vela takes for it unless told otherwise."""

    macs: tuple[int, ...]
    """Multiply-accumulates a cycle: its sizes."""
    system_config: str
    """Clock, memories and their bandwidths: a section of Vela's own `Arm/vela.ini`, as is the memory mode."""
    memory_mode: str
    limits: tuple[Limit, ...]
    """Operations that Vela compiles for none of its sizes."""


_LIMITS = (
    NO_FLOATS,
    Limit({LAST_MEAN, RESIZED, WIDE_POOL}, "Vela leaves {} to the CPU"),
    Limit({"GELU", "HARD_SWISH", "SQUARED_DIFFERENCE"}, "the NPU has no int16 form of {}", is_int16),
)
_NO_INT16_MATMUL = Limit({"BATCH_MATMUL"}, "the NPU has no int16 form of {}", is_int16)

NPUS = {
    "u55": Npu((32, 64, 128, 256), "Ethos_U55_High_End_Embedded", "Shared_Sram", (*_LIMITS, _NO_INT16_MATMUL)),
    "u65": Npu((256, 512), "Ethos_U65_Client_Server", "Dedicated_Sram_384KB", (*_LIMITS, _NO_INT16_MATMUL)),
    "u85": Npu((128, 256, 512, 1024, 2048), "Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB", _LIMITS),
}


def _target(family: str, npu: Npu, macs: int) -> Target:
    return Target(
        f"ethos_{family}_{macs}",
        f"Arm Ethos-{family.upper()} with {macs} multiply-accumulates a cycle",
        higher_precision="ai16",
        unsupported_recipes=dict.fromkeys(FLOAT_RECIPES, "it computes on integers alone"),
        integer_config=CONV_BEFORE_POOL,
        limits=npu.limits,
        one_image=True,
        package=package,
        check_tool=check_tool,
        options={
            "accelerator": f"ethos-{family}-{macs}",
            "system_config": npu.system_config,
            "memory_mode": npu.memory_mode,
        },
    )


TARGETS = tuple(_target(family, npu, macs) for family, npu in NPUS.items() for macs in npu.macs)
