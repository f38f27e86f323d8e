"""A renderer of synthetic street scenes with exact labels. Needs numpy and Pillow only.

`plan` divides the street, and `traffic` and `roadside` place things on it. The modules of single
things (vehicles, people, plants, buildings, ...) paint them through a `camera` onto a `canvas`.
`render` draws the whole scene.
"""

from ddrnet.streets.render import Scene as Scene
from ddrnet.streets.render import checked_size as checked_size
from ddrnet.streets.render import render_street as render_street
