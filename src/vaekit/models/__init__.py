"""Models: how parts are joined into p(x, z) and q(z|x), and several models into one."""

from vaekit.models.ensemble import Ensemble
from vaekit.models.vae import VAE

__all__ = ["VAE", "Ensemble"]
