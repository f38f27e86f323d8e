"""A classifier of few channels."""

import pytest
from own_sizes import SMALL_CLASSIFIER

from ddrnet.classifier import DDRNetClassifier


@pytest.fixture
def small():
    return DDRNetClassifier(SMALL_CLASSIFIER, num_classes=7)
