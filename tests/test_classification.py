"""The classifiers through timm: names, weights from loopback, features for other libraries."""

import importlib
import itertools
import subprocess
import sys

import golden_data
import pytest
import timm
import torch
from containers import saved
from loopback import Loopback
from timm.data import resolve_data_config
from timm.models import get_pretrained_cfg, model_entrypoint
from timm.models._hub import save_for_hf
from timm.optim import create_optimizer_v2

import ddrnet
from ddrnet import classification
from ddrnet.errors import CheckpointError, UnknownModelError, WeightsUnavailableError
from ddrnet.registry import get_weights
from ddrnet.variants import VARIANTS
from ddrnet.weights.row import IMAGENET

TAGS = ["ddrnet_23.in1k", "ddrnet_23_slim.in1k", "ddrnet_23_slim.in1k_timm", "ddrnet_39.in1k"]
NANO, SLIM = "ddrnet_23_nano", "ddrnet_23_slim"
SUBSETS = [subset for count in range(1, 6) for subset in itertools.combinations(range(5), count)]
HALVES = (slice(None, 16), slice(16, None))


def published(model):
    """The formula weights of the authors' classifier, as bytes of a file in their naming."""
    return saved(golden_data.state_dict(golden_data.keys("official")[f"{model}.classification"]))


@pytest.fixture
def server(monkeypatch):
    """A server of every registered classifier; its rows stand in for the published ones."""
    with Loopback() as loopback:

        def mirrored(name):
            row = get_weights(name)
            return loopback.mirror(row, published(row.model))

        monkeypatch.setattr(classification, "get_weights", mirrored)
        yield loopback


@pytest.fixture
def slim_file(tmp_path):
    path = tmp_path / "slim.pth"
    path.write_bytes(published(SLIM))
    return path


def test_the_registered_tags():
    assert timm.list_models("ddrnet*", pretrained=True) == TAGS
    assert timm.list_models("ddrnet*") == sorted(VARIANTS)


@pytest.mark.parametrize(
    "tag", [pytest.param(tag, marks=() if "slim" in tag else pytest.mark.slow) for tag in TAGS]
)
def test_logits_equal_the_recorded_ones(server, tmp_path, tag):
    model = timm.create_model(tag, pretrained=True, cache_dir=tmp_path).eval()
    name = tag.partition(".")[0]
    with torch.no_grad():
        got = model(golden_data.image(224, 224))
    expected = golden_data.outputs("official")[f"{name}.classification.224x224"]
    assert golden_data.relative_error(got, expected) < 1e-4
    assert server.count("GET") == 1


def test_the_first_tag_is_the_default_and_the_second_time_reads_the_cache(server, tmp_path):
    first = timm.create_model(SLIM, pretrained=True, cache_dir=tmp_path)
    again = timm.create_model(f"{SLIM}.in1k", pretrained=True, cache_dir=tmp_path)
    assert server.count("GET", "1mg5tMX7TJ9ZVcAiGSB4PEihPtrJyalB4") == server.count("GET") == 1
    for got, expected in zip(again.parameters(), first.parameters(), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize(("in_chans", "num_classes"), [(1, 5), (3, 0), (4, 0), (6, 5)])
def test_weights_are_adapted_to_channels_and_classes(slim_file, in_chans, num_classes, caplog):
    source = torch.load(slim_file, weights_only=True)
    model = timm.create_model(
        SLIM,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(slim_file)},
        in_chans=in_chans,
        num_classes=num_classes,
    )
    weight = model.stem[0].weight
    assert torch.equal(weight, timm.models.adapt_input_conv(in_chans, source["conv1.0.weight"]))
    assert torch.equal(model.conv_head[0].weight, source["last_layer.0.weight"])
    assert model.eval()(torch.zeros(1, in_chans, 64, 64)).shape == (1, num_classes or 1024)
    assert ("1000 classes, the model 5" in caplog.text) == (num_classes == 5)


