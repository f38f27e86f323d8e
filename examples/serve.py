"""Serve a model: POST {"image": base64 of a file} to /predict, get shares and a base64 PNG."""

import os
from base64 import b64decode, b64encode
from io import BytesIO

import litserve
from PIL import Image

import ddrnet


class SegmentationAPI(litserve.LitAPI):  # noqa: D101
    def setup(self, device: str) -> None:  # noqa: D102
        self.predictor = ddrnet.Predictor(os.environ["DDRNET_MODEL"], device=device)

    def predict(self, request: dict[str, str]) -> dict[str, object]:  # noqa: D102
        result = self.predictor(Image.open(BytesIO(b64decode(request["image"]))))
        picture = ddrnet.visualize.palette_image(result.labels, result.classes)
        picture.save(png := BytesIO(), "PNG")
        return {"shares": result.shares(), "labels": b64encode(png.getvalue()).decode()}


if __name__ == "__main__":
    litserve.LitServer(SegmentationAPI()).run("127.0.0.1", generate_client_file=False)
