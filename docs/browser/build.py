"""Build the page that segments in the browser: `python docs/browser/build.py OUT`."""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ddrnet
from ddrnet.streets import render_street

HERE = Path(__file__).parent
PAGE = ("index.html", "style.css", "assets.js", "pixels.js", "page.js")

MODELS = {
    "ddrnet_23_nano.camvid": "Photos (CamVid classes)",
    "ddrnet_23_nano.synthetic": "Rendered streets",
}
"""Weights -> their name on the page; the last ones are for the built-in street."""

PACKAGE = "onnxruntime-web@1.30.0"

INTEGRITY = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
"""SHA-512 of the package, as npm publishes it."""

RUNTIME = {
    "runtime": "ort.webgpu.min.js",
    "glue": "ort-wasm-simd-threaded.asyncify.mjs",
    "wasm": "ort-wasm-simd-threaded.asyncify.wasm",
}
"""Asset -> its file in the package; one runtime computes with WebGPU and with WebAssembly."""

STREET = (512, 1024)
"""Height and width of the built-in street, in pixels."""


def build(out: Path, package: Path | None = None) -> None:
    """Write the page and what it loads, which is all in the folder.

    Args:
        out: The folder to write to.
        package: The package of the runtime (.tgz); npm fetches it by default.

    Raises:
        ValueError: If the package is not the pinned one.
        FileNotFoundError: If npm is needed and not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in PAGE:
        shutil.copy(HERE / name, out / name)
    (out / "assets").mkdir(exist_ok=True)
    for name, content in _assets(package):
        # Pages opened from a folder may load scripts, but fetch no files.
        text = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
        (out / "assets" / f"{name}.js").write_text(f'deliver("{name}", "{text}");\n')


def _assets(package: Path | None) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each file that the page loads."""
    yield "segment", (HERE / "segment.js").read_bytes()
    yield from _runtime(package)
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            file = Path(folder) / f"{model}.onnx"
            ddrnet.export(model, file, compact=True)
            yield model, file.read_bytes()
    yield "models", json.dumps([_described(model) for model in MODELS]).encode()
    picture = io.BytesIO()
    render_street(STREET, 2101_06085, 0).image.save(picture, "PNG")
    yield "street", picture.getvalue()


def _described(model: str) -> dict[str, Any]:
    weights = ddrnet.get_weights(model)
    return {
        "name": model,
        "title": MODELS[model],
        "rendered": model == list(MODELS)[-1],
        "terms": f"Weights: {weights.license}. Terms of their data: {weights.data_terms}",
        "classes": [
            {"name": label.name, "color": label.color}
            for label in ddrnet.Predictor(model, device="cpu").classes
        ],
    }


def _runtime(package: Path | None) -> Iterator[tuple[str, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        if package is None:
            subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True)
            package = next(Path(folder).glob("*.tgz"))
        digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
        if digest != INTEGRITY:
            raise ValueError(
                f"{package} is not {PACKAGE}: its SHA-512 is {digest}, expected {INTEGRITY}"
            )
        with tarfile.open(package) as archive:
            for name, file in RUNTIME.items():
                content = archive.extractfile(f"package/dist/{file}")
                assert content is not None
                yield name, content.read()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--package", type=Path, help="the .tgz of the runtime, without network")
    args = parser.parse_args()
    build(args.out, args.package)
    print(f"Open {args.out / 'index.html'} in a browser, or serve the folder.")
