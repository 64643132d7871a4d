"""Models: how parts are joined into p(x, z) and q(z|x)."""

from vaekit.models.vae import VAE

__all__ = ["VAE"]
