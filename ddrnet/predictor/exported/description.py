"""The ONNX files of `ddrnet.export`: their description of themselves, and the seal at their end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ddrnet.errors import ExportError, HubError
from ddrnet.files import StrPath
from ddrnet.network import DDRNet
from ddrnet.pretrained.saving import spec_of
from ddrnet.spec import LIBRARY, ModelSpec

Output = Literal["labels", "logits", "full"]
"""Label maps, logits at stride 8, or logits at full size."""

StoredPrecision = Literal["float32", "float16", "int8"]
"""The numbers of the network's weights and activations."""

IMAGES = "images"
"""Name of the graph's input; its output has the name of its kind."""

_LARGEST = 2**31
"""Bytes of the largest file that the format allows."""

_SEAL = b"\x72\x4a\x0a\x06sha256\x12\x40"
"""Start of the last field of a file: field 14, an entry of the metadata, with a key and 64 digits.

Source: onnx.proto3, `ModelProto.metadata_props` and `StringStringEntryProto`.
"""

_SEAL_LENGTH = len(_SEAL) + 64


@dataclass(frozen=True)
class Description:
    """The metadata of an exported file.

    Attributes:
        spec: The model without its tensors.
        output: The kind of result.
        precision: The numbers that the network computes with.
        weights: "model.tag" of the weights, or of those that their training started from; or "".
        license: SPDX identifier of the weights, or "".
        data_terms: Terms of the data they were trained on, or "".
        library_version: Version of this library that wrote the file.
    """

    spec: ModelSpec
    output: Output
    precision: StoredPrecision
    weights: str
    license: str
    data_terms: str
    library_version: str

    @classmethod
    def of(
        cls,
        model: DDRNet,
        output: Output,
        precision: StoredPrecision = "float32",
        *,
        license: str | None = None,
        library_version: str = "",
    ) -> Description:
        """Describe a graph of a model; the license is by default that of its weights row."""
        row = model.pretrained
        return cls(
            spec=spec_of(model),
            output=output,
            precision=precision,
            weights=row.name if row else "",
            license=license or (row.license if row else ""),
            data_terms=row.data_terms if row else "",
            library_version=library_version,
        )

    def to_metadata(self) -> dict[str, str]:
        """Return what the file stores; `config` is JSON, with classes, colours, mean and std."""
        return {
            "library": LIBRARY,
            "library_version": self.library_version,
            "output": self.output,
            "precision": self.precision,
            "weights": self.weights,
            "license": self.license,
            "data_terms": self.data_terms,
            "config": self.spec.to_json(),
        }

    @classmethod
    def from_metadata(cls, found: Mapping[str, str], place: str) -> Description:
        """Read what `to_metadata` returned.

        Args:
            found: Keys and values.
            place: Name of the file, for errors.

        Raises:
            ExportError: If the library did not write it, or it is damaged.
        """
        texts = ("weights", "license", "data_terms", "library_version")
        closed = {"output": get_args(Output), "precision": get_args(StoredPrecision)}
        if found.get("library") != LIBRARY:
            raise _foreign(place)
        for name, values in closed.items():
            if found.get(name) not in values:
                raise ExportError(
                    f"{place} is damaged, or newer than this library: its {name} is "
                    f"{found.get(name)!r:.60}, expected one of {', '.join(values)}"
                )
        if not all(found.get(name, "").isprintable() for name in texts):
            raise ExportError(f"{place} is damaged: a text of its metadata cannot be printed")
        try:
            spec = ModelSpec.from_json(found.get("config", ""), place)
        except HubError as error:
            raise ExportError(f"the metadata of {place} cannot be read: {error}") from error
        kinds = {name: found[name] for name in closed}
        return cls(spec=spec, **kinds, **{name: found.get(name, "") for name in texts})  # type: ignore[arg-type]


def sealed(content: bytes) -> bytes:
    """Return a serialized ONNX model with its own SHA-256 as the last entry of its metadata."""
    return content + _SEAL + hashlib.sha256(content).hexdigest().encode()


def read_sealed(path: StrPath) -> bytes:
    """Return the content of a file, if nothing has changed it since `sealed` completed it.

    The seal tells damage, not authorship: whoever changes a file can also seal it again.

    Raises:
        FileNotFoundError: If there is no such file.
        ExportError: If `ddrnet.export` did not write it, or it has changed since.
    """
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"there is no file {file}")
    if not file.is_file() or file.stat().st_size > _LARGEST:
        raise _foreign(file)
    content = file.read_bytes()
    body, seal = content[:-_SEAL_LENGTH], content[-_SEAL_LENGTH:]
    if not seal.startswith(_SEAL):
        raise _foreign(file)
    if seal[len(_SEAL) :] != hashlib.sha256(body).hexdigest().encode():
        raise ExportError(f"{file} has changed since it was exported: export the model again")
    return content


def _foreign(place: StrPath) -> ExportError:
    return ExportError(
        f"{place} is no ONNX file of ddrnet.export, or only the beginning of one: export the model "
        "again with `ddrnet export MODEL OUT.onnx`; other files run in onnxruntime itself"
    )
