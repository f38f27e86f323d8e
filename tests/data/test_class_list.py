import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddrnet.data.class_list import read_class_list
from ddrnet.errors import DatasetError
from ddrnet.labels import IGNORE_INDEX


@pytest.fixture
def table(tmp_path):
    def read(text):
        path = tmp_path / "classes.txt"
        path.write_text(text, encoding="utf-8")
        return read_class_list(path)

    return read


def test_names_are_numbered_by_their_lines(table):
    read = table("water\n\n  land  # solid\n# nothing\ndeep sea\n")
    assert [(row.name, row.train_id, row.id) for row in read.classes] == [
        ("water", 0, 0),
        ("land", 1, 1),
        ("deep sea", 2, 2),
    ]
    assert len({row.color for row in read.classes}) == 3


def test_values_and_colors_are_taken(table):
    read = table("water 7\nland 0 200 0\nsnow 9 1 2 3\n")
    assert [(row.name, row.id) for row in read.classes] == [("water", 7), ("land", 1), ("snow", 9)]
    assert read.classes[1].color == (0, 200, 0)
    assert read.classes[2].color == (1, 2, 3)
    assert read.id_to_train_id[9] == 2


def test_ignored_classes_are_known_values_and_no_classes(table):
    read = table("unlabelled ignore\nwater\nland\nvoid 40 0 0 1 ignore\nother 9 ignore\n")
    assert [(row.name, row.train_id, row.id) for row in read.classes] == [
        ("water", 0, 1),
        ("land", 1, 2),
    ]
    assert read.known_ids == {0, 1, 2, 9, 40, 255}
    assert [read.id_to_train_id[value] for value in (0, 9, 40)] == [IGNORE_INDEX] * 3
    assert read.color_to_train_id[0, 0, 1] == IGNORE_INDEX
    assert (0, 0, 0) not in read.color_to_train_id


def test_quotes_keep_numbers_commas_and_the_word_in_a_name(table):
    read = table('"route 66"\n"mast 4" 12\n"do not ignore"\n"2 wheeler"\n"ignore"\n"a, b"\n')
    assert [(row.name, row.id) for row in read.classes] == [
        ("route 66", 0),
        ("mast 4", 12),
        ("do not ignore", 2),
        ("2 wheeler", 3),
        ("ignore", 4),
        ("a, b", 5),
    ]


def test_tabs_separate_and_numbers_may_stand_inside_a_name(table):
    read = table("water\t3\nmast 2b\n3d-printer\n")
    assert [(row.name, row.id) for row in read.classes] == [
        ("water", 3),
        ("mast 2b", 1),
        ("3d-printer", 2),
    ]


def test_a_byte_order_mark_and_other_scripts_are_read(table):
    assert [row.name for row in table("\ufeffStraße\n道路\n").classes] == ["Straße", "道路"]


@given(
    st.lists(st.from_regex(r"[a-z]{1,8}( [a-z]{1,8})?", fullmatch=True), min_size=1, unique=True)
)
def test_plain_names_come_back(tmp_path_factory, names):
    names = [name for name in names if "ignore" not in name] or ["x"]
    path = tmp_path_factory.mktemp("classes") / "classes.txt"
    path.write_text("\n".join(names))
    assert [row.name for row in read_class_list(path).classes] == names


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("water\nland 1 2\n", r"classes\.txt, line 2: expected NAME, NAME VALUE.*got 'land 1 2'"),
        ("water 300\n", r"line 1: .*from 0 to 255"),
        ("water 1 2 3 4 5\n", "line 1"),
        ('"water\n', "line 1"),
        ("water\nwater\n", r"classes\.txt: class names must differ"),
        ("water 3\nland 3\n", r"\[3\] more than once"),
        ("water 3\nland 3 ignore\n", r"\[3\] more than once"),
        ("# nothing\n", "at least one class"),
        ("void ignore\n", "at least one class"),
        ("void 0 0 0 ignore\n", "all classes of .* are ignored"),
        ("water 0 0 255\nland 0 0 255\n", r"colours must differ .*\(0, 0, 255\)"),
        ("water,0,0,255\n", r"separated by spaces.* got 'water,0,0,255'"),
        ("water, 0\n", "line 1"),
        ("0 water\n1 land\n", r"got '0 water'; quote a name that contains a number"),
        ("0: water\n", "line 1"),
        ("water\nignore 4\n", "line 2"),
        ("ignore\n", "line 1"),
        ("water\nla\u200bnd\n", r"line 2 cannot be printed: 'la\\u200bnd'"),
        ("water\nunlabelled 4 ignored\n", "line 2: .* got 'unlabelled 4 ignored'"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_line(table, text, says):
    with pytest.raises(DatasetError, match=says):
        table(text)


def test_a_missing_file_says_what_to_write(tmp_path):
    with pytest.raises(DatasetError, match="is missing: write the name of each class"):
        read_class_list(tmp_path / "classes.txt")


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00water")
    with pytest.raises(DatasetError, match=r"classes\.txt is not UTF-8 text"):
        read_class_list(tmp_path / "classes.txt")


def test_tabs_separate_as_spaces_do(table):
    """A name with a tab could not be saved with a model."""
    read = table("clear\twater\t7\n")
    assert [(row.name, row.id) for row in read.classes] == [("clear water", 7)]
