"""Terms of the data sets that checkpoints were trained on."""

CITYSCAPES_TERMS = (
    "Cityscapes licence: research, teaching and evaluation, no commercial use; images and labels "
    "may not be passed on. Source: https://www.cityscapes-dataset.com/license/"
)
IMAGENET_TERMS = (
    "ImageNet terms of access: research and education, no commercial use. "
    "Source: https://www.image-net.org/download.php"
)
CAMVID_TERMS = (
    "CamVid: published for research (Brostow, Fauqueur, Cipolla, Pattern Recognition Letters "
    "2009), without a named licence; labels and split are those of SegNet (Badrinarayanan, "
    "Kendall, Cipolla, PAMI 2017). Source: http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/"
)
