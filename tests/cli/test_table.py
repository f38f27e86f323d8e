import pytest

from ddrnet.cli.table import aligned


def test_columns_are_as_wide_as_their_widest_cell_and_numbers_end_in_line():
    rows = [("road", "97.91%"), ("traffic light", "5.0%")]
    assert aligned(("class", "IoU"), rows, right=("IoU",)).split("\n") == [
        "class             IoU",
        "road           97.91%",
        "traffic light    5.0%",
    ]


def test_lines_end_without_spaces():
    assert aligned(("a", "note"), [("x", ""), ("y", "long note")]) == "a  note\nx\ny  long note"


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        aligned(("a", "b"), [("x",)])
