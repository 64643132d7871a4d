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

    folders = [str(folder) for folder in known.folders()]
    places: dict[str, str | None] = {}
    for name in known.NAMES:
        place = known.find(name)
        places[name] = None if place is None else str(place)
    places["digits"] = "scikit-learn"
    if json:
        found = [
            {"name": name, "is": known.NAMES[name], "found": place, "download": name in known.MIRRORS}
            for name, place in places.items()
        ]
        print(json_module.dumps({"looked_in": folders, "datasets": found}))
        return
    for name, found_at in places.items():
        if found_at:
            where = f"found: {found_at}"
        elif name in known.MIRRORS:
            where = "not found; downloaded when first used"
        else:
            where = "not found"
        print(f"{name:<14} {known.NAMES[name]}\n{'':<14} {where}")
    print(f"Looked in {', '.join(folders)}. Set VAEKIT_DATA to look elsewhere.")
