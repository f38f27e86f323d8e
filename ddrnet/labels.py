"""Class tables: one row per class, every mapping derived from the rows. Loads no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from colorsys import hsv_to_rgb
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from operator import attrgetter

Color = tuple[int, int, int]

IGNORE_INDEX = 255
"""The value of label pixels that neither train nor count."""

MAX_CLASSES = 256
"""The largest number of classes in an 8-bit label map."""


@dataclass(frozen=True)
class ClassLabel:
    """One class of a data set.

    Attributes:
        name: The displayed name.
        color: Red, green, blue, each 0-255.
        train_id: The index that a network predicts; `IGNORE_INDEX` for an ignored class; -1 for its
            position in a list of classes.
        id: The value in the label files of the data set; -1 if it has none.
        category: The group of the class.
        category_id: The number of the group.
        has_instances: Whether the annotations distinguish single objects.
        ignored: Whether the official evaluation omits the class.

    Raises:
        ValueError: If the colour is not three values from 0 to 255.
    """

    name: str
    color: Color
    train_id: int = -1
    id: int = -1
    category: str = ""
    category_id: int = -1
    has_instances: bool = False
    ignored: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "color", tuple(self.color))
        if len(self.color) != 3 or not all(0 <= value <= 255 for value in self.color):
            raise ValueError(
                f"the colour of {self.name!r} must be red, green and blue from 0 to 255, "
                f"got {self.color}"
            )


@dataclass(frozen=True)
class LabelTable:
    """The classes of a data set, one row each, and the mappings derived from the rows.

    The mappings of ids have 256 bytes, one per value of an 8-bit label file:
    `numpy.frombuffer(table.id_to_train_id, "uint8")[labels]` translates a whole label map.

    Attributes:
        name: The name of the data set, for errors.
        rows: One row per class, ignored ones included.
        ignore_values: Further values of label files that are ignored.
        hint: Says how to change the rows, in errors about unknown values; {value} in it stands for
            the first of them.

    Raises:
        ValueError: If two rows share a name or an id, an id exceeds 255, or the train ids are not
            0, 1, 2, ... without a gap.
    """

    name: str
    rows: tuple[ClassLabel, ...]
    ignore_values: tuple[int, ...] = ()
    hint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))
        object.__setattr__(self, "ignore_values", tuple(self.ignore_values))
        _check_names(row.name for row in self.rows)
        ids = [*(row.id for row in self.rows if row.id >= 0), *self.ignore_values]
        check_unique(f"label values of {self.name}", ids)
        trained = {row.train_id for row in self.rows} - {IGNORE_INDEX}
        if trained != set(range(len(trained))) or len(trained) > IGNORE_INDEX:
            raise ValueError(
                f"the train ids of {self.name} must be 0, 1, 2, ... below {IGNORE_INDEX}, "
                f"or {IGNORE_INDEX} for an ignored class, got {sorted(trained)}"
            )
        if not all(0 <= value <= 255 for value in ids):
            raise ValueError(f"the ids of {self.name} must be 8-bit values, got {sorted(ids)}")

    @cached_property
    def classes(self) -> tuple[ClassLabel, ...]:
        """The trained classes, the first row of each train id, in the order of train ids."""
        first: dict[int, ClassLabel] = {}
        for row in self.rows:
            if row.train_id != IGNORE_INDEX:
                first.setdefault(row.train_id, row)
        return tuple(first[train_id] for train_id in sorted(first))

    @cached_property
    def palette(self) -> tuple[Color, ...]:
        """The colour of each trained class."""
        return tuple(row.color for row in self.classes)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The category of each trained class."""
        return tuple(row.category for row in self.classes)

    @cached_property
    def known_ids(self) -> frozenset[int]:
        """The valid values of a label file: every id, and always `IGNORE_INDEX`."""
        ids = {row.id for row in self.rows if row.id >= 0}
        return frozenset({*ids, *self.ignore_values, IGNORE_INDEX})

    @cached_property
    def id_to_train_id(self) -> bytes:
        """The train id of each label value; `IGNORE_INDEX` for unknown values."""
        train_ids = bytearray([IGNORE_INDEX] * 256)
        for row in self.rows:
            if row.id >= 0:
                train_ids[row.id] = row.train_id
        return bytes(train_ids)

    @cached_property
    def train_id_to_id(self) -> bytes:
        """The label value of each train id; the first ignored id, or 255, for other values."""
        unlabelled = (row.id for row in self.rows if row.train_id == IGNORE_INDEX and row.id >= 0)
        ids = bytearray([next(unlabelled, IGNORE_INDEX)] * 256)
        for train_id, row in enumerate(self.classes):
            ids[train_id] = row.id & 0xFF
        return bytes(ids)

    @cached_property
    def color_to_train_id(self) -> dict[Color, int]:
        """The train id of each colour; the first row with a colour wins."""
        return {row.color: row.train_id for row in reversed(self.rows)}


