"""`ddrnet env`: what a bug report needs, and nothing secret."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy
import pytest
import torch

import ddrnet
from ddrnet.cli import env, main
from ddrnet.pretrained.weights_cache import CacheFolder, Record
from ddrnet.registry import get_weights


def block(capsys):
    assert main(["env"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {name: value.strip() for name, _, value in (line.partition("  ") for line in lines)}


def test_names_versions_devices_and_threads(capsys):
    shown = block(capsys)
    assert shown["ddrnet"].startswith(ddrnet.__version__)
    assert shown["Python"].startswith(platform.python_version())
    assert shown["numpy"] == numpy.__version__
    assert torch.__version__.startswith(shown["torch"])  # without a suffix such as +cpu
    assert shown["threads"].startswith(f"{torch.get_num_threads()},")
    assert "instructions" in shown["cpu"]
    assert ("cuda:0" in shown) == torch.cuda.is_available()
    assert str(len(os.sched_getaffinity(0))) in shown["processor"] or sys.platform != "linux"


def test_names_the_packages_of_users_extras_and_those_that_are_absent(capsys, monkeypatch):
    lines = ["numpy>=1.26", "no-such-package>=2.0; extra == 'plot'", "ruff>=0.6; extra == 'dev'"]
    monkeypatch.setattr(metadata, "requires", lambda _: lines)
    shown = block(capsys)
    assert shown["numpy"] == numpy.__version__
    assert shown["no-such-package"] == "not installed"
    assert "ruff" not in shown


def test_works_in_a_checkout_that_is_not_installed(capsys, monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert block(capsys)["packages"] == "unknown: ddrnet is not installed"


def test_works_without_a_working_torch(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "cannot be imported" in block(capsys)["torch"]


def test_names_cached_weights(capsys, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path))
    assert block(capsys)["weights cache"] == f"{tmp_path}, empty"
    folder = CacheFolder.of(get_weights("ddrnet_23.cityscapes"))
    folder.path.mkdir(parents=True)
    folder.weights.write_bytes(b"1234")
    folder.write_record(Record(size=4))
    assert block(capsys)["weights cache"].endswith(", ddrnet_23.cityscapes")


def test_shows_no_secrets_and_no_name_of_the_user(capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret too")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:se/cret@proxy.example:3128/path?key=secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("HF_HOME", str(Path.home() / "hub\nsecond line"))
    assert main(["env"]) == 0
    text = capsys.readouterr().out
    assert "secret" not in text
    assert str(Path.home()) + os.sep not in text
    shown = dict(line.split(maxsplit=1) for line in text.splitlines() if "  " in line)
    assert shown["HF_TOKEN"] == "set, not shown"
    assert shown["HTTPS_PROXY"] == "proxy.example:3128"
    assert shown["OMP_NUM_THREADS"] == "3"
    assert shown["HF_HOME"].startswith(os.path.join("~", "hub"))


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://hub.example", "hub.example"),
        ("proxy:8080", "proxy:8080"),
        ("user:password@proxy:8080", "proxy:8080"),
        ("https://hub.example?token=secret", "hub.example"),
    ],
)
def test_shows_hosts_only(address, host):
    assert env._host(address) == host


def test_a_process_prints_it(tmp_path):
    command = [sys.executable, "-m", "ddrnet", "env"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("ddrnet ")
