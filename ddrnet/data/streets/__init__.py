"""Street scenes drawn from numbers: the street, its light, the camera, and the painting of them."""
