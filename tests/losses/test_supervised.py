"""Cross entropy of all pixels and of the hard ones, at any stride."""

import json
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from process_group import run_in_group
from references import ohem_cross_entropy
from torch import nn
from torch.nn import functional as F

from ddrnet.losses import AuxiliaryLoss, CrossEntropyLoss, OhemCrossEntropyLoss
from ddrnet.outputs import SegmentationOutput

# fmt: off
CITYSCAPES_WEIGHTS = [
    .8373, .918, .866, 1.0345, 1.0166, .9969, .9754, 1.0489, .8786, 1.0023,
    .9539, .9843, 1.1116, .9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507,
]
# fmt: on
CASES = json.loads((Path(__file__).parents[1] / "golden" / "ohem.json").read_text())
CRITERIA = [CrossEntropyLoss, OhemCrossEntropyLoss]


def golden_input(case):
    """Logits and target of a case, by the formula in tests/golden/README.md."""
    rng = np.random.RandomState(zlib.crc32(case["tag"].encode()))
    n, classes, h, w = (case[name] for name in ("n", "classes", "h", "w"))
    height, width = case["height"], case["width"]
    target = rng.randint(0, classes, (n, height // 16, width // 16))
    target[rng.rand(*target.shape) < 0.1] = 255
    target = target.repeat(16, 1).repeat(16, 2)
    logits = rng.standard_normal((n, classes, h, w)).astype(np.float32)
    down, across = height // h, width // w
    centres = target[:, down // 2 :: down, across // 2 :: across]
    logits[centres[:, None] == np.arange(classes)[:, None, None]] += case["sharpness"]
    return torch.from_numpy(logits), torch.from_numpy(target)


def labels(shape, classes, ignored=0.2):
    return torch.where(torch.rand(shape) < ignored, 255, torch.randint(classes, shape))


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: "-".join(map(str, list(case.values())[:10]))
)
def test_ohem_equals_the_published_code(case, device):
    logits, target = (each.to(device) for each in golden_input(case))
    weights = CITYSCAPES_WEIGHTS if case["class_weights"] else None
    criterion = OhemCrossEntropyLoss(case["threshold"], case["min_kept"], class_weights=weights)
    loss = criterion.to(device)(logits.requires_grad_(), target)
    loss.backward()
    sample = logits.grad.flatten()[::997][:12]
    scale = max(map(abs, case["grad_sample"]))
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    assert logits.grad.abs().sum().item() == pytest.approx(case["grad_abs_sum"], rel=1e-4)
    assert sample.tolist() == pytest.approx(case["grad_sample"], rel=1e-4, abs=1e-4 * scale)


@given(
    shape=st.tuples(st.integers(1, 2), st.integers(2, 6), st.integers(1, 8), st.integers(1, 8)),
    size=st.tuples(st.integers(4, 60), st.integers(4, 60)),
    threshold=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    share=st.sampled_from([0, 0.1, 0.5, 2.0]),
    ignored=st.sampled_from([0, 0.3, 1]),
    weighted=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_ohem_equals_sorting_everything(shape, size, threshold, share, ignored, weighted, seed):
    torch.manual_seed(seed)
    logits = (3 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    target = labels((shape[0], *size), shape[1], ignored)
    weights = torch.rand(shape[1], dtype=torch.float64) if weighted else None
    min_kept = int(share * target.numel())
    loss = OhemCrossEntropyLoss(threshold, min_kept, class_weights=weights)(logits, target)
    expected = ohem_cross_entropy(logits, target, threshold, min_kept, weights)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [(5, 7), (20, 28), (40, 56), (80, 112), (41, 53)])
def test_cross_entropy_equals_torch_on_interpolated_logits(size, weighted, device):
    logits = torch.randn(2, 19, 5, 7, dtype=torch.float64).to(device).requires_grad_()
    target = labels((2, *size), 19).to(device)
    weights = CITYSCAPES_WEIGHTS if weighted else None
    loss = CrossEntropyLoss(class_weights=weights).to(device)(logits, target)
    expected = F.cross_entropy(
        F.interpolate(logits, size, mode="bilinear", align_corners=False),
        target,
        weight=torch.tensor(weights, dtype=torch.float64, device=device) if weighted else None,
        ignore_index=255,
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_gradcheck(criterion):
    logits = torch.randn(1, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    target = labels((1, 13, 18), 3)
    assert torch.autograd.gradcheck(lambda z: criterion()(z, target), logits)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0]])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_an_ignored_batch_gives_zero_and_zero_gradients(criterion, weights, device):
    logits = torch.randn(2, 3, 4, 4, device=device, requires_grad=True)
    ignored = torch.full((2, 32, 32), 255, device=device)
    loss = criterion(class_weights=weights).to(device)(logits, ignored)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.count_nonzero() == 0


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0]])
@pytest.mark.parametrize(
    "criterion",
    [CrossEntropyLoss, OhemCrossEntropyLoss, partial(OhemCrossEntropyLoss, min_kept_fraction=0.1)],
)
def test_an_empty_batch_gives_zero_and_zero_gradients(criterion, weights, device):
    logits = torch.randn(0, 3, 4, 4, device=device, requires_grad=True)
    empty = torch.zeros(0, 32, 32, dtype=torch.uint8, device=device)
    criterion = AuxiliaryLoss(criterion(class_weights=weights)).to(device)
    loss = criterion(SegmentationOutput(logits, logits), empty)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == logits.shape


