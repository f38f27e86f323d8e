import copy
import io
import pickle

import golden_data
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from process_group import run_in_group
from torch import nn
from torch.fx.experimental import _config as export_config
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import ddrnet
from ddrnet.labels import class_labels
from ddrnet.network import DDRNet, freeze_batch_norm
from ddrnet.outputs import SegmentationOutput
from ddrnet.variants import COSTS, VARIANTS, DDRNetConfig
from ddrnet.weights.row import IMAGENET, Preprocessing

NANO = VARIANTS["ddrnet_23_nano"]

WITH_AUX_HEAD = {
    "ddrnet_23_nano": 1_439_478,
    "ddrnet_23_slim": 5_734_342,
    "ddrnet_23": 20_299_366,
    "ddrnet_39": 32_660_838,
}


@pytest.fixture(scope="module")
def nano():
    torch.manual_seed(0)
    return DDRNet(NANO).eval()


def images(*size, n=1, channels=3):
    return torch.randn(n, channels, *size)


@pytest.mark.parametrize("name", VARIANTS)
def test_has_the_published_number_of_parameters(name):
    with torch.device("meta"):
        models = DDRNet(VARIANTS[name]), DDRNet(VARIANTS[name], aux_head=True)
    counts = tuple(sum(p.numel() for p in model.parameters()) for model in models)
    assert counts == (COSTS[name].parameters, WITH_AUX_HEAD[name])


@pytest.mark.parametrize("name", VARIANTS)
def test_costs_the_published_multiply_adds(name):
    with torch.device("meta"):
        model, image = DDRNet(VARIANTS[name]).eval(), torch.empty(1, 3, 1024, 2048)
    with FlopCounterMode(display=False) as counter:
        model(image)
    assert round(counter.get_total_flops() / 2e9, 2) == COSTS[name].gmacs


def test_every_size_from_32_to_97_in_both_directions(nano):
    with torch.no_grad():
        for side in range(32, 98):
            size = (side, 129 - side)
            assert nano(images(*size)).shape == (1, 19, *size)


@pytest.mark.parametrize("size", [(375, 1242), (500, 500), (1080, 1920), (130, 250)])
@pytest.mark.parametrize("name", ["ddrnet_23_nano", "ddrnet_39"])
def test_sizes_people_have(name, size):
    with torch.device("meta"):
        logits = DDRNet(VARIANTS[name]).eval()(torch.empty(1, 3, *size))
    assert logits.shape == (1, 19, *size)


@given(st.integers(32, 97), st.integers(32, 97))
def test_full_resolution_is_the_upsampled_stride_8(height, width):
    model = DDRNet(NANO).eval()
    x = images(height, width)
    with torch.no_grad():
        full = model(x)
        model.upsample = False
        coarse = model(x)
    assert coarse.shape[-2:] == (-(-height // 8), -(-width // 8))
    expected = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    assert torch.equal(full, expected)


@pytest.mark.parametrize("training", [True, False])
def test_auxiliary_logits_come_at_stride_8(training, device):
    model = DDRNet(NANO, aux_head=True).train(training).to(device)
    output = model(images(65, 97, n=2).to(device))
    assert isinstance(output, SegmentationOutput)
    assert output.logits.shape == (2, 19, 65, 97)
    assert output.aux_logits.shape == (2, 19, 9, 13)


@pytest.mark.parametrize("size", [(32, 32), (75, 130), (375, 500)])
def test_predict_is_the_argmax_of_the_logits(nano, size):
    x = images(*size, n=2)
    with torch.no_grad():
        expected = nano(x).argmax(1)
    labels = nano.predict(x)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, expected)


def test_predict_restores_the_mode_of_every_module(nano):
    model = copy.deepcopy(nano).train()
    model.stem.eval()
    model.dappm.scales[2].eval()
    before = [module.training for module in model.modules()]
    statistics = copy.deepcopy(model.state_dict())
    labels = model.predict(images(64, 64))
    assert [module.training for module in model.modules()] == before
    assert all(torch.equal(v, statistics[k]) for k, v in model.state_dict().items())
    assert not labels.requires_grad
    with pytest.raises(ValueError, match="height and width"):
        model.predict(images(8, 8))
    assert [module.training for module in model.modules()] == before


def test_batch_does_not_matter_in_evaluation(nano):
    x = images(64, 96, n=3)
    with torch.no_grad():
        together, alone = nano(x), torch.cat([nano(image[None]) for image in x])
    assert golden_data.relative_error(together, alone) < 1e-5


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "uint8.*preprocessing"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.int64), "int64"),
        (torch.zeros(3, 64, 64), "batch dimension"),
        (torch.zeros(1, 4, 64, 64), "in_chans"),
        (torch.zeros(1, 3, 31, 64), "31 x 64"),
        (torch.zeros(1, 3, 64, 31), "64 x 31"),
    ],
)
def test_bad_images_say_what_to_do(nano, bad, message):
    with pytest.raises(ValueError, match=message):
        nano(bad)


