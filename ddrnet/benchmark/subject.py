"""The model that is measured, with proof that its weights are loaded."""

from __future__ import annotations

import logging
from typing import NamedTuple

import torch

from ddrnet import registry
from ddrnet.errors import WeightsUnavailableError
from ddrnet.factory import create_model, trained_model
from ddrnet.network import DDRNet
from ddrnet.weights.row import Metric

logger = logging.getLogger(__name__)


class Subject(NamedTuple):
    """A model to measure.

    Attributes:
        name: A model name with or without tag, the folder of a saved model, or a checkpoint file.
        random_weights: Whether the weights are random, so that only times mean something.
    """

    name: str
    random_weights: bool = False

    def load(self) -> DDRNet:
        """Build the model and load its weights strictly.

        Raises:
            WeightsUnavailableError: If the weights cannot be had, or are not those of the name.
            Exception: All other errors of `create_model`.
        """
        if self.random_weights:
            logger.warning("%s: RANDOM WEIGHTS, its labels mean nothing", self.name)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return create_model(self.name)
        model = trained_model(self.name)
        if registry.is_model(self.name) and model.pretrained is None:
            raise WeightsUnavailableError(f"the weights of {self.name} were not loaded")
        return model

    def weights(self, model: DDRNet) -> str:
        """Return the name of the loaded weights: "model.tag", the path, or RANDOM."""
        if self.random_weights:
            return "RANDOM"
        return self.name if model.pretrained is None else model.pretrained.name

    def published(self, size: tuple[int, int]) -> Metric | None:
        """Return the published mIoU of the weights at an image size, or None."""
        if not registry.is_model(self.name):
            return None
        try:
            row = registry.get_weights(self.name)
        except WeightsUnavailableError:
            return None
        fitting = (m for m in row.metrics if m.name == "mIoU" and m.resolution == size)
        return next(fitting, None)
