import inspect
import itertools
import logging

import golden_data
import pytest
import torch
from safetensors.torch import save_file

import ddrnet
from ddrnet import registry
from ddrnet.errors import CheckpointError, UnknownModelError, WeightsUnavailableError
from ddrnet.factory import create_and_fit
from ddrnet.labels import CITYSCAPES, ClassLabel, class_labels
from ddrnet.spec import PartialSpec
from ddrnet.variants import VARIANTS, DDRNetConfig
from ddrnet.weights.row import IMAGENET, Preprocessing

SLIM = "ddrnet_23_slim"


@pytest.fixture
def image():
    return torch.randn(1, 3, 64, 96)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The published slim model with formula weights, in its authors' naming, with both heads."""
    path = tmp_path_factory.mktemp("official") / "slim.pth"
    torch.save(golden_data.state_dict(golden_data.keys("official")[SLIM]), path)
    return path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier") / "slim.pth"
    torch.save(golden_data.state_dict(golden_data.keys("official")[f"{SLIM}.classification"]), path)
    return path


@pytest.mark.parametrize("name", VARIANTS)
def test_builds_every_model_by_name(name):
    with torch.device("meta"):
        model = ddrnet.create_model(name)
    assert model.config == VARIANTS[name]
    assert model.training
    assert model.upsample
    assert model.classes == CITYSCAPES.classes
    assert model.preprocessing == IMAGENET
    assert model.pretrained is None
    assert model.aux_head is None


def test_takes_the_documented_arguments():
    signature = inspect.signature(ddrnet.create_model)
    assert list(signature.parameters) == [
        "name",
        "pretrained",
        "num_classes",
        "in_chans",
        "aux_head",
        "upsample",
        "class_names",
        "preprocessing",
        "checkpoint_path",
        "cache_dir",
    ]
    with pytest.raises(TypeError, match="nclasses"):
        ddrnet.create_model("ddrnet_23_nano", nclasses=3)


KEYWORDS = {
    "num_classes": (None, 2),
    "in_chans": (None, 1, 4),
    "aux_head": (None, True),
    "upsample": (None, False),
}


@pytest.mark.parametrize("values", list(itertools.product(*KEYWORDS.values())))
def test_every_keyword_combination_survives_saving(values, tmp_path):
    check_save_and_load("ddrnet_23_nano", dict(zip(KEYWORDS, values, strict=True)), tmp_path)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_model_survives_saving(name, tmp_path):
    check_save_and_load(name, {"aux_head": True, "num_classes": 5}, tmp_path)


def check_save_and_load(name, keywords, folder):
    model = ddrnet.create_model(name, **keywords).eval()
    save_file(model.state_dict(), folder / "model.safetensors")
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, folder / "model.pth")
    x = torch.randn(1, model.in_chans, 64, 64)
    for file in ("model.safetensors", "model.pth"):
        again = ddrnet.create_model(
            name,
            checkpoint_path=folder / file,
            aux_head=keywords.get("aux_head"),
            upsample=keywords.get("upsample"),
        ).eval()
        with torch.no_grad():
            pairs = zip(_tensors(again(x)), _tensors(model(x)), strict=True)
            assert all(torch.equal(got, expected) for got, expected in pairs)


def _tensors(output):
    return output if isinstance(output, tuple) else (output,)


def test_a_name_of_the_hub_needs_its_prefix():
    with pytest.raises(UnknownModelError, match="'hf-hub:someone/model'"):
        ddrnet.create_model("someone/model")
    with pytest.raises(UnknownModelError, match="for a folder, which exists"):
        ddrnet.create_model("/")


def test_a_misspelt_name_names_the_nearest():
    with pytest.raises(UnknownModelError, match="did you mean ddrnet_23_slim"):
        ddrnet.create_model("ddrnet-23-slim")


@pytest.mark.parametrize("name", ["slim.pth", "./slim.safetensors", "/weights/ddrnet_23_slim.ckpt"])
def test_a_file_is_no_model_name(name):
    with pytest.raises(UnknownModelError, match="pass it as checkpoint_path"):
        ddrnet.create_model(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pretrained": "in1k"}, r"a tag belongs to the name, .*'ddrnet_23_nano\.in1k', True"),
        ({"pretrained": 0.5}, "pretrained is True or False, got 0.5"),
        ({"aux_head": "no"}, "aux_head is True or False, got 'no'"),
        ({"upsample": "no"}, "upsample is True or False, got 'no'"),
        ({"preprocessing": ((0.5,), (0.5,))}, r"ddrnet\.Preprocessing\(mean, std\), got \(\("),
        ({"name": 23}, "named by a string such as 'ddrnet_23', got 23"),
    ],
)
def test_arguments_of_another_type_raise(arguments, message):
    with pytest.raises(TypeError, match=message):
        ddrnet.create_model(**{"name": "ddrnet_23_nano", **arguments})