@pytest.mark.parametrize("half", HALVES, ids=["first subsets", "other subsets"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == NANO else pytest.mark.slow) for name in VARIANTS],
)
def test_features_have_their_strides_and_channels_and_train_every_parameter(name, half):
    x = torch.randn(2, 3, 64, 96)
    for indices in SUBSETS[half]:
        model = timm.create_model(name, features_only=True, out_indices=indices)
        features = model(x)
        channels, strides = model.feature_info.channels(), model.feature_info.reduction()
        assert strides == [2 << index for index in indices]
        for feature, count, stride in zip(features, channels, strides, strict=True):
            assert feature.shape == (2, count, 64 // stride, 96 // stride)
        sum(feature.mean() for feature in features).backward()
        assert all(parameter.grad is not None for parameter in model.parameters())


def test_features_have_pretrained_weights(server, tmp_path):
    model = timm.create_model(SLIM, pretrained=True, cache_dir=tmp_path, features_only=True)
    whole = timm.create_model(SLIM, pretrained=True, cache_dir=tmp_path)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = whole.eval().forward_intermediates(x, intermediates_only=True)
        assert all(map(torch.equal, model.eval()(x), expected))


@pytest.mark.parametrize("feature_cls", ["hook", "fx"])
def test_other_ways_to_features_give_the_same(feature_cls):
    torch.manual_seed(0)
    model = timm.create_model(NANO, features_only=True).eval()
    torch.manual_seed(0)
    other = timm.create_model(NANO, features_only=True, feature_cls=feature_cls).eval()
    x = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        for got, expected in zip(other(x), model(x), strict=True):
            assert torch.equal(got, expected)


def test_output_stride_and_its_bound():
    model = timm.create_model(NANO, features_only=True, output_stride=16)
    assert model.feature_info.reduction() == [2, 4, 8, 16, 16]
    with pytest.raises(ValueError, match="output_stride is 32 or 16, got 8"):
        timm.create_model(NANO, features_only=True, output_stride=8)


def test_a_file_of_the_caller_wins(server, slim_file, tmp_path):
    state = torch.load(slim_file, weights_only=True)
    torch.save({"state_dict": {k: 2 * v for k, v in state.items()}}, tmp_path / "own.pth")
    overlay = {"file": str(tmp_path / "own.pth")}
    model = timm.create_model(f"{SLIM}.in1k", pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(model.classifier.bias, 2 * state["linear.bias"])
    assert not server.requests


def test_a_description_of_registered_weights_fetches_them(server, tmp_path):
    """timm's scripts hand the whole description back as a dictionary."""
    for description in (get_pretrained_cfg(SLIM), get_pretrained_cfg(SLIM).to_dict()):
        model = timm.create_model(
            SLIM, pretrained=True, pretrained_cfg=description, cache_dir=tmp_path
        )
        state = golden_data.state_dict(golden_data.keys("official")[f"{SLIM}.classification"])
        assert torch.equal(model.classifier.bias, state["linear.bias"])
    assert server.count("GET") == 1


def test_files_that_do_not_fit_are_refused(slim_file, tmp_path):
    state = torch.load(slim_file, weights_only=True)
    lost = {key: tensor for key, tensor in state.items() if key != "layer3.0.bn1.bias"}
    torch.save(lost, tmp_path / "lost.pth")
    backbone = {key: tensor for key, tensor in state.items() if key[:5] not in ("down5", "last_")}
    torch.save(backbone, tmp_path / "backbone.pth")
    torch.save(ddrnet.create_model(SLIM).state_dict(), tmp_path / "segmentation.pth")
    for name, reason in (
        ("lost", r"1 missing \(fusion_stages\.0\.low_res\.0\.bn1\.bias\)"),
        ("backbone", "18 missing"),
        ("segmentation", r"20 missing.*left over \(dappm"),
    ):
        overlay = {"file": str(tmp_path / f"{name}.pth")}
        with pytest.raises(CheckpointError, match=reason):
            timm.create_model(SLIM, pretrained=True, pretrained_cfg_overlay=overlay)
    overlay = {"file": str(slim_file)}
    with pytest.raises(CheckpointError, match="is a ddrnet_23_slim, the model is a ddrnet_23:"):
        timm.create_model("ddrnet_23", pretrained=True, pretrained_cfg_overlay=overlay)


def test_without_weights_the_error_says_so():
    with pytest.raises(WeightsUnavailableError, match=f"no ImageNet weights of {NANO}"):
        timm.create_model(NANO, pretrained=True)
    with pytest.raises(UnknownModelError, match=r"'cityscapes' of .*known are in1k, in1k_timm"):
        timm.create_model(f"{SLIM}.cityscapes", pretrained=True)
    with pytest.raises(TypeError, match="not_an_argument"):
        timm.create_model(NANO, not_an_argument=1)


def test_an_unreachable_source_is_named(monkeypatch, tmp_path):
    with Loopback() as empty:
        row = get_weights(f"{SLIM}.in1k_timm")
        row = empty.mirror(row, b"<!DOCTYPE html><title>Quota exceeded</title>")
        monkeypatch.setattr(classification, "get_weights", lambda name: row)
        with pytest.raises(
            WeightsUnavailableError, match=r"cannot fetch ddrnet_23_slim\.in1k_timm"
        ):
            timm.create_model(f"{SLIM}.in1k_timm", pretrained=True, cache_dir=tmp_path)


@pytest.mark.parametrize("tag", [*TAGS, NANO])
def test_timms_description_fits_the_network(tag):
    with torch.device("meta"):
        model = timm.create_model(tag).eval()
        cfg, keys = model.pretrained_cfg, model.state_dict().keys()
        assert f"{cfg['classifier']}.weight" in keys
        assert f"{cfg['first_conv']}.weight" in keys
        features = model.forward_features(torch.zeros(1, *cfg["input_size"]))
    assert tuple(features.shape[-2:]) == cfg["pool_size"]
    data = resolve_data_config(model=model)
    assert ddrnet.Preprocessing(data["mean"], data["std"]) == IMAGENET
    assert data["crop_pct"] == 0.875


def test_timm_saves_and_loads_it(tmp_path):
    model = timm.create_model(NANO, num_classes=5).eval()
    save_for_hf(model, tmp_path)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))


