"""An emulated Arm machine to run files on: Debian's Python for arm64 with ai-edge-litert, in a folder.

    python benchmarks/arm_root.py arm/
    keras-se parity run/model.keras files/*.tflite --data digits --on "$(python benchmarks/arm_root.py arm/)"

Makes the folder where it is not there, from Debian's packages (apt-get, dpkg) and PyPI's wheels, and prints the command
that starts Python in it, for --on. It needs qemu-user and Debian or a system made of it; 300 MB are fetched once.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

PACKAGES = (
    *("python3-minimal", "libpython3-stdlib", "libc6", "libstdc++6", "libgcc-s1", "zlib1g", "libexpat1", "libssl3"),
    *("libffi8", "libbz2-1.0", "liblzma5", "libsqlite3-0", "libuuid1", "libcrypt1", "libdb5.3", "libtinfo6"),
    *("libncursesw6", "libreadline8"),
)
"""Debian's, beside those of its Python's version."""
PLATFORMS = ("manylinux_2_27_aarch64", "manylinux_2_28_aarch64", "manylinux2014_aarch64")


@dataclass(frozen=True)
class Core:
    """What XNNPACK reads of a core before it chooses kernels; without it, it crashes."""

    part: str
    """Of the Main ID Register, Arm's reference manual of the core."""
    features: str
    """As Linux names them."""


_BASE = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
CORES = {
    "cortex-a53": Core("0xd03", _BASE),
    "cortex-a76": Core("0xd0b", f"{_BASE} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"),
}


def main() -> None:
    """Make the folder, unless it is there, and print the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the machine; each core has one in it")
    parser.add_argument("--core", choices=CORES, default="cortex-a76")
    options = parser.parse_args()
    root = options.folder.resolve() / options.core
    for tool, package in (("qemu-aarch64", "qemu-user"), ("apt-get", "apt"), ("dpkg", "dpkg")):
        if shutil.which(tool) is None:
            sys.exit(f"arm_root.py needs {tool}, of Debian's package {package}, which is not installed")
    if not root.exists():
        shared = root.with_name("all")
        if not shared.exists():
            make(shared)
        shutil.copytree(shared, root, symlinks=True, copy_function=_linked)
        describe(root, CORES[options.core])
    print(f"env PYTHONPATH={root / 'wheels'} qemu-aarch64 -cpu {options.core} -L {root} {python_of(root)}")


def make(folder: Path) -> None:
    """Fetch the packages and the wheels, and unpack them; the folder appears whole or not at all."""
    architectures = run("dpkg", "--print-foreign-architectures") + run("dpkg", "--print-architecture")
    if "arm64" not in architectures.split():
        sys.exit("arm_root.py needs Debian's packages of arm64: dpkg --add-architecture arm64 && apt-get update")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        fetched, root = Path(name, "fetched"), Path(name, "root")
        fetched.mkdir()
        number = python_version()
        own = [f"python{number}-minimal", f"python{number}", f"libpython{number}-minimal", f"libpython{number}-stdlib"]
        print("fetching Debian's packages", file=sys.stderr)
        run("apt-get", "download", *(f"{package}:arm64" for package in (*own, *PACKAGES[2:])), folder=fetched)
        for package in sorted(fetched.glob("*.deb")):
            run("dpkg", "-x", package, root)
        print("fetching PyPI's wheels", file=sys.stderr)
        wheels = [f"ai-edge-litert=={version('ai-edge-litert')}", "numpy<2.4"]
        platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
        run(
            *(sys.executable, "-m", "pip", "install", "-q", "--target", root / "wheels", "--only-binary=:all:"),
            *(*platforms, "--python-version", number, *wheels),
        )
        root.rename(folder)


def python_version() -> str:
    """Return the version of Debian's Python, as 3.11."""
    depends = run("apt-cache", "depends", "python3-minimal")
    return next(line.split("python")[1].split("-")[0] for line in depends.splitlines() if "Depends: python3." in line)


def python_of(root: Path) -> Path:
    return next(path for path in sorted((root / "usr" / "bin").glob("python3.*")) if path.suffix[1:].isdigit())


def describe(root: Path, core: Core) -> None:
    """Write what Linux says of a core into the folder, where qemu looks first."""
    lines = ("processor : 0", f"Features : {core.features}", "CPU implementer : 0x41", "CPU architecture: 8")
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text("\n".join((*lines, "CPU variant : 0x1", f"CPU part : {core.part}\n")))
    processors = root / "sys" / "devices" / "system" / "cpu"
    first = processors / "cpu0"
    for name, text in {
        "possible": "0",
        "present": "0",
        "online": "0",
        "kernel_max": "255",
        "cpu0/topology/core_id": "0",
        "cpu0/topology/physical_package_id": "0",
        "cpu0/topology/core_siblings_list": "0",
        "cpu0/topology/thread_siblings_list": "0",
        "cpu0/cpufreq/cpuinfo_max_freq": "1800000",
        "cpu0/cpufreq/cpuinfo_min_freq": "600000",
    }.items():
        path = processors / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    assert first.exists()


def _linked(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def run(*words: object, folder: Path | None = None) -> str:
    """Run a program and return what it prints; end with its last words where it fails."""
    done = subprocess.run([str(word) for word in words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{words[0]} failed: {' '.join((done.stderr or done.stdout).split())[-500:]}")
    return done.stdout


if __name__ == "__main__":
    main()
