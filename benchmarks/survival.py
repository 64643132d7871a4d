"""Killed and resumed, and with one bit flipped: vaekit beside PyTorch Lightning and pythae, each used as it documents.

    pip install lightning pythae==0.1.2        in an environment that has vaekit
    python benchmarks/survival.py [vaekit] [lightning] [pythae] [--kills 10] [--flips 200]
    python benchmarks/survival.py --saving 120        what checkpoints cost: so many seconds of a training, and no peers

Digits, 4 latents, batches of 64, Adam, one machine; the networks are not the same: 64-32-4 in vaekit and Lightning,
pythae's own default. Each kill is a training of
its own: kill −9 at a random instant after its first checkpoint, one resume, and a comparison of the final weights (and
Adam's state, where it is kept) with those of a training that nobody disturbed. Each flip is one random bit of the
finished run's files, which are then loaded: refused, silently other weights, or no difference to them.
"""

import argparse
import hashlib
import itertools
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EPOCHS = 60


def digits():
    """(1437, 64) grey values from 0 to 1"""
    import torch
    from sklearn.datasets import load_digits

    return torch.from_numpy(load_digits().data[:1437]).float() / 16


def digest(tensors: dict) -> str:
    sha = hashlib.sha256()
    for name in sorted(tensors):
        sha.update(name.encode() + tensors[name].detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


class Vaekit:
    """`vaekit fit`, `vaekit resume`."""

    newest = "checkpoint-*.safetensors"

    @staticmethod
    def train(folder: Path) -> None:
        from vaekit.cli import main, train
        from vaekit.runs import fit_and_save

        sys.modules[fit_and_save.__module__].SAVE_SECONDS = 0.1
        train.write_all = lambda *arguments: []
        options = ["--hidden", "32", "--latent-dim", "4", "--batch-size", "64", "--epochs", str(EPOCHS),
                   "--patience", "0", "--binarize", "dynamic"]  # fmt: skip
        resumed = any(folder.glob("checkpoint-*.safetensors"))
        main(["resume", str(folder)] if resumed else ["fit", "digits", "--out", str(folder), *options])

    @staticmethod
    def weights(folder: Path) -> dict:
        import torch

        from vaekit.runs import Run

        return Run.reopen(folder).state(torch.device("cpu")).tensors()


def lightning_model():
    import lightning
    import torch
    from torch import nn

    class VAE(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(64, 32), nn.SiLU(), nn.Linear(32, 8))
            self.decoder = nn.Sequential(nn.Linear(4, 32), nn.SiLU(), nn.Linear(32, 64))

        def training_step(self, batch, index):
            x = torch.bernoulli(batch[0])
            mean, log_variance = self.encoder(x).chunk(2, 1)
            z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            likelihood = nn.functional.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").sum(1)
            rate = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
            return (likelihood + rate).mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 5e-3)

    return VAE()


