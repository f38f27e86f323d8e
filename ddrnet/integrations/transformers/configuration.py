"""The configuration of a DDRNet for transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from transformers import PreTrainedConfig

from ddrnet.errors import HubError
from ddrnet.labels import ClassLabel, class_labels
from ddrnet.spec import MODEL_TYPE, ModelSpec, PartialSpec, numbered_classes
from ddrnet.variants import VARIANTS

_OWN_KEYS = frozenset({"library", "config_version", *(field.name for field in fields(ModelSpec))})
"""Keys of the `config.json` that `ddrnet.save_pretrained` writes."""

_PLACE = "the configuration"


class DDRNetTransformersConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """The configuration of a DDRNet for transformers: the content of its `config.json`.

    `num_labels=` and `id2label=` change the classes. A class that keeps its name keeps its color.

    Args:
        description: The description of the model, as a parsed `config.json`; by default that of
            ddrnet_23_slim.
        **kwargs: The settings of any transformers configuration, or the keys of a `config.json`.

    Raises:
        HubError: If this library did not write the description, it is damaged, or newer than this
            library.
    """

    model_type = MODEL_TYPE
    id2label: dict[int, str]

    def __init__(self, description: dict[str, Any] | None = None, **kwargs: Any) -> None:
        own = {key: kwargs.pop(key) for key in _OWN_KEYS & kwargs.keys()}
        default = PartialSpec(config=VARIANTS["ddrnet_23_slim"]).complete().to_json()
        self.description = description or own or json.loads(default)
        classes: Sequence[ClassLabel] = _described(self.description).classes
        count = kwargs.pop("num_labels", None)
        if count not in (None, len(classes)):
            classes = numbered_classes(count)
        names = kwargs.pop("id2label", None) or dict(enumerate(row.name for row in classes))
        labels = {int(index): name for index, name in names.items()}
        indices = kwargs.pop("label2id", None) or {name: index for index, name in labels.items()}
        super().__init__(id2label=labels, label2id=indices, **kwargs)

    @property
    def spec(self) -> ModelSpec:
        """The description of the model with its present classes.

        Raises:
            HubError: If the description is damaged.
            ValueError: If the keys of `id2label` are not 0, 1, ..., or a name occurs twice.
        """
        spec = _described(self.description)
        if sorted(self.id2label) != list(range(len(self.id2label))):
            raise ValueError(f"id2label has a name for each of 0, 1, ...; got {self.id2label}")
        names = [self.id2label[index] for index in range(len(self.id2label))]
        if names == [row.name for row in spec.classes]:
            return spec
        known = {row.name: row for row in spec.classes}
        classes = class_labels([known.get(name, name) for name in names])
        return replace(spec, classes=classes, num_classes=len(classes))

    def to_json_string(self, use_diff: bool = True) -> str:
        """Return the text of a `config.json` that `ddrnet.create_model` reads.

        Results are left out: the tensors may have changed since they were measured.
        """
        return replace(self.spec, metrics=()).to_json()


def _described(description: dict[str, Any]) -> ModelSpec:
    """Return a description as a spec; refuse those of other models."""
    spec = ModelSpec.from_json(json.dumps(description), _PLACE)
    if spec.task != "segmentation":
        raise HubError(f"{_PLACE} is that of a {spec.task} model, expected a segmentation model")
    return spec