@pytest.mark.parametrize(
    "arguments", [{"num_classes": 0}, {"in_chans": 0}, {"classes": class_labels(["road"])}]
)
def test_contradictory_arguments_raise(arguments):
    with pytest.raises(ValueError, match=r"at least 1|do not fit"):
        DDRNet(NANO, **arguments)


def test_preprocessing_has_one_number_per_channel():
    four = DDRNet(NANO, in_chans=4).preprocessing
    assert four.mean == (*IMAGENET.mean, pytest.approx(sum(IMAGENET.mean) / 3))
    assert DDRNet(NANO, in_chans=1).preprocessing.std == (pytest.approx(sum(IMAGENET.std) / 3),)
    with pytest.raises(ValueError, match="one per input channel"):
        DDRNet(NANO, in_chans=1, preprocessing=Preprocessing((0.5, 0.5), (0.5, 0.5)))


@pytest.mark.parametrize("in_chans", [1, 4])
def test_other_channel_counts(in_chans, device):
    model = DDRNet(NANO, num_classes=2, in_chans=in_chans).eval().to(device)
    assert model(images(64, 64, channels=in_chans).to(device)).shape == (1, 2, 64, 64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_runs_under_autocast(nano, dtype, device):
    model, x = copy.deepcopy(nano).to(device), images(64, 64).to(device)
    with torch.no_grad(), torch.autocast(device.type, dtype):
        logits = model(x)
    assert logits.dtype == dtype
    with torch.no_grad():
        assert golden_data.relative_error(logits.float(), model(x)) < 0.05


def test_channels_last_gives_the_same_logits(nano):
    x = images(65, 97, n=2)
    last = copy.deepcopy(nano).to(memory_format=torch.channels_last)
    with torch.no_grad():
        got = last(x.to(memory_format=torch.channels_last))
        assert golden_data.relative_error(got, nano(x)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("aux_head", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_compiles_as_one_graph(aux_head, training):
    # In float64: statistics of few values enlarge the rounding of float32 without limit.
    model = DDRNet(NANO, aux_head=aux_head).train(training).double()
    x = images(64, 64, n=2).double()
    eager = copy.deepcopy(model)(x)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(x)
    for got, expected in zip(tuple(compiled), tuple(eager), strict=True):
        assert golden_data.relative_error(got, expected) < 1e-9


@pytest.mark.slow
def test_compiles_with_inductor(nano):
    x = images(64, 96)
    compiled = torch.compile(nano, fullgraph=True)
    with torch.no_grad():
        assert golden_data.relative_error(compiled(x), nano(x)) < 1e-4


any_size = pytest.mark.skipif(
    not hasattr(export_config, "backed_size_oblivious"),
    reason="this torch version guards on the remainder of pooled sizes and cannot trace them all",
)


@pytest.fixture(scope="module")
def program(nano):
    """The network as one exported program, traced at a size of no importance."""
    Dim = torch.export.Dim
    sizes = {0: Dim("n"), 2: Dim("height", min=32), 3: Dim("width", min=32)}
    with export_config.patch(backed_size_oblivious=True):
        return torch.export.export(nano, (images(64, 96, n=2),), dynamic_shapes=(sizes,))


@any_size
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (65, 97), (375, 1242)])
def test_one_exported_program_serves_every_size(nano, program, size, n):
    x = images(*size, n=n)
    with torch.no_grad():
        assert golden_data.relative_error(program.module()(x), nano(x)) < 1e-5


@any_size
@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 3])
def test_one_exported_program_serves_full_size(nano, program, n):
    x = images(1024, 2048, n=n)
    with torch.no_grad():
        assert golden_data.relative_error(program.module()(x), nano(x)) < 1e-5


def test_export_of_a_model_with_auxiliary_head_takes_a_copy_without_it():
    model = DDRNet(NANO, aux_head=True).eval()
    plain = model.without_aux_head()
    x = images(64, 64)
    with torch.no_grad():
        program = torch.export.export(plain, (x,))
        assert torch.equal(program.module()(x), model(x).logits)
    assert model.aux_head is not None


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (129, 65)])
def test_training_on_one_image_names_the_ways_out(size):
    model = DDRNet(NANO)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"2 images.*freeze_batch_norm.*SyncBN"):
        model(images(*size))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_training_on_one_large_image_works_where_the_global_pool_is_frozen():
    model = DDRNet(NANO)
    model.dappm.scales[-1].eval()
    model(images(1056, 64))
    with pytest.raises(ValueError, match="more than 1 value per channel"):  # torch's own words
        model(images(64, 64))