def class_labels(names_or_rows: Iterable[str | ClassLabel]) -> tuple[ClassLabel, ...]:
    """Return one row per class, with its position as the `train_id`.

    A name becomes a row with its position as the `id` and a colour of its own. A given row keeps
    its values except the train id; without an `id` it gets its position.

    Raises:
        ValueError: If there is no class, a name is empty or appears twice, or a row is ignored.
        TypeError: If an entry is neither a string nor a `ClassLabel`, or the argument is a string.
    """
    rows = _complete_rows(names_or_rows)
    ignored = [row.name for row in rows if row.train_id == IGNORE_INDEX]
    if ignored:
        raise ValueError(
            f"a model has no ignored classes, got rows with train_id={IGNORE_INDEX}: "
            f"{', '.join(ignored)}; LabelTable.classes has the trained rows alone"
        )
    return tuple(replace(row, train_id=position) for position, row in enumerate(rows))


def label_table(
    classes: Iterable[str | ClassLabel] | Mapping[str, Color],
    *,
    ignore_values: Iterable[int] = (),
    name: str = "class_names",
    hint: str = "",
) -> LabelTable:
    """Return the table of own classes; the `train_id` is the position among the trained classes.

    Args:
        classes: Names, names with their colours, or rows. Rows with `train_id=IGNORE_INDEX` are
            ignored. An `id` is by default the position.
        ignore_values: Further values of label files that are ignored.
        name: The name of the table, for errors.
        hint: Says how to change the rows, in errors about unknown values.

    Raises:
        ValueError: If there is no class, or two share a name, a value or a given colour.
        TypeError: If an entry is neither a string nor a `ClassLabel`, or the argument is a string.
    """
    if isinstance(classes, Mapping):
        classes = [ClassLabel(key, color) for key, color in classes.items()]
        check_unique("colours", map(attrgetter("color"), classes))
    positions = count()
    rows = [
        row if row.train_id == IGNORE_INDEX else replace(row, train_id=next(positions))
        for row in _complete_rows(classes)
    ]
    if all(row.train_id == IGNORE_INDEX for row in rows):
        raise ValueError(f"all classes of {name} are ignored")
    return LabelTable(name, tuple(rows), tuple(ignore_values), hint)


def _complete_rows(names_or_rows: Iterable[str | ClassLabel]) -> list[ClassLabel]:
    """Complete names and rows by colours and ids; train ids stay as given."""
    given = list(names_or_rows)
    if isinstance(names_or_rows, str) or not all(isinstance(e, str | ClassLabel) for e in given):
        raise TypeError(
            f"classes must be a sequence of names or ClassLabel rows, got {names_or_rows}"
        )
    if not given:
        raise ValueError("at least one class is needed, got none")
    _check_names(entry if isinstance(entry, str) else entry.name for entry in given)
    colors = distinct_colors({entry.color for entry in given if isinstance(entry, ClassLabel)})
    rows = [ClassLabel(entry, next(colors)) if isinstance(entry, str) else entry for entry in given]
    return [row if row.id >= 0 else replace(row, id=position) for position, row in enumerate(rows)]


