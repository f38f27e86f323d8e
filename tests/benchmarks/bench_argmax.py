"""Compare `upsample_argmax` with the plain argmax on trained logits of real streets.

    DDRNET_CAMVID=ROOT python tests/benchmarks/bench_argmax.py --threads 1

Logits come from `ddrnet_23_nano.camvid` at stride 8 for images of CamVid val and are enlarged 8
times. Reports the differing pixels, how far the two leading classes are apart there, and the median
times of one pass over all images.
"""

import argparse
import os

import torch
from harness import medians, print_conditions

import ddrnet
from ddrnet.upsampling import upsample, upsample_argmax


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print_conditions(ddrnet)
    maps = trained_logits(args.images)
    size = 8 * maps[0].shape[2], 8 * maps[0].shape[3]
    report_differences(maps, size)
    ways = {
        "plain": lambda: [upsample(logits, size).argmax(1) for logits in maps],
        "ours": lambda: [upsample_argmax(logits, size) for logits in maps],
    }
    times = medians(ways, args.repeats)
    per_image = {name: f"{1e3 * time / len(maps):.2f} ms" for name, time in times.items()}
    print(f"{per_image} per image, n = {args.repeats}: {times['plain'] / times['ours']:.2f} times")


def trained_logits(count):
    model = ddrnet.create_model("ddrnet_23_nano.camvid", True, upsample=False).eval()
    normalize = ddrnet.data.Normalize.from_model(model)
    dataset = ddrnet.data.CamVid(os.environ["DDRNET_CAMVID"], "val")
    with torch.no_grad():
        return [model(normalize(dataset[index][0][None])) for index in range(count)]


def report_differences(maps, size):
    pixels = different = 0
    largest_gap = 0.0
    for logits in maps:
        ours, plain = upsample_argmax(logits, size), upsample(logits, size).argmax(1)
        wrong = ours != plain
        pixels, different = pixels + wrong.numel(), different + int(wrong.sum())
        best = upsample(logits.double(), size).topk(2, dim=1).values
        gap = (best[:, 0] - best[:, 1])[wrong] / logits.abs().max()
        largest_gap = max([largest_gap, *gap.tolist()])
    share = different / pixels
    print(f"{different} of {pixels} pixels differ ({share:.1e}), gap at most {largest_gap:.1e}")


if __name__ == "__main__":
    main()
