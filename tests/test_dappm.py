import pytest
import torch
from torch.nn import functional as F

from ddrnet.dappm import DAPPM


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2), (16, 32), (17, 33)])
def test_keeps_the_size(size, device):
    features = torch.randn(2, 8, *size, device=device)
    assert DAPPM(8, 4, 6).to(device).eval()(features).shape == (2, 6, *size)


def test_each_scale_is_refined_with_the_one_before():
    module = DAPPM(8, 4, 6).eval()
    x = torch.randn(2, 8, 9, 12)
    levels = [module.scales[0](x)]
    for scale, refine in zip(list(module.scales)[1:], module.refine, strict=True):
        pooled = F.interpolate(scale(x), (9, 12), mode="bilinear", align_corners=False)
        levels.append(refine(pooled + levels[-1]))
    expected = module.merge(torch.cat(levels, 1)) + module.shortcut(x)
    assert torch.equal(module(x), expected)


def test_pools_count_padding_as_zeros(device):
    pool = DAPPM(1, 1, 1).scales[1][0]
    corner = pool(torch.ones(1, 1, 5, 5, device=device))[0, 0, 0, 0]
    assert corner.item() == pytest.approx(9 / 25)
