"""Train a VAE on scikit-learn's handwritten digits and show what it does: what `make demo` runs."""

import sys

from vaekit.cli import main

RUN, PLANE = "runs/demo", "runs/demo-plane"


def command(*arguments: str) -> None:
    """One command line, as a person would type it."""
    print(f"\n$ vaekit {' '.join(arguments)}")
    try:
        main(list(arguments))
    except SystemExit as end:
        if end.code:
            sys.exit(end.code)


command("fit", "digits", "--out", RUN, "--overwrite")
command("evaluate", RUN)
command("fit", "digits", "--latent-dim", "2", "--out", PLANE, "--overwrite")
print(
    f"""
Look at:
  {RUN}/pictures/samples.png           digits that nobody wrote: x̂ of z ~ p(z)
  {RUN}/pictures/reconstructions.png   test digits, each followed by its reconstruction
  {RUN}/pictures/training.png          training and validation bound
  {PLANE}/pictures/manifold.png     the plane of a model with two latents, decoded"""
)