def test_two_sources_of_weights_raise(official):
    with pytest.raises(ValueError, match="two sources"):
        ddrnet.create_model(SLIM, pretrained=True, checkpoint_path=official)


def test_a_model_without_weights_says_how_to_pass_a_file(monkeypatch):
    monkeypatch.setattr(registry, "_CONFIGS", dict(registry._CONFIGS))
    registry.register_model("mine", DDRNetConfig(8, (1, 1), ((16, 1),), 16, 16))
    with pytest.raises(WeightsUnavailableError, match="checkpoint_path"):
        ddrnet.create_model("mine", pretrained=True)


def test_a_tag_without_pretrained_describes_but_loads_nothing():
    model = ddrnet.create_model("ddrnet_23_slim.cityscapes_mmseg")
    assert model.classes == CITYSCAPES.classes
    assert model.pretrained is None


def test_class_names_make_the_head():
    own = ClassLabel("sea", (0, 0, 200))
    model = ddrnet.create_model("ddrnet_23_nano", class_names=["land", own])
    assert [row.name for row in model.classes] == ["land", "sea"]
    assert model.classes[1].color == (0, 0, 200)
    assert model.num_classes == 2


def test_num_classes_alone_numbers_them():
    names = [row.name for row in ddrnet.create_model("ddrnet_23_nano", num_classes=2).classes]
    assert names == ["class_0", "class_1"]


def test_names_and_number_must_agree():
    with pytest.raises(ValueError, match="num_classes=3 contradicts 2"):
        ddrnet.create_model("ddrnet_23_nano", num_classes=3, class_names=["a", "b"])
    model = ddrnet.create_model("ddrnet_23_nano", num_classes=2, class_names=["a", "b"])
    assert model.num_classes == 2


@pytest.mark.parametrize("bad", [{"num_classes": 0}, {"in_chans": 0}, {"num_classes": -1}])
def test_numbers_below_one_raise(bad):
    with pytest.raises(ValueError, match="at least"):
        ddrnet.create_model("ddrnet_23_nano", **bad)


def test_preprocessing_for_rgb_extends_to_more_channels():
    given = Preprocessing((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    model = ddrnet.create_model("ddrnet_23_nano", in_chans=4, preprocessing=given)
    assert model.preprocessing.mean == pytest.approx((0.1, 0.2, 0.3, 0.2))


def test_preprocessing_of_another_length_raises():
    with pytest.raises(ValueError, match="one per input channel"):
        ddrnet.create_model("ddrnet_23_nano", preprocessing=Preprocessing((0.5,), (0.5,)))


def test_loads_a_file_with_the_published_logits(official):
    model = ddrnet.create_model(SLIM, checkpoint_path=official, aux_head=True, upsample=False)
    with torch.no_grad():
        output = model.eval()(golden_data.image(128, 256))
    recorded = golden_data.outputs("official")
    assert golden_data.relative_error(output.logits, recorded[f"{SLIM}.128x256.main"]) < 1e-4
    assert golden_data.relative_error(output.aux_logits, recorded[f"{SLIM}.128x256.aux"]) < 1e-4


def test_the_number_of_classes_comes_from_the_file(tmp_path):
    model = ddrnet.create_model("ddrnet_23_nano", num_classes=7, in_chans=4)
    save_file(model.state_dict(), tmp_path / "own.safetensors")
    again = ddrnet.create_model("ddrnet_23_nano", checkpoint_path=tmp_path / "own.safetensors")
    assert (again.num_classes, again.in_chans) == (7, 4)
    assert again.classes[6].name == "class_6"


def test_another_number_of_classes_leaves_only_the_last_convolutions_untrained(official, caplog):
    full = ddrnet.create_model(SLIM, checkpoint_path=official, aux_head=True).state_dict()
    with caplog.at_level(logging.INFO, logger="ddrnet"):
        model = ddrnet.create_model(SLIM, checkpoint_path=official, aux_head=True, num_classes=5)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, full[k])}
    assert changed == {
        f"{head}.conv2.{part}" for head in ("head", "aux_head") for part in ("weight", "bias")
    }
    assert "head.conv2.weight" in caplog.text


@pytest.mark.parametrize("in_chans", [1, 2, 4, 6])
def test_other_channels_adapt_the_first_convolution(official, in_chans):
    from timm.models import adapt_input_conv

    rgb = ddrnet.create_model(SLIM, checkpoint_path=official).state_dict()
    model = ddrnet.create_model(SLIM, checkpoint_path=official, in_chans=in_chans).state_dict()
    changed = {k for k, v in model.items() if not torch.equal(v, rgb[k])}
    assert changed == {"stem.0.weight"}
    expected = adapt_input_conv(in_chans, rgb["stem.0.weight"])
    assert torch.equal(model["stem.0.weight"], expected)


