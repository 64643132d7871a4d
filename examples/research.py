"""A model of one's own: where a researcher starts.

Five parts make a model, an objective makes the loss, `training.fit` is a generator that you drive.
"""

import torch
from torch import nn

from vaekit import evaluation, models, objectives, parts, training
from vaekit.data import Dataset, describe, load


class Decoder(nn.Module):
    """Any nn.Module from (rows, D) to what the likelihood needs: here two transposed convolutions to 8×8 logits."""

    def __init__(self, latent_dim: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, 32 * 2 * 2), nn.Unflatten(1, (32, 2, 2)), nn.SiLU(),
            nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1),
        )  # fmt: skip

    def forward(self, z):
        return self.layers(z)


def main(steps: int = 2000) -> float:
    """Train on binarised digits; returns log p(x) of the test rows in nats."""
    source = load("digits")
    split = source.split(seed=0, validation=0.1, test=0.1)
    schema = describe(source.x, train=split["train"]).as_binary("dynamic")
    rows = {part: Dataset(source.x[index], schema, seed=0) for part, index in split.items()}

    torch.manual_seed(0)
    posterior = parts.posteriors.FullCovariance(latent_dim=6)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, posterior.features))
    likelihood = parts.likelihoods.Bernoulli(schema.shape)
    model = models.VAE(encoder, posterior, parts.priors.StandardNormal(6), Decoder(6), likelihood)

    state = training.State(model, objectives.ELBO(samples=2), training.Recipe(steps=steps, batch_size=128))
    for record in training.fit(state, rows["train"], rows["validation"]):
        if record.metrics:
            print("step {step}: ELBO {elbo:.2f}, validation {validation_elbo:.2f}".format(**record.metrics))

    method = evaluation.ImportanceSampling(samples=500)
    result = evaluation.evaluate(state.trained(), rows["test"], method, train=rows["train"])
    log_p = result.log_likelihood
    print(f"test: ELBO {result.elbo:.2f}, log p(x) {log_p.mean:.2f} ± {log_p.spread:.2f} nats over rows")
    for baseline in result.baselines:
        print(f"  {baseline.name}: {baseline.nats:.2f} nats")
    return log_p.mean


if __name__ == "__main__":
    main()
