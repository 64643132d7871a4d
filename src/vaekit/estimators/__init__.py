"""Estimators in scikit-learn's manner."""

from vaekit.estimators.vae import VAE, load

__all__ = ["VAE", "load"]