def test_a_classifier_initialises_all_but_dappm_and_heads(classifier):
    torch.manual_seed(0)
    fresh = ddrnet.create_model(SLIM, aux_head=True).state_dict()
    torch.manual_seed(0)
    model = ddrnet.create_model(SLIM, checkpoint_path=classifier, aux_head=True)
    assert model.num_classes == 19
    untouched = {k for k, v in model.state_dict().items() if k.startswith(("dappm", "head", "aux"))}
    assert len(model.state_dict()) - len(untouched) == 254
    assert all(torch.equal(model.state_dict()[k], fresh[k]) for k in untouched)


def test_a_file_of_another_size_says_which(official):
    with pytest.raises(CheckpointError, match="ddrnet_23_slim"):
        ddrnet.create_model("ddrnet_39", checkpoint_path=official)


def test_load_checkpoint_leaves_the_model_alone_on_errors(official, tmp_path):
    model = ddrnet.create_model(SLIM)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = golden_data.state_dict(golden_data.keys("official")[SLIM])
    del state["layer4.0.conv1.weight"]
    state["surplus.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "damaged.pth")
    with pytest.raises(CheckpointError, match=r"layer4|fusion_stages") as caught:
        ddrnet.load_checkpoint(model, tmp_path / "damaged.pth")
    assert "surplus" in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    with pytest.raises(FileNotFoundError):
        ddrnet.load_checkpoint(model, tmp_path / "nowhere.pth")


def test_load_checkpoint_fills_the_model(official, image):
    expected = ddrnet.create_model(SLIM, checkpoint_path=official).eval()
    model = ddrnet.create_model(SLIM).eval()
    ddrnet.load_checkpoint(model, official)
    with torch.no_grad():
        assert torch.equal(model(image), expected(image))


@pytest.mark.parametrize(
    "wrap",
    [
        torch.nn.DataParallel,
        lambda model: torch.compile(model, backend="eager"),
        lambda model: torch.nn.Linear(1, 1),
    ],
)
def test_load_checkpoint_wants_the_model_itself(wrap, official):
    model = wrap(ddrnet.create_model("ddrnet_23_nano"))
    with pytest.raises(TypeError, match=r"expected a DDRNet, got .*unwrap it first"):
        ddrnet.load_checkpoint(model, official)


def test_without_a_name_the_file_decides(tmp_path):
    model = ddrnet.create_model(SLIM, num_classes=7, in_chans=4).eval()
    torch.save(model.state_dict(), tmp_path / "own.pth")
    again = ddrnet.create_model(None, checkpoint_path=tmp_path / "own.pth").eval()
    assert (again.config, again.num_classes, again.in_chans) == (model.config, 7, 4)
    images = torch.randn(1, 4, 64, 64)
    assert torch.equal(again(images), model(images))


def test_without_a_name_or_a_file_nothing_is_known():
    with pytest.raises(ValueError, match=r"create_model\(None\) builds what the file"):
        ddrnet.create_model(None)


@pytest.fixture
def saved(tmp_path):
    """A model of three named classes, and the folder that it was saved in."""
    rows = [ClassLabel(name, (index, 2, 3)) for index, name in enumerate(("a", "b", "c"))]
    own = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    model = ddrnet.create_model("ddrnet_23_nano", class_names=rows, preprocessing=own)
    ddrnet.save_pretrained(model, tmp_path / "saved")
    return model, tmp_path / "saved"


@pytest.mark.parametrize("name", [None, "ddrnet_23_nano", "ddrnet_23_nano.camvid"])
def test_the_config_beside_a_file_names_classes_and_normalisation(saved, name):
    model, folder = saved
    again = ddrnet.create_model(name, checkpoint_path=folder / "model.safetensors")
    assert again.classes == model.classes
    assert again.preprocessing == model.preprocessing


def test_the_config_beside_a_file_below_the_home_folder_is_found(saved, monkeypatch):
    model, folder = saved
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(folder.parent))
    again = ddrnet.create_model(None, checkpoint_path="~/saved/model.safetensors")
    assert again.classes == model.classes


def test_a_config_of_another_model_beside_a_file_is_refused(saved):
    _, folder = saved
    other = ddrnet.create_model("ddrnet_23_nano", num_classes=5)
    save_file(other.state_dict(), folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"has 5 classes.*beside it says 3"):
        ddrnet.create_model(None, checkpoint_path=folder / "model.safetensors")


