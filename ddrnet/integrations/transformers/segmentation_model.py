"""A DDRNet as a model of transformers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SemanticSegmenterOutput

from ddrnet.errors import HubError
from ddrnet.integrations.transformers.configuration import DDRNetTransformersConfig
from ddrnet.losses import AuxiliaryLoss, CrossEntropyLoss
from ddrnet.network import DDRNet
from ddrnet.outputs import SegmentationOutput
from ddrnet.pretrained.saving import spec_of


class DDRNetForSemanticSegmentation(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A DDRNet for transformers; its tensors have the names of `ddrnet.DDRNet`.

    Args:
        config: The configuration.

    Attributes:
        network: The `DDRNet` itself; both share their layers.
    """

    config_class = DDRNetTransformersConfig
    main_input_name = "pixel_values"
    input_modalities = "image"
    network: DDRNet

    def __init__(self, config: DDRNetTransformersConfig) -> None:
        super().__init__(config)
        spec = config.spec
        network = DDRNet(
            spec.config,
            spec.num_classes,
            spec.in_chans,
            aux_head=spec.aux_head,
            upsample=False,
            classes=spec.classes,
            preprocessing=spec.preprocessing,
        )
        # One dictionary of layers for both modules: the keys of the state dict are those of the
        # network, and a layer that is replaced here is replaced there.
        self._modules = network._modules
        self.__dict__["network"] = network
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_ddrnet(cls, model: DDRNet) -> DDRNetForSemanticSegmentation:
        """Return a copy of a model, for the trainers and pipelines of transformers."""
        spec = replace(spec_of(model), aux_head=model.aux_head is not None)
        wrapped = cls(DDRNetTransformersConfig(json.loads(spec.to_json())))
        wrapped.load_state_dict(model.state_dict())
        return wrapped.train(model.training)

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any) -> Any:
        """Load a model as any model of transformers, but strictly and from safetensors alone.

        Args:
            *args: The folder or repository, as for every model of transformers.
            output_loading_info: Whether to return a dictionary of the keys too.
            **kwargs: Further arguments of transformers. `ignore_mismatched_sizes=True` allows
                another number of classes: the last layers of the heads are then untrained.

        Raises:
            HubError: If tensors are missing or left over.
            RuntimeError: If tensors have another shape, unless `ignore_mismatched_sizes=True`.
        """
        kwargs["use_safetensors"] = True
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = loaded
        wrong = {name: sorted(info[f"{name}_keys"])[:3] for name in ("missing", "unexpected")}
        if any(wrong.values()):
            found = ", ".join(f"{name} {keys}" for name, keys in wrong.items() if keys)
            raise HubError(f"the tensors are not those that config.json describes: {found}")
        return (model, info) if output_loading_info else model

    def train(self, mode: bool = True) -> DDRNetForSemanticSegmentation:
        """Set training mode as any module does; a frozen BatchNorm stays in evaluation mode."""
        self.network.train(mode)
        self.training = mode
        return self

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> SemanticSegmenterOutput | tuple[Tensor, ...]:
        """Compute class logits at stride 8 and, with labels, their cross entropy.

        A model with an auxiliary head adds 0.4 times the loss of that head.

        Args:
            pixel_values: (N, C, H, W), normalised as by `DDRNetImageProcessor`.
            labels: (N, H, W) class indices at any size, 255 where ignored.
            return_dict: False returns a tuple.
            **kwargs: Ignored, such as `num_items_in_batch`.
        """
        output = self.network(pixel_values)
        logits = output.logits if isinstance(output, SegmentationOutput) else output
        loss = None
        if labels is not None:
            criterion: nn.Module = CrossEntropyLoss()
            if isinstance(output, SegmentationOutput):
                criterion = AuxiliaryLoss(criterion)
            loss = criterion(output, labels)
        found = SemanticSegmenterOutput(loss=loss, logits=logits)  # (N, K, ceil(H/8), ceil(W/8))
        return found.to_tuple() if return_dict is False else found

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise a layer that no file holds, as `DDRNet` does."""
        super()._init_weights(module)  # type: ignore[no-untyped-call]
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
