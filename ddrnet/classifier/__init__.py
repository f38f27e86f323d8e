"""The ImageNet classifier and feature extractor, a model in the sense of timm."""

from ddrnet.classifier.imagenet import DDRNetClassifier as DDRNetClassifier
