"""Values of a pickle: their depth, their size, and integers that collide."""

import pytest

from ddrnet.checkpoints.values import MAX_DEPTH, MAX_ITEMS, Global, Node, collides, items_of


def container(*items):
    node = Node()
    node.extend(items)
    return node


def test_depth_and_count_follow_the_items():
    inner = container(1, "a")
    outer = container(inner, inner, None)
    assert (inner.depth, inner.count) == (1, 2)
    assert (outer.depth, outer.count) == (2, 3 + 2 + 2)
    assert items_of(outer) == [inner, inner, None]
    assert items_of("text") == []


def test_containers_may_not_be_nested_for_ever():
    node = container()
    for _ in range(MAX_DEPTH - 1):
        node = container(node)
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        container(node)


def test_doubling_is_counted_each_time():
    """Hashing such a tuple takes as long as it is large when written out."""
    node = container(1)
    for _ in range(18):
        node = container(node, node)
    assert MAX_ITEMS / 2 < node.count <= MAX_ITEMS
    with pytest.raises(ValueError, match=f"more than {MAX_ITEMS} items"):
        container(node, node)


def test_huge_integers_show_through_containers():
    huge = Node.of_huge_integer()
    assert collides(huge)
    assert collides(container(container(huge)))
    assert not collides(container(2**61 - 2))
    assert not collides(5)


def test_names_of_python_2_have_two_spellings():
    assert Global("__builtin__", "set").spellings == {"__builtin__.set", "builtins.set"}
