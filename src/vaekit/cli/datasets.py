"""vaekit datasets: what can be fitted by name."""

import json as json_module
from typing import Annotated

from cyclopts import Parameter


def datasets(*, json: Annotated[bool, Parameter(negative=())] = False) -> None:
    """List the data sets known by name, and where each was found.

    Parameters
    ----------
    json
        the list as JSON: of each its name, what it is, where it was found, and whether it is downloaded when first used
    """
    from vaekit.data import datasets as known

    places = {name: "scikit-learn" if name == "digits" else known.find(name) for name in known.NAMES}
    if json:
        found = [
            {"name": name, "is": known.NAMES[name], "found": place and str(place), "download": name in known.MIRRORS}
            for name, place in places.items()
        ]
        print(json_module.dumps({"looked_in": [str(folder) for folder in known.folders()], "datasets": found}))
        return
    for name, place in places.items():
        absent = "not found; downloaded when first used" if name in known.MIRRORS else "not found"
        print(f"{name:<14} {known.NAMES[name]}\n{'':<14} {f'found: {place}' if place else absent}")
    print(f"Looked in {', '.join(map(str, known.folders()))}. Set VAEKIT_DATA to look elsewhere.")
