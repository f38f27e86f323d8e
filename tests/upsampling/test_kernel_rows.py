import pytest
import torch
from torch.nn import functional as F

from ddrnet.upsampling.kernel_rows import kernel_positions, kernel_row


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("classes", [1, 4, 19])
@pytest.mark.parametrize(
    ("length", "height"), [(1, 5), (2, 2), (2, 3), (7, 56), (7, 7), (9, 71), (12, 5), (31, 117)]
)
def test_a_row_has_the_bits_of_the_whole_image(dtype, memory_format, classes, length, height):
    image = torch.randn(1, classes, length, 20).to(dtype).contiguous(memory_format=memory_format)
    whole = F.interpolate(image, (height, 157), mode="bilinear")
    positions = kernel_positions(length, height, image)
    for row in range(height):
        assert torch.equal(kernel_row(image, positions, row, 157), whole[0, :, row])


def test_positions_are_where_the_kernel_takes_its_weights():
    image = torch.randn(1, 1, 47, 156)
    positions = kernel_positions(47, 375, image).clamp(min=0)
    ramp = torch.arange(47.0).view(1, 1, -1, 1)
    interpolated = F.interpolate(ramp, (375, 1), mode="bilinear").flatten()
    torch.testing.assert_close(positions.clamp(max=46), interpolated, rtol=0, atol=1e-5)
