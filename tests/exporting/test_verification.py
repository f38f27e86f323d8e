import pytest
import torch
from exported_files import nano, tiny

import ddrnet
from ddrnet.exporting.verification import sample_images, verify


def test_an_exported_file_agrees_with_the_weights_that_it_names(exported):
    differences = verify(exported("nano.labels.onnx"))
    assert {difference.batch for difference in differences} == {1, 3}
    assert len({difference.size for difference in differences}) == 3
    assert all(difference.largest <= 1e-5 for difference in differences)


@pytest.mark.parametrize(
    ("name", "model"), [("nano.labels.onnx", nano), ("tiny.logits.onnx", tiny)]
)
def test_another_model_is_told_apart(name, model, exported):
    other = model().without_aux_head()
    with torch.no_grad():
        other.head.conv2.weight.copy_(other.head.conv2.weight.flip(0))
    with pytest.raises(ddrnet.ExportError, match="the file differs from the model"):
        verify(exported(name), other)


def test_a_file_without_known_weights_needs_its_model(exported):
    path = exported("tiny.logits.onnx")
    with pytest.raises(ValueError, match="pass the model"):
        verify(path)
    assert len(verify(path, tiny())) == 6


def test_a_model_of_another_size_is_refused_before_it_runs(exported):
    other = ddrnet.create_model("ddrnet_23_slim", num_classes=11)
    with pytest.raises(ddrnet.ExportError, match="exported from another model"):
        verify(exported("nano.labels.onnx"), other)


def test_a_pt2_file_is_not_loaded(tmp_path):
    with pytest.raises(ValueError, match="can run code"):
        verify(tmp_path / "any.pt2")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*gone\.onnx"):
        verify(tmp_path / "gone.onnx")


def test_sample_images_are_always_the_same_and_cover_all_values():
    images = sample_images(2, 3, (64, 96))
    assert torch.equal(images, sample_images(2, 3, (64, 96)))
    assert images.min() < 40
    assert images.max() > 215
