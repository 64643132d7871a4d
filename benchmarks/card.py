"""What an accelerator takes: its memory against the batch, and the seconds of log p(x), into docs/performance.md.

`memory`: the most allocated in replayed steps of 784-400-20 and of conv-28 (32 and 64 channels), float32, 20,000 rows
resident. `scoring`: importance-weighted log p(x) of all 10,000 MNIST test rows with K = 5,000 draws a row,
784-200-200-50, float32.

    python benchmarks/card.py [memory] [scoring]
"""

import argparse
import time
from pathlib import Path

import contenders
import torch
from contenders import Work
from results import DOCS, machine, write

from vaekit import evaluation
from vaekit.data import Dataset, Source, load
from vaekit.settings import Settings, prepare

PAGE = DOCS / "performance.md"
MEMORY, SCORING = "| command | network, batch |", "| command | rows, draws |"
NETWORKS = {"mlp": ((784,), (400,), 20, False), "conv-28": ((28, 28), (32, 64), 16, True)}


def memory(command: str) -> None:
    contenders.DEVICE = torch.device("cuda")
    for name, (shape, hidden, latents, convolutional) in NETWORKS.items():
        for batch in (128, 512, 2048, 8192):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            work = Work(shape, hidden, latents, batch, convolutional=convolutional)
            steps, _ = contenders.ours("float32", "on")(work, work.data())
            steps(20)
            peak = torch.cuda.max_memory_allocated() / 2**20
            del steps
            write(MEMORY, f"| {command} | {name}, {batch:,} | {peak:,.0f} | {machine()} |", key=2, page=PAGE)


def scoring(command: str) -> None:
    x = load("mnist").x
    settings = Settings().changed(
        binarize="dynamic", hidden=(200, 200), latent_dim=50, activation="tanh", network="mlp", device="cuda"
    )
    prepared = prepare(settings, Source(x))
    model, rows, method = prepared.state.trained(), 10_000, evaluation.ImportanceSampling(5000)
    evaluation.log_likelihood(model, Dataset(x[:200], prepared.schema, seed=0, device="cuda"), method)
    some = Dataset(x[-rows:], prepared.schema, seed=0, device="cuda")
    began = time.perf_counter()
    evaluation.log_likelihood(model, some, method)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    write(SCORING, f"| {command} | {rows:,}, 5,000 | {seconds:.1f} | {machine()} |", key=2, page=PAGE)


WORK = {"memory": memory, "scoring": scoring}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", nargs="*")
    for name in parser.parse_args().work or WORK:
        WORK[name](f"`benchmarks/{Path(__file__).name} {name}`")


if __name__ == "__main__":
    main()
