import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ddrnet.upsampling import upsample_argmax


def interpolated_argmax(logits, size):
    return F.interpolate(logits, size, mode="bilinear", align_corners=False).argmax(1)


def spoil(logits, values):
    """Put each of `values` somewhere into the logits."""
    for value in values:
        place = int(torch.randint(logits.numel(), ()))
        logits.view(-1)[place] = value
    return logits


KINDS = {
    "noise": torch.randn,
    "integers": lambda *shape: torch.randn(shape).round(),
    "smooth": lambda n, k, h, w: F.interpolate(5 * torch.randn(n, k, 3, 3), (h, w), mode="bicubic"),
    "equal": torch.zeros,
    "huge": lambda *shape: 1e38 * torch.randn(shape),
    "denormal": lambda *shape: 1e-42 * torch.randn(shape),
    "nan": lambda *shape: spoil(torch.randn(shape), [torch.nan]),
    "infinite": lambda *shape: spoil(torch.randn(shape), [torch.inf, -torch.inf]),
}
LAYOUTS = {
    "contiguous": lambda logits: logits,
    "channels_last": lambda logits: logits.contiguous(memory_format=torch.channels_last),
    "transposed": lambda logits: logits.transpose(2, 3).contiguous().transpose(2, 3),
    "cut out": lambda logits: torch.cat([logits, logits], 3)[..., : logits.shape[3]],
}


EPSILON = torch.finfo(torch.float32).eps


def trailing(labels, logits):
    """Return the gap between each pixel's class and the leading one, in float64."""
    exact = F.interpolate(logits.double(), labels.shape[1:], mode="bilinear", align_corners=False)
    return exact.amax(1) - exact.gather(1, labels.long().unsqueeze(1)).squeeze(1)


@settings(max_examples=150)
@given(
    shape=st.tuples(
        st.integers(1, 2),
        st.sampled_from([1, 2, 3, 4, 5, 19]),
        st.integers(1, 30),
        st.integers(1, 50),
    ),
    size=st.tuples(st.integers(1, 200), st.integers(1, 400)),
    factor=st.sampled_from([None, None, 1, 2, 4, 8]),
    kind=st.sampled_from(["noise", "integers", "smooth", "equal", "denormal"]),
    layout=st.sampled_from(sorted(LAYOUTS)),
    dtype=st.sampled_from([torch.float32] * 3 + [torch.float16, torch.bfloat16, torch.float64]),
    seed=st.integers(0, 2**32),
)
def test_finds_a_class_that_leads_to_within_rounding(
    shape, size, factor, kind, layout, dtype, seed
):
    torch.manual_seed(seed)
    logits = LAYOUTS[layout](KINDS[kind](*shape).to(dtype))
    if factor is not None:
        size = shape[2] * factor, shape[3] * factor
    labels = upsample_argmax(logits, size)
    assert labels.dtype == torch.uint8
    epsilon = torch.finfo(torch.float64).eps if dtype == torch.float64 else EPSILON
    largest = logits.abs().max().double().clamp(min=torch.finfo(torch.float32).tiny)
    bound = 8 * epsilon * largest
    assert trailing(labels, logits).max() <= bound


