"""vaekit: variational autoencoders whose numbers can be trusted.

    from vaekit import VAE
    vae = VAE(latent_dim=16).fit(X)

Names are loaded when first used: importing vaekit itself costs nothing and changes nothing.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "VAE": "vaekit.estimators", "load": "vaekit.estimators", "VaekitError": "vaekit.errors",
    **{room: f"vaekit.{room}" for room in (
        "core", "data", "distributions", "evaluation", "inference", "maths", "models", "nets", "noise", "objectives",
        "parts", "runs", "settings", "training",
    )},
}  # fmt: skip

__all__ = [
    "VAE", "VaekitError", "__version__", "evaluation", "inference", "load", "models", "nets", "objectives", "parts",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'vaekit' has no attribute '{name}'")
    home = importlib.import_module(_HOMES[name])
    if home.__name__ == f"vaekit.{name}":
        return home
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
