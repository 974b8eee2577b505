"""Vendors' compilers: LiteRT's whole way to one, with the child process that is the compiler played by a script."""

import importlib

import pytest
from ai_edge_litert.aot.core import apply_plugin

from keras_se.errors import InputError
from keras_se.export import RECIPES
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.registry import TARGETS
from keras_se.export.targets.vendor_npu import VENDORS
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing

PROCESSORS = [target for target in TARGETS.values() if target.options.get("vendor")]


def test_there_are_the_processors_that_litert_has():
    for name, vendor in VENDORS.items():
        targets = importlib.import_module(f"ai_edge_litert.aot.vendors.{vendor.name}.target")
        expected = {str(model) for model in targets.SocModel} - {"ALL"}
        assert {target.options["soc"] for target in PROCESSORS if target.options["vendor"] == name} == expected
    assert all("untested on hardware" in target.what for target in PROCESSORS)
    assert {"qualcomm_sm8750", "mediatek_mt6991", "google_tensor_g5", "intel_npu_ptl"} <= set(TARGETS)


@pytest.fixture
def package_for(trained):
    """Function that packages the trained network's int8 file for the target of that name."""

    def package(target):
        file = TFLiteModel(trained.files["static_wi8_ai8"].read_bytes())
        recipe = RECIPES["static_wi8_ai8"]
        return TARGETS[target].package_for_target(QuantizedModel(file, recipe, "network", Preprocessing(32, 32), None))

    return package


@pytest.mark.parametrize(
    ("target", "package"),
    [
        ("qualcomm_sm8750", "qualcomm"),
        ("mediatek_mt6991", "mediatek"),
        ("google_tensor_g5", "google-tensor"),
        ("intel_npu_lnl", "intel"),
    ],
)
def test_without_the_vendors_package_it_is_named(target, package, package_for):
    with pytest.raises(
        InputError, match=rf"^{target} needs .*; pip install ai-edge-litert-sdk-{package}==\d"
    ) as refused:
        package_for(target)
    assert "\n" not in str(refused.value)


PLUGIN = """#!/bin/sh
for argument; do
  case $argument in
    --model=*) model=${argument#--model=} ;;
    --o=*) out=${argument#--o=} ;;
    --soc_model=SM8750) known=yes ;;
  esac
done
[ "$known" ] || exit 3
cp "$model" "$out"
"""
REPORT = "echo 'Partitioned subgraph<0>, selected %d ops, from a total of 95 ops. resulted in %d partitions.'\n"


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """A vendor's package on the path, and a script for the process that loads its compiler."""
    sdk = tmp_path / "sdk" / "ai_edge_litert_sdk_qualcomm"
    sdk.mkdir(parents=True)
    (sdk / "__init__.py").write_text("def path_to_sdk_libs(): return '/nowhere'\n")
    monkeypatch.syspath_prepend(sdk.parent)

    def placed(script):
        path = tmp_path / "apply_plugin_main"
        path.write_text(script)
        path.chmod(0o755)
        monkeypatch.setattr(apply_plugin, "_BINARY", path)

    return placed


def test_what_the_compiler_took_is_in_the_manifest(package_for, compiler, capsys):
    compiler(PLUGIN + REPORT % (90, 2))
    deliverable = package_for("qualcomm_sm8750")
    assert deliverable.manifest["npu"] == {
        "processor": "Qualcomm_SM8750",
        "operations_on_npu": 90,
        "operations": 95,
        "partitions": 2,
        "tested_on_hardware": False,
    }
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("#!/bin/sh\nexit 1\n", "the vendor's compiler failed: apply_plugin failed"),
        ("#!/bin/sh\nexit 0\n", "the vendor's compiler failed: .* is not a TFLite model"),
        (PLUGIN + REPORT % (0, 0), "takes none of the operations of a static_wi8_ai8 file"),
        (None, "LiteRT's ahead-of-time compiler cannot run: Failed to find"),
    ],
    ids=["fails", "makes nothing", "takes nothing", "is not there"],
)
def test_a_failed_back_end_is_never_silent(script, message, package_for, tmp_path, compiler, monkeypatch, capsys):
    if script is None:
        monkeypatch.setattr(apply_plugin, "_BINARY", tmp_path / "nowhere")
    else:
        compiler(script)
    with pytest.raises(InputError, match=f"^qualcomm_sm8750:? {message}") as refused:
        package_for("qualcomm_sm8750")
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().out == ""
