import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

import ddrnet
from ddrnet.integrations.transformers import (
    DDRNetForSemanticSegmentation,
    DDRNetImageProcessor,
    DDRNetTransformersConfig,
)

Auto = transformers.AutoModelForSemanticSegmentation


@pytest.fixture(scope="module")
def model():
    return ddrnet.create_model("ddrnet_23_nano.camvid", pretrained=True).eval()


@pytest.fixture
def folder(model, tmp_path):
    ddrnet.save_pretrained(model, tmp_path / "saved")
    return tmp_path / "saved"


def picture(height, width):
    image, _ = ddrnet.data.SyntheticStreets(1, (height, width))[0]
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def masks(segments):
    return {row["label"]: np.asarray(row["mask"]) for row in segments}


def test_the_pipeline_gives_the_masks_of_the_predictor(folder, tmp_path, caplog):
    pipe = transformers.pipeline("image-segmentation", model=str(folder), device="cpu")
    predictor = ddrnet.Predictor(folder, device="cpu")
    tiny = picture(256, 512).resize((37, 21))
    pictures = [picture(256, 512), picture(123, 251), tiny, picture(64, 96).convert("L")]
    for index, image in enumerate(pictures):
        path = tmp_path / f"{index}.png"
        image.save(path)
        expected = masks(predictor(path).segments())
        for source in (image, str(path)):
            found = masks(pipe(source))
            assert found.keys() == expected.keys()
            for label, mask in found.items():
                assert np.array_equal(mask, expected[label])
    assert "not supported" not in caplog.text


@pytest.mark.slow
def test_a_fresh_process_needs_the_import_alone(folder):
    code = (
        "import sys, ddrnet.integrations.transformers\n"
        "from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation as Auto\n"
        "model = Auto.from_pretrained(sys.argv[1], trust_remote_code=False)\n"
        "print(type(model).__name__, len(model.config.id2label), model.training)\n"
        "print(AutoImageProcessor.from_pretrained(sys.argv[1]).image_mean)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "DDRNetForSemanticSegmentation 11 False"


def test_the_tensors_keep_their_names_and_the_files_their_bytes(model, folder, tmp_path):
    loaded = Auto.from_pretrained(folder)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert loaded.config.id2label == dict(enumerate(row.name for row in model.classes))
    assert loaded.network.classes == model.classes
    loaded.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_own_preprocessing_and_channels_are_kept(tmp_path):
    own = ddrnet.create_model(
        "ddrnet_23_nano",
        class_names=["a", "b"],
        in_chans=1,
        preprocessing=ddrnet.Preprocessing(mean=(0.3,), std=(0.2,)),
    ).eval()
    ddrnet.save_pretrained(own, tmp_path)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    assert (processor.image_mean, processor.image_std) == ([0.3], [0.2])
    pipe = transformers.pipeline("image-segmentation", model=str(tmp_path), device="cpu")
    image = picture(64, 96)
    expected = masks(ddrnet.Predictor(tmp_path, device="cpu")(image).segments())
    found = masks(pipe(image))
    assert all(np.array_equal(found[label], mask) for label, mask in expected.items())
    processor.save_pretrained(tmp_path / "processor")
    again = transformers.AutoImageProcessor.from_pretrained(tmp_path / "processor")
    assert again.to_dict() == processor.to_dict()


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_other_tensors_are_refused(folder, change):
    path = folder / "model.safetensors"
    state = load_file(path)
    if change == "missing":
        del state["head.conv2.bias"]
    else:
        state["neck.weight"] = torch.zeros(3)
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ddrnet.HubError, match=change):
        Auto.from_pretrained(folder)


def test_a_pickle_is_not_read(model, folder):
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"model\.safetensors"):
        Auto.from_pretrained(folder)


def test_the_config_of_another_task_or_library_is_refused(folder):
    content = json.loads((folder / "config.json").read_text())
    with pytest.raises(ddrnet.HubError, match="backbone"):
        DDRNetTransformersConfig(content | {"task": "backbone"})
    with pytest.raises(ddrnet.HubError, match="newer"):
        DDRNetTransformersConfig(**content | {"config_version": 99})
    with pytest.raises(ddrnet.HubError, match="was not written by"):
        DDRNetTransformersConfig(content | {"library": "timm"})


def test_other_classes_leave_the_last_layer_untrained(model, folder, tmp_path):
    names = {0: "Road", 1: "water", 2: "Sky"}
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        Auto.from_pretrained(folder, id2label=names)
    loaded = Auto.from_pretrained(folder, id2label=names, ignore_mismatched_sizes=True)
    state = loaded.state_dict()
    changed = {
        key for key, tensor in model.state_dict().items() if state[key].shape != tensor.shape
    }
    assert changed == {"head.conv2.weight", "head.conv2.bias"}
    assert all(torch.equal(state[key], model.state_dict()[key]) for key in state.keys() - changed)
    assert state["head.conv2.weight"].std() > 0
    loaded.save_pretrained(tmp_path / "own")
    own = ddrnet.create_model(f"local-dir:{tmp_path / 'own'}", pretrained=True)
    assert [row.name for row in own.classes] == ["Road", "water", "Sky"]
    assert own.classes[0].color == model.classes[3].color
    numbered = Auto.from_pretrained(folder, num_labels=5, ignore_mismatched_sizes=True)
    assert numbered.config.id2label[4] == "class_4"


