"""Model cards: the README.md of a saved model, for readers and for the Hub's search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ddrnet.spec import LIBRARY, ModelSpec
from ddrnet.weights.row import Metric, Task, WeightsRow

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_PIPELINES: dict[Task, str] = {
    "segmentation": "image-segmentation",
    "classification": "image-classification",
    "backbone": "image-feature-extraction",
}
_METRIC_TYPES = {"mIoU": "mean_iou", "top-1 accuracy": "accuracy"}


def model_card(
    spec: ModelSpec,
    place: str,
    *,
    license: str | None = None,
    datasets: Sequence[str] = (),
    row: WeightsRow | None = None,
) -> str:
    """Return the text of README.md.

    Args:
        spec: The model.
        place: The name that `create_model` takes for it.
        license: SPDX identifier; the card claims no licence by default.
        datasets: Names of the training data.
        row: The weights row, if the tensors are exactly those of the row.
    """
    from huggingface_hub import ModelCardData

    title = spec.architecture or "DDRNet"
    data = ModelCardData(
        library_name=LIBRARY,
        pipeline_tag=_PIPELINES[spec.task],
        license=license.lower() if license else None,
        datasets=[dataset.lower() for dataset in datasets] or None,
        tags=["ddrnet", "semantic-segmentation", "real-time"],
        model_name=title,
        eval_results=[_evaluation(metric) for metric in spec.metrics] or None,
    )
    origin = ""
    if row is not None:
        origin = f"## Origin\n\n{provenance(row)}"
    elif spec.row is not None:
        origin = (
            f"## Origin\n\nTraining started from `{spec.row.name}` ({spec.row.origin}), whose code "
            f"is under {spec.row.license}. {spec.row.data_terms}"
        )
    sections = [
        f"# {title}",
        _introduction(spec, place),
        f"## Results\n\n{results(spec.metrics)}" if spec.metrics else "",
        _classes(spec),
        origin,
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(filter(None, sections)) + "\n"


def provenance(row: WeightsRow) -> str:
    """Return the known facts about the origin of a row's weights, as a Markdown list."""
    facts = {
        "Published by": row.origin,
        "Licence of the code": f"{row.license}. {row.license_note}",
        "Terms of the data": row.data_terms,
        "Trained on": f"{row.data}, {row.train_split}",
        "Extra data": row.extra_data,
        "Distillation": row.distillation,
        "Recipe": row.recipe,
        "Note": row.caveat,
        "Not verified": " ".join(row.unverified),
    }
    return "\n".join(f"* {name}: {fact}" for name, fact in facts.items() if fact)


def results(metrics: Sequence[Metric]) -> str:
    """Return results and their conditions as a Markdown table; "" if there are none."""
    if not metrics:
        return ""
    lines = [
        f"| {metric.name} | {metric.percent} | {metric.conditions} | {metric.reported_by} |"
        for metric in metrics
    ]
    return "| metric | % | conditions | reported by |\n|---|---|---|---|\n" + "\n".join(lines)


def _evaluation(metric: Metric) -> EvalResult:
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type="image-segmentation" if metric.name == "mIoU" else "image-classification",
        dataset_type=metric.data.lower(),
        dataset_name=metric.data,
        dataset_split=metric.split,
        metric_type=_METRIC_TYPES.get(metric.name, metric.name),
        metric_name=f"{metric.name} ({metric.conditions})",
        metric_value=metric.value,
    )


def _introduction(spec: ModelSpec, place: str) -> str:
    mean = ", ".join(f"{value:g}" for value in spec.preprocessing.mean)
    std = ", ".join(f"{value:g}" for value in spec.preprocessing.std)
    return (
        "DDRNet ([arXiv 2101.06085](https://arxiv.org/abs/2101.06085)) segments road scenes in "
        f"real time.\n\n```python\nimport ddrnet\n\nmodel = ddrnet.create_model({place!r}, "
        "pretrained=True).eval()\n```\n\n"
        f"Input: images with {spec.in_chans} channels, scaled to 0-1, then normalised with mean "
        f"({mean}) and standard deviation ({std}). Height and width can be any size from 32 pixels."
    )


def _classes(spec: ModelSpec) -> str:
    if not spec.classes:
        return ""
    lines = ["| index | name | colour |", "|---|---|---|"]
    for index, row in enumerate(spec.classes):
        # A line break or a bar would end the cell.
        name = " ".join(row.name.split()).replace("|", "\\|")
        lines.append(f"| {index} | {name} | {', '.join(map(str, row.color))} |")
    return "## Classes\n\n" + "\n".join(lines)
