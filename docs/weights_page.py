"""Write docs/weights.md from the weights table: `python docs/weights_page.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ddrnet.pretrained.card import provenance, results
from ddrnet.variants import VARIANTS
from ddrnet.weights import DEFAULT_TAGS, ROWS
from ddrnet.weights.row import PackagedFile, Source, WebFile, WeightsRow

PAGE = Path(__file__).with_name("weights.md")

_HEAD = """\
# Pretrained weights

<!-- Written by `python docs/weights_page.py` from the rows in ddrnet/weights. -->

`ddrnet.create_model("ddrnet_23", pretrained=True)` loads the model's default tag;
`ddrnet.create_model("ddrnet_23.cityscapes_mmseg", pretrained=True)` loads another one. Results are
in percent, as their publishers report them; this project measured only those of `ddrnet_23_nano`.
Tags that begin with `in1k` hold ImageNet weights. They initialise the backbone for training; DAPPM
and the heads stay untrained. [timm](ecosystems.md) builds the whole classifiers from `in1k` and
`in1k_timm`.

The weights of `ddrnet_23_nano` ship inside the package and need neither network nor cache.

The licence is that of the code that the weights were published with. Hardly any publisher states a
licence for the weights themselves. The terms of the data apply to every use of the weights.

All other files are fetched once, compared with their published hash, converted to safetensors and
kept below `$HF_HOME/assets/ddrnet`, or below `cache_dir=`. `ddrnet list --cached` shows them,
`ddrnet list --remove MODEL.TAG` deletes them. Where no hash is published, the hash of the first
download is recorded, and every later download must match it. `HF_HUB_OFFLINE=1` forbids network
access. `DDRNET_HUB_ORG=ORG` looks first for a converted copy at `ORG/MODEL.TAG` on the Hugging Face
Hub. A file that you fetched by hand loads with `checkpoint_path=`."""


def weights_page(rows: Sequence[WeightsRow] = ROWS) -> str:
    """Return the text of the page: an overview of the rows, then a section for each."""
    order = list(VARIANTS)
    rows = sorted(rows, key=lambda row: order.index(row.model))
    table = [
        "| name | result | conditions | licence | hash |",
        "|---|---|---|---|---|",
        *map(_overview_line, rows),
    ]
    return "\n\n".join([_HEAD, "\n".join(table), *map(_section, rows)]) + "\n"


def _overview_line(row: WeightsRow) -> str:
    default = " (default)" if DEFAULT_TAGS.get(row.model) == row.tag else ""
    result = f"{row.metrics[0].name} {row.metrics[0].percent}" if row.metrics else "not published"
    conditions = [row.metrics[0].conditions] if row.metrics else []
    conditions += ["extra data"] * bool(row.extra_data) + ["distilled"] * bool(row.distillation)
    known = _known_hash(row.sources[0])
    cells = [f"`{row.name}`{default}", result, ", ".join(conditions), row.license, known]
    return f"| {' | '.join(cells)} |"


def _known_hash(source: Source) -> str:
    if isinstance(source, PackagedFile):
        return "ships with ddrnet"
    if not source.sha256:
        return "recorded locally"
    if not source.enforced:
        return "reported by others"
    return "known" if len(source.sha256) == 64 else f"begins {source.sha256}"


def _section(row: WeightsRow) -> str:
    sources = "\n".join(f"{i}. {_describe(source)}" for i, source in enumerate(row.sources, 1))
    parts = [f"## {row.name}", results(row.metrics), provenance(row), f"Sources:\n\n{sources}"]
    return "\n\n".join(filter(None, parts))


def _describe(source: Source) -> str:
    links = source.links if isinstance(source, WebFile) else (source.address,)
    bracketed = ", else ".join(f"<{link}>" for link in links)
    place = f"`{source.address}`" if isinstance(source, PackagedFile) else bracketed
    size = f", {source.size} bytes" if source.size else ""
    return place + (f" (sha256 {source.sha256}{size})" if source.sha256 else "")


if __name__ == "__main__":
    PAGE.write_text(weights_page(), encoding="utf-8")
