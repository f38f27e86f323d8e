"""Fuzz one target with atheris: python tests/fuzz/harness.py TARGET [CORPUS] [-max_total_time=60]

libFuzzer's own options may follow; a crash, an exception or 5 seconds of silence end the run with
an error, and the input stays in a file.
"""

import sys
from pathlib import Path

import atheris
import torch  # before the instrumentation, which would slow it down

sys.path.insert(0, str(Path(__file__).parent))

with atheris.instrument_imports(
    include=["ddrnet", "PIL", "pickletools", "zipfile", "json", "html", "_markupbase"]
):
    from targets import TARGETS, seeds

LIMITS = ("-timeout=5", "-rss_limit_mb=3000", "-max_len=65536")


def main():
    name, *options = sys.argv[1:]
    torch.set_num_threads(1)
    corpus = Path(
        options.pop(0) if options and not options[0].startswith("-") else f"corpus-{name}"
    )
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *LIMITS, *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
