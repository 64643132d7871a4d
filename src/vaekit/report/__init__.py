"""Pictures and pages from a run."""

from vaekit.report.pictures import (
    grid,
    latent_plane,
    manifold,
    shown_as,
    training_curve,
    with_reconstructions,
    write_all,
)

__all__ = ["grid", "latent_plane", "manifold", "shown_as", "training_curve", "with_reconstructions", "write_all"]