class Lightning:
    """Trainer.fit(…, ckpt_path="last") with ModelCheckpoint(save_last=True), seed_everything and deterministic=True."""

    newest = "last.ckpt"

    @staticmethod
    def train(folder: Path) -> None:
        import lightning
        import torch
        from lightning.pytorch.callbacks import ModelCheckpoint
        from torch.utils.data import DataLoader, TensorDataset

        lightning.seed_everything(0, workers=True)
        keep = ModelCheckpoint(folder, every_n_train_steps=20, save_last=True, save_top_k=1)
        trainer = lightning.Trainer(
            max_epochs=EPOCHS, accelerator="cpu", deterministic=True, callbacks=[keep], logger=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        rows = DataLoader(TensorDataset(digits()), 64, shuffle=True, drop_last=True)
        model = lightning_model()
        trainer.fit(model, rows, ckpt_path="last")
        trainer.save_checkpoint(folder / "last.ckpt")
        torch.save({}, folder / "done")

    @staticmethod
    def weights(folder: Path) -> dict:
        import torch

        weights = type(lightning_model()).load_from_checkpoint(folder / "last.ckpt").state_dict()
        adam = torch.load(folder / "last.ckpt", weights_only=True)["optimizer_states"][0]["state"]
        return weights | {f"{i}/{name}": tensor for i, s in adam.items() for name, tensor in s.items()}


class Pythae:
    """BaseTrainer with steps_saving=1, and load_from_folder. Its trainer cannot take a checkpoint up, so what is done
    is what a user can do: the weights of the last checkpoint, and as many epochs as are left."""

    newest = "*/checkpoint_epoch_*/optimizer.pt"

    @staticmethod
    def train(folder: Path) -> None:
        import torch
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE, VAEConfig
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

        x = digits()
        found = sorted(folder.glob("*/checkpoint_epoch_*"), key=lambda path: int(path.name.split("_")[-1]))
        done = int(found[-1].name.split("_")[-1]) if found else 0
        config = BaseTrainerConfig(
            output_dir=str(folder), num_epochs=EPOCHS - done, learning_rate=5e-3, per_device_train_batch_size=64,
            per_device_eval_batch_size=64, steps_saving=1, seed=0, no_cuda=True,
        )  # fmt: skip
        new = VAE(VAEConfig(input_dim=(64,), latent_dim=4, reconstruction_loss="bce"))
        model = VAE.load_from_folder(str(found[-1])) if found else new
        BaseTrainer(model, BaseDataset(x, torch.ones(len(x))), training_config=config).train()
        last = max(folder.glob("*/final_model"), key=lambda path: path.stat().st_mtime)
        shutil.copytree(last, folder / "final")

    @staticmethod
    def weights(folder: Path) -> dict:
        from pythae.models import AutoModel

        return AutoModel.load_from_folder(str(folder / "final")).state_dict()


CONTENDERS = {"vaekit": Vaekit, "lightning": Lightning, "pythae": Pythae}


def start(name: str, folder: Path) -> subprocess.Popen:
    command = [sys.executable, __file__, "--train", name, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> bool:
    """Whether it ended well; what it said, if it did not."""
    _, err = process.communicate()
    if process.returncode:
        print(err[-600:], file=sys.stderr)
    return process.returncode == 0


def kills(name: str, home: Path, count: int) -> tuple[int, int, int]:
    """(identical, other, not resumed) of so many killed trainings."""
    contender, chance, seen = CONTENDERS[name], random.Random(0), [0, 0, 0]
    assert finish(start(name, home / "whole")), f"{name} cannot be run here"
    whole = digest(contender.weights(home / "whole"))
    for i in itertools.count():
        if sum(seen) == count:
            break
        folder = home / f"killed{i}"
        process = start(name, folder)
        while process.poll() is None and not list(folder.glob(contender.newest)):
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode != -signal.SIGKILL:
            continue  # it was done before
        if not finish(start(name, folder)):
            seen[2] += 1
        else:
            seen[digest(contender.weights(folder)) != whole] += 1
    return tuple(seen)


def flips(name: str, folder: Path, count: int) -> tuple[int, int, int]:
    """(refused, silently other weights, the same weights) of so many flipped bits."""
    contender, chance, seen = CONTENDERS[name], random.Random(1), [0, 0, 0]
    whole = digest(contender.weights(folder))
    used = {"vaekit": "checkpoint*", "lightning": "last.ckpt", "pythae": "final/*"}[name]
    files = [path for path in folder.glob(used) if path.is_file() and path.stat().st_size]
    if name == "vaekit":  # the newest checkpoint, which is what is opened
        files = [max(files, key=lambda path: int(path.name.split("-")[1]))]
    for _ in range(count):
        (path,) = chance.choices(files, [file.stat().st_size for file in files])
        content, place = path.read_bytes(), chance.randrange(path.stat().st_size)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :])
        try:
            found = digest(contender.weights(folder))
            seen[1 if found != whole else 2] += 1
        except Exception:
            seen[0] += 1
        path.write_bytes(content)
    return tuple(seen)


def saving(seconds: float) -> None:
    """The part of the time that goes into checkpoints, of a training of 60,000 rows through 784-400-20 and back."""
    import numpy as np

    from vaekit import runs
    from vaekit.data import Source
    from vaekit.settings import Settings, prepare

    x = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28)).astype(np.uint8)
    settings = Settings().changed(
        hidden=(400,), latent_dim=20, network="mlp", batch_size=128, epochs=10_000, binarize="dynamic", compile="off"
    )
    with tempfile.TemporaryDirectory() as home:
        prepared = prepare(settings, Source(x, name="random"))
        run = runs.Run.create(Path(home) / "run", prepared.settings, prepared.schema, {"train": 60_000})
        save, spent = run.save, []

        def timed(state) -> None:
            began = time.perf_counter()
            save(state)
            spent.append(time.perf_counter() - began)

        run.save = timed
        began = time.perf_counter()
        for _ in runs.fit_and_save(run, prepared, lambda: time.perf_counter() - began > seconds):
            pass
        size = max(path.stat().st_size for path in run.folder.glob("*.safetensors"))
    whole, last = time.perf_counter() - began, spent.pop()
    print(
        f"{len(spent)} saves of {size / 2**20:.1f} MiB in {whole:.0f} s, {1e3 * sum(spent) / len(spent):.0f} ms each: "
        f"{sum(spent) / whole:.2%} of the time; one more at the end took {1e3 * last:.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(CONTENDERS))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--saving", type=float)
    parser.add_argument("--train", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.train:
        import torch

        torch.set_num_threads(1)
        CONTENDERS[given.train[0]].train(Path(given.train[1]))
        return
    if given.saving:
        saving(given.saving)
        return
    for name in given.names:
        with tempfile.TemporaryDirectory() as home:
            same, other, lost = kills(name, Path(home), given.kills)
            print(f"{name}: {given.kills} kills: {same} bit-identical, {other} other weights, {lost} not resumed")
            refused, silent, harmless = flips(name, Path(home) / "whole", given.flips)
            print(f"{name}: {given.flips} flips: {refused} refused, {silent} silently other, {harmless} the same")


if __name__ == "__main__":
    main()
