import pytest

from ddrnet.cli.table import aligned, json_number, percent


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


def test_nan_is_a_dash_in_text_and_null_in_json():
    nan = float("nan")
    assert (percent(0.12345), percent(0.0), percent(nan)) == ("12.35%", "0.00%", "-")
    assert (json_number(0.5), json_number(nan)) == (0.5, None)
