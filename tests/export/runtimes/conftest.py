"""Emulated Arm cores."""

import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session", params=["cortex-a53", "cortex-a76"])
def arm_core(request) -> str:
    """Command that starts Python on an emulated core, in a folder that benchmarks/arm_root.py made."""
    roots = os.environ.get("KERAS_SE_ARM_ROOT")
    if not roots:
        pytest.skip("KERAS_SE_ARM_ROOT names no folder that python benchmarks/arm_root.py made")
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is not installed: apt-get install qemu-user")
    root = Path(roots) / request.param
    return f"qemu-aarch64 -cpu {request.param} -L {root} {root}/usr/bin/python3.11"