def test_frozen_batch_norm_stays_frozen():
    model = nn.Sequential(DDRNet(NANO, aux_head=True))
    freeze_batch_norm(model)
    model.eval()
    model.train()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    assert model[0].training
    statistics = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
    model(images(64, 64)).logits.sum().backward()
    assert all(
        torch.equal(v, statistics[k]) for k, v in model.state_dict().items() if k in statistics
    )
    assert copy.deepcopy(model).train()[0].stem[1].training is False


def test_frozen_batch_norm_survives_the_conversion_to_sync_batch_norm():
    model = DDRNet(NANO)
    freeze_batch_norm(model)
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model).train()
    assert not any(m.training for m in model.modules() if isinstance(m, nn.SyncBatchNorm))


def test_freeze_batch_norm_wants_a_ddrnet():
    with pytest.raises(TypeError, match="DDRNet"):
        freeze_batch_norm(nn.Linear(1, 1))


def test_sync_batch_norm_over_one_process_is_no_way_out():
    model = nn.SyncBatchNorm.convert_sync_batchnorm(DDRNet(NANO))
    with pytest.raises(ValueError, match="freeze_batch_norm"):
        model(images(64, 64))


@pytest.mark.slow
def test_sync_batch_norm_over_two_processes_is_a_way_out(tmp_path):
    # The check alone: torch has no SyncBatchNorm for the CPU that could go on from there.
    code = """
        from ddrnet.network import DDRNet
        from ddrnet.variants import VARIANTS
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(DDRNet(VARIANTS["ddrnet_23_nano"]))
        model._check_images(torch.zeros(1, 3, 64, 64))
        print("accepted")
    """
    assert run_in_group(code, tmp_path) == ["accepted\n", "accepted\n"]


def test_parameter_groups_cover_every_parameter_once():
    model = DDRNet(NANO, aux_head=True)
    groups = model.parameter_groups(
        0.1, head_factor=10, weight_decay=1e-4, decay_norm_and_bias=False
    )
    by_name = {group["name"]: group for group in groups}
    assert set(by_name) == {"backbone", "backbone.no_decay", "heads", "heads.no_decay"}
    assert by_name["heads"]["lr"] == pytest.approx(1.0)
    assert by_name["heads.no_decay"]["weight_decay"] == 0
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    assert all(p.ndim == 1 for p in by_name["backbone.no_decay"]["params"])
    heads = {id(p) for m in (model.head, model.aux_head, model.dappm) for p in m.parameters()}
    assert heads == {id(p) for name in ("heads", "heads.no_decay") for p in by_name[name]["params"]}


def test_parameter_groups_feed_an_optimizer():
    model = DDRNet(NANO)
    freeze_batch_norm(model)
    groups = model.parameter_groups(0.1)
    assert len(groups) == 2
    torch.optim.SGD(groups, momentum=0.9).step()


def test_survives_copy_pickle_and_state_dict(nano):
    x = images(64, 64)
    with torch.no_grad():
        expected = nano(x)
        assert torch.equal(copy.deepcopy(nano)(x), expected)
        assert torch.equal(pickle.loads(pickle.dumps(nano))(x), expected)
        buffer = io.BytesIO()
        torch.save(nano.state_dict(), buffer)
        buffer.seek(0)
        fresh = DDRNet(NANO).eval()
        fresh.load_state_dict(torch.load(buffer))
        assert torch.equal(fresh(x), expected)


def test_own_sizes_build_and_run():
    config = DDRNetConfig(8, (1, 1), ((16, 1), (32, 1), (64, 1)), 16, 16)
    model = DDRNet(config, num_classes=3).eval()
    assert model(images(70, 90)).shape == (1, 3, 70, 90)
    assert len(model.fusion_stages[2].high_to_low) == 8


def test_gradients_reach_every_parameter(device):
    model = DDRNet(NANO, aux_head=True).to(device)
    output = model(images(64, 64, n=2).to(device))
    (output.logits.square().mean() + output.aux_logits.square().mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_public_names_are_the_modules_own():
    assert ddrnet.DDRNet is DDRNet
    assert ddrnet.freeze_batch_norm is freeze_batch_norm


@pytest.mark.parametrize("picture", ["street.png", np.zeros((64, 64, 3), np.uint8)])
def test_a_picture_that_is_no_tensor_is_pointed_to_the_predictor(picture):
    model = ddrnet.create_model("ddrnet_23_nano").eval()
    for call in (model, model.predict):
        with pytest.raises(TypeError, match=r"ddrnet\.Predictor\(model\) segments paths"):
            call(picture)
