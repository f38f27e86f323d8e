"""Registers DDRNet with the Auto classes and the pipelines of Hugging Face transformers.

`import ddrnet.integrations.transformers` is enough: `AutoModelForSemanticSegmentation` and
`pipeline("image-segmentation")` then read the folders that `ddrnet.save_pretrained` writes, and
`ddrnet.create_model` reads what they write.
"""

from transformers import AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation
from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES

from ddrnet.integrations.transformers.configuration import DDRNetTransformersConfig
from ddrnet.integrations.transformers.image_processor import DDRNetImageProcessor
from ddrnet.integrations.transformers.segmentation_model import DDRNetForSemanticSegmentation
from ddrnet.spec import MODEL_TYPE

__all__ = ["DDRNetForSemanticSegmentation", "DDRNetImageProcessor", "DDRNetTransformersConfig"]

AutoConfig.register(MODEL_TYPE, DDRNetTransformersConfig)
AutoModelForSemanticSegmentation.register(DDRNetTransformersConfig, DDRNetForSemanticSegmentation)
AutoImageProcessor.register(
    DDRNetTransformersConfig,
    image_processor_classes={"torchvision": DDRNetImageProcessor, "pil": DDRNetImageProcessor},
)
# The pipeline reads this table; without the row it logs that the model is not supported.
MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES[MODEL_TYPE] = DDRNetForSemanticSegmentation.__name__