@settings(max_examples=50)
@given(
    shape=st.tuples(st.just(1), st.integers(1, 5), st.integers(2, 10), st.integers(2, 10)),
    factor=st.sampled_from([2, 4, 8]),
    layout=st.sampled_from(sorted(LAYOUTS)),
    seed=st.integers(0, 2**32),
)
def test_equals_the_plain_argmax_where_nothing_is_rounded(shape, factor, layout, seed):
    torch.manual_seed(seed)
    logits = LAYOUTS[layout](torch.randint(-4, 5, shape).float())
    size = shape[2] * factor, shape[3] * factor
    assert torch.equal(upsample_argmax(logits, size).long(), interpolated_argmax(logits, size))


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("size", [(512, 1024), (375, 1242), (301, 517)])
def test_hardly_a_pixel_of_a_street_differs(layout, size):
    height, width = (-(-side // 8) for side in size)
    labels = torch.randint(0, 19, (1, 1, 8, 16)).float()
    labels = F.interpolate(labels, (height, width)).long().squeeze(1)
    logits = torch.randn(1, 19, height, width) + 6 * F.one_hot(labels, 19).permute(0, 3, 1, 2)
    logits = LAYOUTS[layout](logits)
    found = upsample_argmax(logits, size)
    different = found != interpolated_argmax(logits, size)
    assert different.float().mean() <= 2e-5
    assert trailing(found, logits)[different].le(8 * EPSILON * logits.abs().max()).all()


@pytest.mark.parametrize("kind", ["huge", "nan", "infinite"])
@pytest.mark.parametrize("size", [(32, 64), (37, 129)])
def test_values_out_of_the_ordinary_are_found_as_argmax_finds_them(kind, size):
    logits = KINDS[kind](2, 5, 8, 16)
    assert torch.equal(upsample_argmax(logits, size).long(), interpolated_argmax(logits, size))


def test_many_classes():
    logits = torch.randn(1, 256, 20, 25)
    found = upsample_argmax(logits, (160, 200))
    assert found.max() > 200
    assert (found != interpolated_argmax(logits, (160, 200))).float().mean() < 1e-4


def test_more_classes_than_a_byte_holds_raise():
    with pytest.raises(ValueError, match="at most 256 classes, got logits of 257"):
        upsample_argmax(torch.zeros(1, 257, 4, 4), (32, 32))


def test_a_tie_goes_to_the_first_class():
    logits = torch.randn(1, 1, 16, 32).expand(1, 7, 16, 32)
    assert upsample_argmax(logits, (128, 256)).max() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_device_finds_the_same_classes(device, dtype):
    # Small integers at a stride of 8 are rounded nowhere.
    logits = torch.randint(-4, 5, (1, 5, 8, 16)).to(dtype)
    labels = upsample_argmax(logits.to(device), (64, 128))
    assert labels.device.type == device.type
    assert torch.equal(labels.cpu().long(), interpolated_argmax(logits.float(), (64, 128)))


def test_accelerators_need_not_wait(accelerator_device, no_waiting):
    logits = torch.zeros(2, 19, 16, 32, device=accelerator_device, dtype=torch.bfloat16)
    with no_waiting():
        labels = upsample_argmax(logits, (128, 256))
    assert (labels.shape, labels.dtype) == ((2, 128, 256), torch.uint8)
    assert labels.device == logits.device


def test_never_holds_full_resolution_logits(largest_tensor):
    for kind in ("smooth", "nan"):
        logits = KINDS[kind](2, 19, 32, 64)
        with largest_tensor() as largest:
            upsample_argmax(logits, (256, 512))
        assert largest.numel < 19 * 256 * 512 / 4


def test_needs_no_gradient():
    logits = torch.randn(1, 3, 16, 32, requires_grad=True)
    labels = upsample_argmax(logits, (128, 256))
    assert not labels.requires_grad
    with torch.inference_mode():
        assert torch.equal(upsample_argmax(logits * 1, (128, 256)), labels)


def test_an_empty_batch_gives_an_empty_batch():
    assert upsample_argmax(torch.empty(0, 3, 4, 4), (32, 32)).shape == (0, 32, 32)


@pytest.mark.parametrize(
    ("logits", "size", "message"),
    [
        (torch.zeros(3, 4, 4), (8, 8), "expected floating-point logits of shape"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.int64), (8, 8), "torch.int64"),
        (torch.zeros(1, 3, 0, 4), (8, 8), r"\(1, 3, 0, 4\)"),
        (torch.zeros(1, 3, 4, 4), (8, 0), r"at least 1 pixel, got \(8, 0\)"),
    ],
)
def test_refuses_what_cannot_be_interpolated(logits, size, message):
    with pytest.raises(ValueError, match=message):
        upsample_argmax(logits, size)
