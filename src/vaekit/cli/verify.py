"""vaekit verify: is every file of a run folder what was written?"""

from pathlib import Path


def verify(run: Path) -> int:
    """Check every file of a run folder against the hash recorded when it was written.

    Parameters
    ----------
    run
        the run folder
    """
    import sys

    from vaekit.runs import check_run
    from vaekit.runs import verify as verify_files

    found = verify_files(check_run(run))
    for name, fault in found.items():
        print(f"  {name:<28}{'damaged' if fault else 'whole'}")
    faults = [fault for fault in found.values() if fault]
    if not faults:
        print(f"{run}: all {len(found)} files are what was written.")
        return 0
    print(f"vaekit: {faults[0]}", file=sys.stderr)
    if len(faults) > 1:
        print(f"{len(faults) - 1} more of its files are damaged: see above.", file=sys.stderr)
    print(f"`vaekit resume {run}` goes on from the last whole checkpoint, if there is one.", file=sys.stderr)
    return 2
