"""Which calls of a pickle torch's safe reader may make."""

import pytest

from ddrnet.checkpoints.calls import is_harmless, is_torchs, rebuilt_view
from ddrnet.checkpoints.values import Global, Node, Storage, View

STORAGE = Storage(Global("torch", "FloatStorage"), "0", 6)
TENSOR = Node(Global("torch._utils", "_rebuild_tensor_v2"))


def numbers(*items):
    node = Node()
    node.extend(items)
    return node


@pytest.mark.parametrize(
    ("module", "name", "arguments", "harmless"),
    [
        ("collections", "OrderedDict", [], True),
        ("collections", "OrderedDict", [numbers(1, 2)], True),
        ("collections", "OrderedDict", [TENSOR], False),
        ("collections", "Counter", [Node.of_huge_integer()], False),
        ("__builtin__", "set", [numbers(1)], True),
        ("__builtin__", "set", [STORAGE], False),
        ("__builtin__", "bytearray", ["abc", "latin-1"], True),
        ("__builtin__", "bytearray", [Node(Global("_codecs", "encode"))], True),
        ("__builtin__", "bytearray", [TENSOR], False),
        ("__builtin__", "bytearray", [2**30], False),
        ("__builtin__", "bytearray", ["abc", "idna"], False),
        ("_codecs", "encode", ["abc", "latin1"], True),
        ("_codecs", "encode", ["abc", "punycode"], False),
        ("torch", "Size", [numbers(2, 3)], True),
        ("torch", "FloatStorage", [2**33], False),
        ("torch.cuda", "FloatTensor", [3], False),
        ("torch.nn.parameter", "Parameter", [TENSOR, False], True),
        ("torch._utils", "_rebuild_wrapper_subclass", [], False),
        ("torch.optim.sgd", "SGD", [2**33], True),
        ("argparse", "Namespace", [], True),
    ],
)
def test_calls(module, name, arguments, harmless):
    assert is_harmless(Global(module, name), arguments) is harmless


def test_a_tensor_is_rebuilt_of_its_storage():
    view = rebuilt_view([STORAGE, 1, numbers(2, 2), numbers(2, 1), False, Node()])
    assert view == View(STORAGE, 1, (2, 2), (2, 1), None)
    dtype = Global("torch", "float16")
    assert rebuilt_view([STORAGE, 0, numbers(), numbers(), False, Node(), dtype]).dtype == dtype


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [TENSOR, 0, numbers(1), numbers(1)],
        [STORAGE, "0", numbers(1), numbers(1)],
        [STORAGE, 0, numbers(1, 2), numbers(1)],
        [STORAGE, 0, numbers(1.0), numbers(1)],
        [STORAGE, 0, numbers(True), numbers(1)],
        [STORAGE, 0, numbers(*[1] * 65), numbers(*[1] * 65)],
    ],
)
def test_other_arguments_rebuild_nothing(arguments):
    assert rebuilt_view(arguments) is None


def test_only_some_modules_are_torchs_own():
    assert is_torchs(Global("torch._utils", "anything"))
    assert not is_torchs(Global("torch_geometric", "anything"))
    assert not is_torchs(Global("torch.optim.adam", "Adam"))
    assert not is_torchs(None)