def test_layers_get_their_own_learning_rates():
    model = timm.create_model(NANO)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, layer_decay=0.5)
    assert len({group["lr_scale"] for group in optimizer.param_groups}) > 5


def test_importing_again_registers_nothing_twice(recwarn, caplog):
    importlib.reload(classification)
    assert model_entrypoint(NANO).__module__ == "ddrnet.classification"
    assert not recwarn.list
    assert not caplog.records


@pytest.mark.slow
def test_a_name_of_timm_stays():
    code = """
        import logging, timm, torch
        from timm.models import register_model
        @register_model
        def ddrnet_39(pretrained=False, **options):
            return torch.nn.Softplus()
        logging.basicConfig(level="WARNING")
        import ddrnet.classification
        assert isinstance(timm.create_model("ddrnet_39"), torch.nn.Softplus)
        assert timm.create_model("ddrnet_23").num_classes == 1000
        assert ddrnet.classification.ddrnet_39(num_classes=3).num_classes == 3
    """
    lines = [line.removeprefix("        ") for line in code.splitlines()]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("timm already has a model ddrnet_39, which stays") == 1


def test_importing_the_package_registers_nothing():
    code = "import ddrnet; ddrnet.create_model; import timm; print(timm.list_models('ddrnet*'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_a_file_of_the_caller_runs_no_code(tmp_path):
    class Command:
        def __reduce__(self):
            return exec, ("raise SystemExit('ran')",)

    torch.save({"conv1.0.weight": Command()}, tmp_path / "evil.pth")
    overlay = {"file": str(tmp_path / "evil.pth")}
    with pytest.raises(CheckpointError, match="exec"):
        timm.create_model(SLIM, pretrained=True, pretrained_cfg_overlay=overlay)