def test_no_kept_pixel_gives_zero_and_zero_gradients():
    logits = torch.tensor([[[[9.0]], [[0.0]]]], requires_grad=True)
    loss = OhemCrossEntropyLoss(0.1, 0)(logits, torch.zeros(1, 8, 8, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.count_nonzero() == 0


def test_diverged_logits_are_not_hidden():
    logits = torch.full((1, 3, 4, 4), torch.nan)
    assert OhemCrossEntropyLoss()(logits, labels((1, 32, 32), 3)).isnan()


def test_a_fraction_keeps_as_many_pixels_as_the_same_count():
    logits, target = 4 * torch.randn(6, 5, 8, 8), labels((6, 64, 64), 5)
    fraction = OhemCrossEntropyLoss(0.1, min_kept_fraction=1 / 48)
    count = OhemCrossEntropyLoss(0.1, 6 * 64 * 64 // 48)
    assert torch.equal(fraction(logits, target), count(logits, target))
    assert OhemCrossEntropyLoss().min_kept == 6 * 1024 * 1024 // 48


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_target_of_any_integer_dtype(criterion, dtype):
    logits, target = torch.randn(1, 3, 4, 4), labels((1, 32, 32), 3)
    weighted = criterion(class_weights=[1.0, 2.0, 3.0])
    assert torch.equal(weighted(logits, target.to(dtype)), weighted(logits, target))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_autocast_computes_in_float32(criterion, device):
    convolution, images = nn.Conv2d(3, 5, 1).to(device), torch.randn(2, 3, 8, 8, device=device)
    target = labels((2, 64, 64), 5).to(device)
    weighted = criterion(class_weights=[1.0, 2.0, 3.0, 4.0, 5.0]).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        logits = convolution(images)
        loss = weighted(logits, target)
    assert (logits.dtype, loss.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(loss, weighted(logits.float(), target))
    loss.backward()
    assert convolution.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("criterion", CRITERIA)
def test_accelerators_need_not_wait(criterion, accelerator_device, no_waiting):
    logits = torch.zeros(2, 3, 8, 8, device=accelerator_device, requires_grad=True)
    target = torch.zeros(2, 64, 64, device=accelerator_device, dtype=torch.int64)
    weighted = criterion(class_weights=[1.0, 2.0, 3.0]).to(accelerator_device)
    with no_waiting():
        weighted(logits, target).backward()


@pytest.mark.parametrize("criterion", CRITERIA)
def test_class_weights_move_with_the_module_but_are_not_saved(criterion):
    weighted = criterion(class_weights=CITYSCAPES_WEIGHTS)
    assert weighted.state_dict() == {}
    assert weighted.to("meta").class_weights.device.type == "meta"
    weights = torch.rand(3)
    assert torch.equal(criterion(class_weights=weights).class_weights, weights)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_refuses_weights_that_do_not_fit(criterion):
    with pytest.raises(ValueError, match="at least 0 per class"):
        criterion(class_weights=[1.0, -1.0])
    with pytest.raises(ValueError, match="got 2 class weights for logits of 3 classes"):
        criterion(class_weights=[1.0, 1.0])(torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 4).long())


@pytest.mark.parametrize(
    "arguments",
    [
        {"threshold": 1.5},
        {"min_kept": -1},
        {"min_kept_fraction": 1.5},
        {"min_kept": 1000, "min_kept_fraction": 0.1},
    ],
)
def test_ohem_refuses_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="min_kept"):
        OhemCrossEntropyLoss(**arguments)


def test_auxiliary_loss_weighs_the_second_output():
    criterion, target = CrossEntropyLoss(), labels((1, 32, 32), 3)
    output = SegmentationOutput(torch.randn(1, 3, 32, 32), torch.randn(1, 3, 4, 4))
    main, auxiliary = (criterion(logits, target) for logits in output)
    assert torch.equal(AuxiliaryLoss(criterion)(output, target), main + 0.4 * auxiliary)
    assert torch.equal(AuxiliaryLoss(criterion, 1.0)(output, target), main + auxiliary)


@pytest.mark.parametrize("output", [torch.zeros(1, 3, 4, 4), (torch.zeros(1), torch.zeros(1))])
def test_auxiliary_loss_explains_what_a_model_needs(output):
    with pytest.raises(TypeError, match="build the model with aux_head=True"):
        AuxiliaryLoss(CrossEntropyLoss())(output, torch.zeros(1, 4, 4).long())


@pytest.mark.slow
def test_gradients_through_distributed_data_parallel(tmp_path):
    code = """
        import json
        from references import ohem_cross_entropy
        from ddrnet.losses import OhemCrossEntropyLoss
        torch.manual_seed(0)
        model = torch.nn.Conv2d(3, 5, 1)
        batches = [(torch.randn(2, 3, 8, 8), torch.randint(5, (2, 64, 64))) for _ in range(size)]
        expected = [
            torch.autograd.grad(
                ohem_cross_entropy(model(images), target, 0.3, 100), model.parameters()
            )
            for images, target in batches
        ]
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        images, target = batches[rank]
        OhemCrossEntropyLoss(0.3, 100)(parallel(images), target).backward()
        for parameter, *gradients in zip(model.parameters(), *expected):
            mean = torch.stack(gradients).mean(0)
            torch.testing.assert_close(parameter.grad, mean, rtol=1e-4, atol=1e-6)
        print("equal")
    """
    assert run_in_group(code, tmp_path) == ["equal\n", "equal\n"]


@pytest.mark.parametrize("loss_too", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_gradients_through_a_compiled_model(loss_too):
    model, images = nn.Conv2d(3, 5, 1), torch.randn(2, 3, 8, 8)
    criterion, target = OhemCrossEntropyLoss(0.3, 100), labels((2, 64, 64), 5)

    def step(images):
        return criterion(model(images), target)

    def compiled_model(images):
        return criterion(compiled(images), target)

    compiled = torch.compile(step if loss_too else model, backend="aot_eager")
    expected = torch.autograd.grad(step(images), list(model.parameters()))
    loss = compiled(images) if loss_too else compiled_model(images)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    torch.testing.assert_close(gradients, expected)