def distinct_colors(taken: set[Color]) -> Iterator[Color]:
    """Yield distinct colours other than black and `taken`.

    The hue advances by the golden angle, and the brightness changes.
    """
    used = taken | {(0, 0, 0)}
    for index in count():
        hue, shade = index * 0.6180339887 % 1, index % 3
        red, green, blue = hsv_to_rgb(hue, (0.85, 0.6, 1.0)[shade], (0.95, 0.8, 0.6)[shade])
        color = round(red * 255), round(green * 255), round(blue * 255)
        if color not in used:
            used.add(color)
            yield color


def _check_names(names: Iterable[str]) -> None:
    listed = list(names)
    if not all(name.strip() for name in listed):
        raise ValueError(f"every class needs a name, got {listed}")
    check_unique("class names", listed)


def check_unique(what: str, values: Iterable[Hashable]) -> None:
    """Raise ValueError if a value appears twice."""
    twice = [value for value, times in Counter(values).items() if times > 1]
    if twice:
        raise ValueError(f"{what} must differ from one another, got {twice} more than once")


def _void(name: str, label_id: int, color: Color = (0, 0, 0)) -> ClassLabel:
    return ClassLabel(name, color, IGNORE_INDEX, label_id, "void", 0, ignored=True)


# fmt: off
CITYSCAPES = LabelTable("Cityscapes", (
    _void("unlabeled", 0),
    _void("ego vehicle", 1),
    _void("rectification border", 2),
    _void("out of roi", 3),
    _void("static", 4),
    _void("dynamic", 5, (111, 74, 0)),
    _void("ground", 6, (81, 0, 81)),
    ClassLabel("road", (128, 64, 128), 0, 7, "flat", 1),
    ClassLabel("sidewalk", (244, 35, 232), 1, 8, "flat", 1),
    ClassLabel("parking", (250, 170, 160), 255, 9, "flat", 1, ignored=True),
    ClassLabel("rail track", (230, 150, 140), 255, 10, "flat", 1, ignored=True),
    ClassLabel("building", (70, 70, 70), 2, 11, "construction", 2),
    ClassLabel("wall", (102, 102, 156), 3, 12, "construction", 2),
    ClassLabel("fence", (190, 153, 153), 4, 13, "construction", 2),
    ClassLabel("guard rail", (180, 165, 180), 255, 14, "construction", 2, ignored=True),
    ClassLabel("bridge", (150, 100, 100), 255, 15, "construction", 2, ignored=True),
    ClassLabel("tunnel", (150, 120, 90), 255, 16, "construction", 2, ignored=True),
    ClassLabel("pole", (153, 153, 153), 5, 17, "object", 3),
    ClassLabel("polegroup", (153, 153, 153), 255, 18, "object", 3, ignored=True),
    ClassLabel("traffic light", (250, 170, 30), 6, 19, "object", 3),
    ClassLabel("traffic sign", (220, 220, 0), 7, 20, "object", 3),
    ClassLabel("vegetation", (107, 142, 35), 8, 21, "nature", 4),
    ClassLabel("terrain", (152, 251, 152), 9, 22, "nature", 4),
    ClassLabel("sky", (70, 130, 180), 10, 23, "sky", 5),
    ClassLabel("person", (220, 20, 60), 11, 24, "human", 6, has_instances=True),
    ClassLabel("rider", (255, 0, 0), 12, 25, "human", 6, has_instances=True),
    ClassLabel("car", (0, 0, 142), 13, 26, "vehicle", 7, has_instances=True),
    ClassLabel("truck", (0, 0, 70), 14, 27, "vehicle", 7, has_instances=True),
    ClassLabel("bus", (0, 60, 100), 15, 28, "vehicle", 7, has_instances=True),
    ClassLabel("caravan", (0, 0, 90), 255, 29, "vehicle", 7, has_instances=True, ignored=True),
    ClassLabel("trailer", (0, 0, 110), 255, 30, "vehicle", 7, has_instances=True, ignored=True),
    ClassLabel("train", (0, 80, 100), 16, 31, "vehicle", 7, has_instances=True),
    ClassLabel("motorcycle", (0, 0, 230), 17, 32, "vehicle", 7, has_instances=True),
    ClassLabel("bicycle", (119, 11, 32), 18, 33, "vehicle", 7, has_instances=True),
    ClassLabel("license plate", (0, 0, 142), 255, -1, "vehicle", 7, ignored=True),
))
"""The 35 classes of Cityscapes, 19 of them trained.

The license plate has the train id `IGNORE_INDEX`, as in label files, instead of the official -1.

Source: cityscapesScripts, `cityscapesscripts/helpers/labels.py`.
"""

