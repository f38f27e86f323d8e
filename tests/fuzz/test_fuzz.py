"""Hostile inputs of every reader: mutated seeds in every run, coverage-guided ones in slow runs."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fuzz.targets import TARGETS, seeds
from hypothesis import given
from hypothesis import strategies as st

SECONDS = 60
HARNESS = Path(__file__).parent / "harness.py"


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read(name):
    for seed in seeds(name):
        TARGETS[name](seed)


@st.composite
def mutants(draw, name):
    data = bytearray(draw(st.sampled_from(list(seeds(name)))))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(data)))
        part = draw(st.binary(max_size=8))
        keep = draw(st.integers(0, 8))
        data[place : place + keep] = part
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_mutants_end_in_documented_errors(name, data):
    TARGETS[name](data.draw(mutants(name) | st.binary()))


@pytest.mark.slow
def test_fuzzing_finds_nothing(tmp_path):
    """Two harnesses at a time, as there may be two processors."""
    pytest.importorskip("atheris", reason="atheris has wheels for Linux on x86-64 alone")

    def fuzz(name):
        command = [sys.executable, HARNESS, name, f"corpus-{name}", f"-max_total_time={SECONDS}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(2) as pool:
        for name, result in zip(TARGETS, pool.map(fuzz, TARGETS), strict=True):
            assert result.returncode == 0, f"{name}: {result.stderr[-4000:]}"