@pytest.mark.parametrize("aux_head", [False, True])
def test_the_loss_is_that_of_full_resolution_logits(aux_head):
    own = ddrnet.create_model("ddrnet_23_nano", num_classes=4, aux_head=aux_head)
    wrapped = DDRNetForSemanticSegmentation.from_ddrnet(own)
    images = torch.randn(2, 3, 64, 96)
    labels = torch.randint(4, (2, 64, 96))
    labels[:, :9] = 255
    output = wrapped(images, labels=labels)
    assert output.logits.shape == (2, 4, 8, 12)
    reference = own(images)
    maps = reference if aux_head else [reference]
    expected = sum(
        weight
        * F.cross_entropy(
            F.interpolate(logits, (64, 96), mode="bilinear"), labels, ignore_index=255
        )
        for weight, logits in zip((1, 0.4), maps, strict=False)
    )
    torch.testing.assert_close(output.loss, expected)
    output.loss.backward()
    assert all(parameter.grad is not None for parameter in wrapped.parameters())


def test_labels_have_the_wanted_size(model):
    wrapped = DDRNetForSemanticSegmentation.from_ddrnet(model)
    processor = DDRNetImageProcessor()
    batch = processor([picture(96, 160), picture(96, 160)], return_tensors="pt")
    with torch.no_grad():
        output = wrapped(**batch)
    sizes = [(96, 160), (50, 70)]
    found = processor.post_process_semantic_segmentation(output, sizes)
    assert [tuple(labels.shape) for labels in found] == sizes
    assert torch.equal(found[0], model.predict(batch["pixel_values"])[0])
    assert processor.post_process_semantic_segmentation(output)[0].shape == (12, 20)
    with pytest.raises(ValueError, match="2 sizes"):
        processor.post_process_semantic_segmentation(output, [(96, 160)])


def test_images_and_label_maps_are_prepared_together():
    images = [picture(64, 96), np.asarray(picture(80, 64))]
    labels = [Image.fromarray(np.arange(96, dtype=np.uint8)[None].repeat(64, 0)), np.eye(80, 64)]
    with pytest.raises(ValueError, match="cannot be stacked"):
        DDRNetImageProcessor()(images, labels, return_tensors="pt")
    apart = DDRNetImageProcessor()(images, labels)
    assert [tuple(image.shape) for image in apart["pixel_values"]] == [(3, 64, 96), (3, 80, 64)]
    processor = DDRNetImageProcessor(size={"height": 64, "width": 48})
    batch = processor(images, labels, return_tensors="pt")
    assert batch["pixel_values"].shape == (2, 3, 64, 48)
    assert batch["labels"].dtype == torch.int64
    assert batch["labels"][0, 0].tolist() == list(range(1, 96, 2))
    with pytest.raises(ValueError, match="class indices"):
        processor(images[0], [np.zeros((64, 96, 3))])
    with pytest.raises(ValueError, match="64 label maps for 1 images"):
        processor(images[0], np.zeros((64, 96, 3)))


def test_a_replaced_layer_and_a_frozen_norm_count_in_both(model):
    wrapped = DDRNetForSemanticSegmentation.from_ddrnet(model)
    twin = copy.deepcopy(wrapped)
    twin.head = torch.nn.Identity()
    assert isinstance(twin.network.head, torch.nn.Identity)
    assert not isinstance(wrapped.network.head, torch.nn.Identity)
    ddrnet.freeze_batch_norm(wrapped.network)
    wrapped.train()
    assert wrapped.training
    assert wrapped.network.training
    assert not wrapped.head.bn1.training
    assert wrapped.half().network.head.conv2.weight.dtype == torch.float16


def test_the_trainer_writes_a_folder_that_both_read(model, tmp_path):
    own = ddrnet.create_model(
        "ddrnet_23_nano.camvid", pretrained=True, class_names=["Road", "other"]
    )
    wrapped = DDRNetForSemanticSegmentation.from_ddrnet(own)
    processor = DDRNetImageProcessor()
    items = processor([picture(64, 64)] * 4, [np.eye(64, dtype=np.uint8)] * 4)
    rows = [dict(zip(items, values, strict=True)) for values in zip(*items.values(), strict=True)]
    arguments = transformers.TrainingArguments(
        tmp_path / "run",
        per_device_train_batch_size=2,
        max_steps=2,
        eval_strategy="steps",
        eval_steps=1,
        save_steps=1,
        load_best_model_at_end=True,
        report_to="none",
        use_cpu=True,
    )
    trainer = transformers.Trainer(
        wrapped, arguments, train_dataset=rows, eval_dataset=rows, processing_class=processor
    )
    trainer.train()
    trainer.save_model(tmp_path / "trained")
    again = ddrnet.create_model(f"local-dir:{tmp_path / 'trained'}", pretrained=True)
    assert [row.name for row in again.classes] == ["Road", "other"]
    for key, tensor in again.state_dict().items():
        assert torch.equal(tensor, trainer.model.state_dict()[key])
    assert not torch.equal(again.head.conv2.weight, own.head.conv2.weight)
    pipe = transformers.pipeline("image-segmentation", model=str(tmp_path / "trained"))
    assert {row["label"] for row in pipe(picture(64, 64))} <= {"Road", "other"}