CAMVID = LabelTable("CamVid", (
    ClassLabel("Sky", (128, 128, 128), 0, 0),
    ClassLabel("Building", (128, 0, 0), 1, 1),
    ClassLabel("Pole", (192, 192, 128), 2, 2),
    ClassLabel("Road", (128, 64, 128), 3, 3),
    ClassLabel("Pavement", (0, 0, 192), 4, 4),
    ClassLabel("Tree", (128, 128, 0), 5, 5),
    ClassLabel("SignSymbol", (192, 128, 128), 6, 6),
    ClassLabel("Fence", (64, 64, 128), 7, 7),
    ClassLabel("Car", (64, 0, 128), 8, 8),
    ClassLabel("Pedestrian", (64, 64, 0), 9, 9),
    ClassLabel("Bicyclist", (0, 128, 192), 10, 10),
    ClassLabel("Unlabelled", (0, 0, 0), IGNORE_INDEX, 11, ignored=True),
))
"""The 11 classes of CamVid and `Unlabelled`, numbered as in the SegNet release.

Source: Badrinarayanan, Kendall, Cipolla, PAMI 2017; colours as in `CAMVID_RAW`.
"""

CAMVID_RAW = LabelTable("CamVid (32 colours)", (
    ClassLabel("Animal", (64, 128, 64), 9),
    ClassLabel("Archway", (192, 0, 128), 1),
    ClassLabel("Bicyclist", (0, 128, 192), 10),
    ClassLabel("Bridge", (0, 128, 64), 1),
    ClassLabel("Building", (128, 0, 0), 1),
    ClassLabel("Car", (64, 0, 128), 8),
    ClassLabel("CartLuggagePram", (64, 0, 192), 9),
    ClassLabel("Child", (192, 128, 64), 9),
    ClassLabel("Column_Pole", (192, 192, 128), 2),
    ClassLabel("Fence", (64, 64, 128), 7),
    ClassLabel("LaneMkgsDriv", (128, 0, 192), 3),
    ClassLabel("LaneMkgsNonDriv", (192, 0, 64), 3),
    ClassLabel("Misc_Text", (128, 128, 64), 6),
    ClassLabel("MotorcycleScooter", (192, 0, 192), 10),
    ClassLabel("OtherMoving", (128, 64, 64), 8),
    ClassLabel("ParkingBlock", (64, 192, 128), 4),
    ClassLabel("Pedestrian", (64, 64, 0), 9),
    ClassLabel("Road", (128, 64, 128), 3),
    ClassLabel("RoadShoulder", (128, 128, 192), 4),
    ClassLabel("Sidewalk", (0, 0, 192), 4),
    ClassLabel("SignSymbol", (192, 128, 128), 6),
    ClassLabel("Sky", (128, 128, 128), 0),
    ClassLabel("SUVPickupTruck", (64, 128, 192), 8),
    ClassLabel("TrafficCone", (0, 0, 64), 2),
    ClassLabel("TrafficLight", (0, 64, 64), 6),
    ClassLabel("Train", (192, 64, 128), 8),
    ClassLabel("Tree", (128, 128, 0), 5),
    ClassLabel("Truck_Bus", (192, 128, 192), 8),
    ClassLabel("Tunnel", (64, 0, 64), 1),
    ClassLabel("VegetationMisc", (192, 192, 0), 5),
    ClassLabel("Void", (0, 0, 0), IGNORE_INDEX, ignored=True),
    ClassLabel("Wall", (64, 192, 0), 1),
))
"""The 32 classes of the original CamVid release, known by colour, with the train ids of `CAMVID`.

Source: Brostow, Fauqueur, Cipolla, Pattern Recognition Letters 2009, `label_colors.txt`; the usual
grouping into 11 classes.
"""
# fmt: on