def test_a_file_of_another_name_stands_alone(saved):
    _, folder = saved
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    model = ddrnet.create_model(None, checkpoint_path=folder / "weights.safetensors")
    assert [row.name for row in model.classes] == ["class_0", "class_1", "class_2"]


def test_the_config_of_another_library_is_left_alone(saved):
    _, folder = saved
    (folder / "config.json").write_text('{"library": "timm"}')
    model = ddrnet.create_model(None, checkpoint_path=folder / "model.safetensors")
    assert model.num_classes == 3


def test_the_config_of_the_name_comes_before_the_file(saved, tmp_path, caplog):
    model, folder = saved
    state = ddrnet.create_model("ddrnet_23_nano", num_classes=5).state_dict()
    torch.save(state, tmp_path / "five.pth")
    again = ddrnet.create_model(f"local-dir:{folder}", checkpoint_path=tmp_path / "five.pth")
    assert again.classes == model.classes
    assert "the checkpoint has 5 classes, the model 3" in caplog.text


def test_the_usual_recipe_saves_a_model_that_is_ready_for_use(tmp_path):
    tuned = ddrnet.create_model("ddrnet_23_nano", num_classes=3, aux_head=True, upsample=False)
    ddrnet.save_pretrained(tuned, tmp_path)
    ready = ddrnet.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert ready(torch.randn(1, 3, 64, 96)).shape == (1, 3, 64, 96)


def test_class_names_keep_the_rows_that_the_weights_know(caplog):
    source = ddrnet.create_model("ddrnet_23_nano.camvid", True).head.conv2
    with caplog.at_level(logging.INFO, logger="ddrnet"):
        model = ddrnet.create_model(
            "ddrnet_23_nano.camvid", True, class_names=["lamp", "road", "CAR"], aux_head=True
        )
    names = [row.name for row in ddrnet.CAMVID.classes]
    rows = [names.index("Road"), names.index("Car")]
    assert torch.equal(model.head.conv2.weight[1:], source.weight[rows])
    assert torch.equal(model.head.conv2.bias[1:], source.bias[rows])
    assert [row.name for row in model.classes] == ["lamp", "road", "CAR"]
    assert "head: kept the rows of the classes road, CAR" in caplog.text
    assert "the weights do not know the classes lamp; train their rows" in caplog.text


def test_partly_known_classes_leave_the_head_untrained_and_known_ones_do_not():
    for names, untrained in (
        (["Sky", "sea"], ("head.conv2.weight", "head.conv2.bias")),
        (["Sky", "Road"], ()),
    ):
        given = PartialSpec(classes=class_labels(names))
        assert create_and_fit("ddrnet_23_nano.camvid", True, given).fit.initialised == untrained


def test_classes_in_another_order_give_the_same_labels():
    model = ddrnet.create_model("ddrnet_23_nano.camvid", True)
    backwards = [row.name for row in reversed(model.classes)]
    other = ddrnet.create_model("ddrnet_23_nano.camvid", True, class_names=backwards)
    images = torch.randn(1, 3, 64, 96)
    assert torch.equal(10 - other.predict(images), model.predict(images))


def test_rows_of_a_saved_model_go_by_name_and_those_of_a_bare_file_by_number(saved, tmp_path):
    model, folder = saved
    state = model.head.conv2.weight
    for name, path in ((f"local-dir:{folder}", None), (None, folder / "model.safetensors")):
        again = ddrnet.create_model(
            name, pretrained=path is None, class_names=["c", "x", "a"], checkpoint_path=path
        )
        assert torch.equal(again.head.conv2.weight[[0, 2]], state[[2, 0]])
        assert not torch.equal(again.head.conv2.weight[1], state[1])
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    for name in (None, "ddrnet_23_nano", "ddrnet_23_nano.camvid"):
        bare = ddrnet.create_model(
            name, class_names=["c", "x", "a"], checkpoint_path=tmp_path / "bare.pth"
        )
        assert torch.equal(bare.head.conv2.weight, state)


def test_numbered_classes_go_by_number(tmp_path):
    model = ddrnet.create_model("ddrnet_23_nano", num_classes=3)
    ddrnet.save_pretrained(model, tmp_path / "numbered")
    name = f"local-dir:{tmp_path}/numbered"
    named = ddrnet.create_model(name, True, class_names=["a", "b", "c"])
    assert torch.equal(named.head.conv2.weight, model.head.conv2.weight)
    numbers = [f"class_{index}" for index in range(11)]
    shipped = ddrnet.create_model("ddrnet_23_nano.camvid", True)
    numbered = ddrnet.create_model("ddrnet_23_nano.camvid", True, class_names=numbers)
    assert torch.equal(numbered.head.conv2.weight, shipped.head.conv2.weight)
