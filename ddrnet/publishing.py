"""Registered checkpoints onto the Hub, and the page that lists them all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from safetensors import safe_open

from ddrnet.pretrained import hub
from ddrnet.pretrained.card import model_card, provenance, results
from ddrnet.pretrained.fetch import fetch_original, row_spec
from ddrnet.pretrained.saved_model import CONFIG_NAME, WEIGHTS_NAME
from ddrnet.pretrained.saving import CARD_NAME, write_folder
from ddrnet.variants import VARIANTS
from ddrnet.weights import DEFAULT_TAGS, ROWS
from ddrnet.weights.row import HubFile, PackagedFile, Source, WebFile, WeightsRow


def mirror_files(
    row: WeightsRow, repo: str, cache_dir: str | PathLike[str] | None = None
) -> dict[str, bytes]:
    """Return the files of a row's mirror on the Hub, the same bytes every time.

    Args:
        row: A row of the weights table; it is fetched from where it was first published.
        repo: "owner/name" of the mirror, for the model card.
        cache_dir: Replaces this library's cache.

    Raises:
        WeightsUnavailableError: If the weights cannot be fetched.
    """
    weights = fetch_original(row, cache_dir)
    with safe_open(weights, "pt") as tensors:
        has_aux_head = any(key.startswith("aux_head.") for key in tensors.keys())  # noqa: SIM118
    spec = row_spec(row, aux_head=has_aux_head)
    card = model_card(
        spec, _loaded_by(row, repo), license=row.license, datasets=[row.data], row=row
    )
    return {
        WEIGHTS_NAME: weights.read_bytes(),
        CARD_NAME: card.encode(),
        CONFIG_NAME: spec.to_json().encode(),
    }


def write_mirror(row: WeightsRow, files: dict[str, bytes], directory: str | PathLike[str]) -> Path:
    """Write the files of a mirror into a folder of its own below `directory`; return it."""
    folder = Path(directory).expanduser() / row.name
    write_folder(folder, files)
    return folder


def upload_mirror(row: WeightsRow, files: dict[str, bytes], organisation: str) -> HubFile:
    """Upload the files of a mirror; return the source to list first in the row.

    Raises:
        HubError: If the Hub refuses.
    """
    repo = mirror_repo(row, organisation)
    revision = hub.upload(repo, files, f"Convert {row.name}")
    content = files[WEIGHTS_NAME]
    return HubFile(repo, revision, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def mirror_repo(row: WeightsRow, organisation: str) -> str:
    """Return the repository that DDRNET_HUB_ORG makes `create_model` look into."""
    return f"{organisation}/{row.name}"


def weights_page() -> str:
    """Return the text of docs/weights.md, made from the rows alone."""
    order = list(VARIANTS)
    rows = sorted(ROWS, key=lambda row: order.index(row.model))
    return "\n\n".join([_PAGE_HEAD, _overview(rows), *map(_section, rows)]) + "\n"


_PAGE_HEAD = """\
# Pretrained weights

<!-- Made from ddrnet/weights:
python -c "import ddrnet.publishing as p; print(p.weights_page(), end='')" > docs/weights.md -->

`ddrnet.create_model("ddrnet_23", pretrained=True)` loads a model's default tag,
`ddrnet.create_model("ddrnet_23.cityscapes_mmseg", pretrained=True)` any other. Results are in
percent, as their publishers report them; of all, this project measured those of `ddrnet_23_nano`
alone. A tag that begins with `in1k` holds ImageNet weights: they initialise the backbone for
training, DAPPM and the heads stay untrained.

The weights of `ddrnet_23_nano` ship inside the package: they need no network and no cache.

Licences are those of the code that the weights were published with; hardly any publisher says
anything about the weights themselves, and the terms of the data apply to what is done with them.

All other files are fetched once, compared with their published hash, converted to safetensors and
kept below `$HF_HOME/assets/ddrnet`, or below `cache_dir=`; `ddrnet list --cached` shows them and
`ddrnet list --remove MODEL.TAG` deletes them. Where no hash is published, that of the first
download is recorded and every later one must equal it. `HF_HUB_OFFLINE=1` forbids the network,
`DDRNET_HUB_ORG=ORG` looks for a converted copy at `ORG/MODEL.TAG` on the Hugging Face Hub first,
and a file fetched by hand loads with `checkpoint_path=`."""


def _overview(rows: Iterable[WeightsRow]) -> str:
    head = ["| name | result | conditions | licence | hash |", "|---|---|---|---|---|"]
    return "\n".join([*head, *map(_overview_line, rows)])


def _overview_line(row: WeightsRow) -> str:
    default = " (default)" if DEFAULT_TAGS.get(row.model) == row.tag else ""
    result = f"{row.metrics[0].name} {row.metrics[0].percent}" if row.metrics else "not published"
    conditions = [row.metrics[0].conditions] if row.metrics else []
    conditions += ["extra data"] * bool(row.extra_data) + ["distilled"] * bool(row.distillation)
    cells = [f"`{row.name}`{default}", result, ", ".join(conditions), row.license, _hash(row)]
    return f"| {' | '.join(cells)} |"


def _hash(row: WeightsRow) -> str:
    """Say how well the first source is known."""
    source = row.sources[0]
    if row.packaged is not None:
        return "ships with ddrnet"
    if not source.sha256:
        return "recorded locally"
    if not source.enforced:
        return "reported by others"
    return "known" if len(source.sha256) == 64 else f"begins {source.sha256}"


def _section(row: WeightsRow) -> str:
    sources = "\n".join(
        f"{index}. {_describe(source)}" for index, source in enumerate(row.sources, start=1)
    )
    parts = [f"## {row.name}", results(row.metrics), provenance(row), f"Sources:\n\n{sources}"]
    return "\n\n".join(filter(None, parts))


def _describe(source: Source) -> str:
    links = source.links if isinstance(source, WebFile) else (source.address,)
    bracketed = ", else ".join(f"<{link}>" for link in links)
    place = f"`{source.address}`" if isinstance(source, PackagedFile) else bracketed
    size = f", {source.size} bytes" if source.size else ""
    known = f" (sha256 {source.sha256}{size})" if source.sha256 else ""
    return place + known


def _loaded_by(row: WeightsRow, repo: str) -> str:
    return f"hf-hub:{repo}" if row.task == "segmentation" else row.name
