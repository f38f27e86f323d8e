import numpy as np
from data_files import save_png, write_cityscapes

from ddrnet.data import Cityscapes
from ddrnet.data.checking import unreadable


def test_everything_unreadable_is_reported_once(tmp_path):
    write_cityscapes(tmp_path, {"train": {"aachen": 6}})
    samples = Cityscapes(tmp_path, "train").samples
    samples[0].image.write_bytes(b"")
    samples[2].labels.write_bytes(samples[2].labels.read_bytes()[:80])
    save_png(samples[3].labels, np.full((24, 40), 99))
    save_png(samples[5].image, np.zeros((9, 9, 3)))
    problems = list(unreadable(samples))
    assert len(problems) == 4
    for problem, sample in zip(problems, (samples[i] for i in (0, 2, 3, 5)), strict=True):
        assert sample.name in problem
