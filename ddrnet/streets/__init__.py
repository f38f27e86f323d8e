"""A renderer of synthetic street scenes with exact labels. Needs numpy and Pillow only.

`plan` decides what stands where, `traffic` and `roadside` place it, the rooms of single things
(vehicles, people, plants, buildings, ...) paint it through a `camera` onto a `canvas`, and `render`
puts all of it together.
"""

from ddrnet.streets.render import Scene as Scene
from ddrnet.streets.render import checked_size as checked_size
from ddrnet.streets.render import render_street as render_street
