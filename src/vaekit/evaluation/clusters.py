"""The components of a mixture prior as clusters of rows: how many there are, and whether they are the classes known."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from vaekit.core import LatentModel
from vaekit.data import Dataset
from vaekit.data.fields import Column
from vaekit.inference import clusters


@dataclass(frozen=True)
class Clusters:
    """Rows by the component that each is most probably of."""

    components: int
    """C, of the prior"""
    used: int
    """those that some row is most probably of"""
    certainty: float
    """the mean over rows of max_c r_c(x), the probability of that component"""
    nmi: float | None
    """normalised mutual information with the labels, 0 to 1; None without labels"""
    ari: float | None
    """Rand index with the labels, adjusted for chance: 0 of independent ones, 1 of the same; None without labels"""

    def to_dict(self) -> dict[str, Any]:
        """All of it ready for JSON."""
        return asdict(self)


def cluster_use(model: LatentModel, rows: Dataset, seed: int, labels: Column | None = None) -> Clusters:
    """The clusters of rows by the model's prior (`inference.clusters`), beside what is known of them.

    labels    (n,) the class of each row

    Raises UnknownError where the prior is no mixture.
    """
    each = clusters(model, rows, seed)
    largest, which = each.max(1)
    nmi = ari = None
    if labels is not None:
        from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

        _, known = np.unique(np.asarray(labels).astype(str), return_inverse=True)
        found = which.cpu().numpy()
        nmi = float(normalized_mutual_info_score(known, found))
        ari = float(adjusted_rand_score(known, found))
    return Clusters(each.shape[1], len(torch.unique(which)), largest.mean().item(), nmi, ari)
