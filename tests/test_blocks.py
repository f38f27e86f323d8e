import pytest
import torch
from torch.nn import functional as F

from ddrnet.blocks import BasicBlock, Bottleneck, dilate, residual_stage, strided_convs


@pytest.mark.parametrize("size", [(1, 1), (7, 8), (8, 7)])
@pytest.mark.parametrize("stride", [1, 2])
def test_blocks_give_the_ceiling_of_the_stride(size, stride, device):
    images = torch.randn(2, 4, *size, device=device)
    expected = tuple(-(-side // stride) for side in size)
    assert BasicBlock(4, 6, stride).to(device)(images).shape == (2, 6, *expected)
    assert Bottleneck(4, stride).to(device)(images).shape == (2, 8, *expected)


def test_only_the_last_block_of_a_stage_is_not_rectified():
    first, last = residual_stage(4, 8, depth=2, stride=2)
    assert (first.final_relu, last.final_relu) == (True, False)
    assert (first.downsample is None, last.downsample is None) == (False, True)


def test_basic_block_is_the_sum_of_two_convolutions_and_the_shortcut():
    block = BasicBlock(4, 4, final_relu=False).eval()
    x = torch.randn(1, 4, 6, 6)
    inner = F.relu(block.bn1(block.conv1(x)))
    assert torch.equal(block(x), block.bn2(block.conv2(inner)) + x)


def test_strided_convs_rectify_between_but_not_at_the_end():
    kinds = [type(layer).__name__ for layer in strided_convs([4, 8, 16])]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d"]


@pytest.mark.parametrize("make", [lambda: residual_stage(4, 6, 3, 2), lambda: Bottleneck(4, 2)])
@pytest.mark.parametrize("size", [(16, 12), (15, 13)])
def test_dilation_computes_the_same_values_and_those_between(make, size):
    layers, x = make().eval().double(), torch.randn(1, 4, *size).double()
    with torch.no_grad():
        strided = layers(x)
        dilate(layers.modules())
        dilated = layers(x)
    assert dilated.shape[-2:] == size
    torch.testing.assert_close(dilated[..., ::2, ::2], strided)


@pytest.mark.parametrize("make", [lambda: BasicBlock(4, 4), lambda: Bottleneck(4)])
def test_blocks_leave_their_input_alone(make, device):
    x = torch.randn(2, 4, 6, 6, device=device)
    before = x.clone()
    make().to(device)(x)
    assert torch.equal(x, before)
