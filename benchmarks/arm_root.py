"""Make emulated Arm machines for qemu-aarch64: Debian's Python 3.11 with ai-edge-litert and NumPy, a folder a core.

    python benchmarks/arm_root.py DIR

writes DIR/cortex-a53, of a Raspberry Pi 3 (no dot product), and DIR/cortex-a76, of a Raspberry Pi 5, and prints the
command that runs the Python of each. It downloads 60 MB, from Debian and from PyPI, and installs nothing: Debian's
packages are unpacked, and apt keeps its lists of arm64 in DIR. It needs Debian 12 with apt-get and dpkg-deb, as any
user; to run the machines, qemu-aarch64 (Debian's qemu-user).
"""

import argparse
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

PACKAGES = [
    "python3.11-minimal",
    "python3.11",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libc6",
    "libstdc++6",
    "libgcc-s1",
    "zlib1g",
    "libexpat1",
    "libssl3",
    "libffi8",
    "libbz2-1.0",
    "liblzma5",
    "libsqlite3-0",
    "libuuid1",
    "libcrypt1",
    "libdb5.3",
    "libtinfo6",
    "libncursesw6",
    "libreadline8",
]
"""Debian's, with all that Python 3.11 and LiteRT load."""

PLATFORMS = ("manylinux_2_27_aarch64", "manylinux_2_28_aarch64", "manylinux2014_aarch64")
_SITE = "usr/lib/python3/dist-packages"


class Core(NamedTuple):
    """A core as Linux tells of it, which XNNPACK's cpuinfo reads; without that it crashes."""

    part: str
    """CPU part of Arm's MIDR_EL1, as in Linux's arch/arm64/include/asm/cputype.h."""
    variant: str
    revision: int
    features: str
    khz: int


_V8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
CORES = {
    "cortex-a53": Core("0xd03", "0x0", 4, f"{_V8} cpuid", 1_400_000),
    "cortex-a76": Core("0xd0b", "0x4", 1, f"{_V8} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp", 2_400_000),
}


def main() -> None:
    """Make the folders, or say in one line why not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args().folder.absolute()
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            sys.exit(f"arm_root: it needs Debian 12 or a system like it; there is no {tool} here")
    shared = folder / "shared"
    if not (shared / _SITE / "ai_edge_litert").is_dir():
        _unpack_debian(folder / "apt", shared)
        _unpack_wheels(shared / _SITE)
    for name, core in CORES.items():
        root = folder / name
        if not root.is_dir():
            shutil.copytree(shared, root, symlinks=True, copy_function=os.link)  # the same bytes, once on the disk
            write_core(root, core)
        print(f"qemu-aarch64 -cpu {name} -L {root} {root}/usr/bin/python3.11")


def _unpack_debian(state: Path, root: Path) -> None:
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()  # of a machine with nothing installed
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
    }
    settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    print("reading Debian's lists for arm64 …", flush=True)
    _run("apt-get", *settings, "-qq", "update")
    print(f"downloading {len(PACKAGES)} packages …", flush=True)
    _run("apt-get", *settings, "-qq", "download", *PACKAGES, folder=state)
    for package in sorted(state.glob("*.deb")):
        _run("dpkg-deb", "-x", package, root)


def _unpack_wheels(site: Path) -> None:
    version = importlib.metadata.version("ai-edge-litert")  # as here: another is refused
    print(f"downloading ai-edge-litert {version} and NumPy for aarch64 …", flush=True)
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    _run(
        sys.executable, "-m", "pip", "install", "-q", "--target", site, "--only-binary=:all:", *platforms,
        "--python-version", "3.11", "--no-warn-conflicts", f"ai-edge-litert=={version}", "numpy<2.4",
    )  # fmt: skip


def write_core(root: Path, core: Core) -> None:
    """Write the files of /proc and /sys that tell of a machine with one such core."""
    system, topology = "sys/devices/system/cpu", "sys/devices/system/cpu/cpu0/topology"
    files = {
        "proc/cpuinfo": (
            f"processor\t: 0\nBogoMIPS\t: 38.40\nFeatures\t: {core.features}\nCPU implementer\t: 0x41\n"
            f"CPU architecture: 8\nCPU variant\t: {core.variant}\nCPU part\t: {core.part}\n"
            f"CPU revision\t: {core.revision}\n"
        ),
        f"{system}/possible": "0\n",
        f"{system}/present": "0\n",
        f"{system}/online": "0\n",
        f"{system}/kernel_max": "0\n",
        f"{system}/cpu0/cpufreq/cpuinfo_max_freq": f"{core.khz}\n",
        f"{system}/cpu0/cpufreq/cpuinfo_min_freq": "600000\n",
        f"{topology}/physical_package_id": "0\n",
        f"{topology}/core_id": "0\n",
        f"{topology}/core_siblings": "1\n",
        f"{topology}/core_siblings_list": "0\n",
        f"{topology}/thread_siblings": "1\n",
        f"{topology}/thread_siblings_list": "0\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _run(*command: object, folder: Path | None = None) -> None:
    done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip()] or [f"status {done.returncode}"]
        sys.exit(f"arm_root: {command[0]} failed: {words[-1]}")


if __name__ == "__main__":
    main()
