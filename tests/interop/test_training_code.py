"""The network in training code of any kind: parts frozen, other channels, several processes."""

import copy
import io
import pickle

import children
import pytest
import torch
from process_group import run_in_group
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import ddrnet
from ddrnet.network import DDRNet
from ddrnet.variants import DDRNetConfig

TINY = DDRNetConfig(4, (1, 1), ((16, 1), (32, 1)), dappm_width=8, head_width=4)


def tiny(**options):
    torch.manual_seed(0)
    return DDRNet(TINY, **options)


def batch(channels=3, classes=2, size=(64, 96)):
    """Random images, and labels that follow from their first channel."""
    images = torch.randn(4, channels, *size)
    labels = (F.avg_pool2d(images[:, :1], 9, 1, 4)[:, 0] > 0).long() * (classes - 1)
    return images, labels


def train(model, images, labels, criterion, *, steps=20, lr=0.01):
    """Return the losses of some steps of a plain loop."""
    optimizer = torch.optim.AdamW(model.parameter_groups(lr))
    losses = []
    for _ in range(steps):
        loss = criterion(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("channels", [1, 4, 6])
def test_other_channels_start_from_rgb_weights_and_train(channels):
    model = ddrnet.create_model(
        "ddrnet_23_nano.camvid", True, in_chans=channels, class_names=["background", "Car"]
    )
    assert len(ddrnet.data.Normalize.from_model(model).mean) == channels
    losses = train(model, *batch(channels), ddrnet.losses.CrossEntropyLoss(), steps=6)
    assert losses[-1] < losses[0]


def test_two_classes_as_two_logits_or_one():
    images, labels = batch()
    two, one = tiny(num_classes=2), tiny(num_classes=1)
    losses = train(two, images, labels, ddrnet.losses.CrossEntropyLoss())
    assert losses[-1] < 0.8 * losses[0]
    as_mask = labels[:, None].float()
    losses = train(one, images, as_mask, F.binary_cross_entropy_with_logits)
    assert losses[-1] < 0.8 * losses[0]
    with torch.no_grad():
        assert one.eval()(images).sigmoid().shape == as_mask.shape


def test_a_frozen_part_keeps_parameters_and_statistics():
    model = tiny(num_classes=2)
    for part in (model.stem, model.trunk):
        part.requires_grad_(False)
    ddrnet.freeze_batch_norm(model)
    before = copy.deepcopy(model.state_dict())
    model.train()
    train(model, *batch(), ddrnet.losses.CrossEntropyLoss(), steps=2)
    same = {key for key, value in model.state_dict().items() if torch.equal(value, before[key])}
    assert {key for key in before if key.startswith(("stem.", "trunk."))} <= same
    assert {key for key in before if "running" in key or "num_batches" in key} <= same
    assert "head.conv2.weight" not in same


def test_each_part_has_its_learning_rate():
    model = tiny(aux_head=True)
    optimizer = torch.optim.AdamW(model.parameter_groups(0.01, head_factor=10))
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"backbone": 0.01, "heads": pytest.approx(0.1)}


@pytest.mark.slow
@pytest.mark.parametrize("aux_head", [False, True])
def test_two_processes_train_the_same_weights_and_use_every_parameter(tmp_path, aux_head):
    code = f"""
        import hashlib
        from torch.nn.parallel import DistributedDataParallel
        from ddrnet import losses
        from ddrnet.network import DDRNet
        from ddrnet.variants import DDRNetConfig
        torch.manual_seed(rank)
        config = DDRNetConfig(4, (1, 1), ((16, 1), (32, 1)), dappm_width=8, head_width=4)
        network = DDRNet(config, 2, aux_head={aux_head})
        model = DistributedDataParallel(network, find_unused_parameters=False)
        start = network.head.conv2.weight.clone()
        criterion = losses.AuxiliaryLoss(losses.OhemCrossEntropyLoss(min_kept=100))
        criterion = criterion if {aux_head} else losses.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        for _ in range(3):
            loss = criterion(model(torch.randn(2, 3, 64, 64)), torch.randint(2, (2, 64, 64)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert not torch.equal(network.head.conv2.weight, start)
        digest = hashlib.sha256()
        for parameter in network.parameters():
            digest.update(parameter.detach().numpy().tobytes())
        print(rank, digest.hexdigest())
    """
    first, second = (output.split() for output in run_in_group(code, tmp_path))
    assert (first[0], second[0]) == ("0", "1")
    assert first[1] == second[1]


def saved_whole(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), saved_whole],
    ids=["deepcopy", "pickle", "torch.save"],
)
@pytest.mark.parametrize("aux_head", [False, True])
def test_copies_keep_weights_description_and_modes(copied, aux_head):
    model = ddrnet.create_model("ddrnet_23_nano.camvid", True, aux_head=aux_head).eval()
    ddrnet.freeze_batch_norm(model)
    again = copied(model)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(again.predict(images), model.predict(images))
    assert (again.config, again.classes, again.preprocessing, again.pretrained) == (
        *(model.config, model.classes, model.preprocessing, model.pretrained),
    )
    assert not again.training
    assert not any(m.training for m in again.train().modules() if isinstance(m, nn.BatchNorm2d))


def in_child(function, *arguments):
    process = torch.multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == 0


@pytest.mark.slow
def test_spawned_processes_share_a_model():
    model = tiny().eval().share_memory()
    assert all(parameter.is_shared() for parameter in model.parameters())
    images = torch.randn(1, 3, 64, 64)
    results = torch.multiprocessing.get_context("spawn").SimpleQueue()
    expected = model.predict(images)
    in_child(children.predict, model, images, results)
    assert results.get() == expected.tolist()
    in_child(children.change, model)
    assert torch.equal(model.head.conv2.bias, torch.full((19,), 7.0))


@pytest.mark.slow
def test_spawned_workers_load_the_same_samples():
    transform = ddrnet.data.train_transform(64)
    streets = ddrnet.data.SyntheticStreets(4, size=(64, 128), transforms=transform)
    spawned = DataLoader(streets, 2, num_workers=2, multiprocessing_context="spawn")
    for got, expected in zip(spawned, DataLoader(streets, 2), strict=True):
        assert all(map(torch.equal, got, expected))
