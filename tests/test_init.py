import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import ddrnet

HEAVY = ("torch", "torchvision", "timm", "huggingface_hub", "PIL")


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "code",
    [
        "import ddrnet; ddrnet.list_models(); dir(ddrnet); ddrnet.__version__",
        "from ddrnet.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "import ddrnet; ddrnet.get_weights('ddrnet_23'); ddrnet.CITYSCAPES; ddrnet.DDRNetError",
    ],
)
def test_stays_light(code):
    check = f"\nimport sys; print('loaded', [m for m in {HEAVY} if m in sys.modules])"
    done = run(code + check)
    assert done.stdout.endswith("loaded []\n"), done.stdout + done.stderr


def test_listing_loads_no_torch():
    code = "from ddrnet.cli import main; main(['list'])"
    done = run(f"{code}\nimport sys; print('torch' in sys.modules)")
    assert done.stdout.endswith("False\n"), done.stdout + done.stderr


@pytest.mark.parametrize("name", ddrnet.__all__)
def test_every_public_name_is_there(name):
    assert getattr(ddrnet, name) is not None
    assert name in dir(ddrnet)


def test_editors_see_the_same_names():
    tree = ast.parse(Path(ddrnet.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for node in block.body for alias in node.names}
    assert seen == set(ddrnet.__all__)


def test_unknown_names_raise():
    with pytest.raises(AttributeError, match="no_such_name"):
        ddrnet.no_such_name  # noqa: B018


def test_no_public_function_shares_a_submodules_name():
    for name in ddrnet.__all__:
        value = getattr(ddrnet, name)
        if callable(value):
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(f"ddrnet.{name}")


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "ddrnet", "--version"], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == f"ddrnet {ddrnet.__version__}"
