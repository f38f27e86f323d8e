"""Terms of the data sets that checkpoints were trained on."""

CITYSCAPES_TERMS = (
    "Cityscapes licence: research, teaching and evaluation, not commercial; images and labels may "
    "not be passed on. Source: https://www.cityscapes-dataset.com/license/"
)
IMAGENET_TERMS = (
    "ImageNet terms of access: research and education, not commercial. "
    "Source: https://www.image-net.org/download.php"
)
