"""vaekit verify: whether every file of a run folder is what was written."""

import json as json_module
import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def verify(run: Path, *, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Check every file of a run folder against the hash recorded when it was written.

    Parameters
    ----------
    run
        the run folder
    json
        one JSON object: whether the run is whole, and of each file what is wrong with it, or nothing

    """
    import sys

    from vaekit.runs import check_run
    from vaekit.runs import verify as verify_files

    found = verify_files(check_run(run))
    faults = [fault for fault in found.values() if fault]
    if json:
        print(json_module.dumps({"run": str(run), "whole": not faults, "files": found}))
        return 2 if faults else 0
    for name, fault in found.items():
        state = "damaged" if fault else "whole"
        print(f"  {_shortened(name):<36}{state}")
    if not faults:
        print(f"{run}: all {len(found):,} files are what was written.")
        return 0
    print(f"vaekit: {faults[0]}", file=sys.stderr)
    if len(faults) > 1:
        print(f"{len(faults) - 1} more of its files are damaged: see above.", file=sys.stderr)
    print(f"`vaekit resume {run}` goes on from the last whole checkpoint, if there is one.", file=sys.stderr)
    return 2


def _shortened(name: str) -> str:
    """A checkpoint's name with the first digits of its SHA-256."""
    return re.sub(r"(?<=-)([0-9a-f]{8})[0-9a-f]{56}(?=\.)", r"\1…", name)
