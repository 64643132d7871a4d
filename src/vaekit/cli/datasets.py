"""vaekit datasets: what can be fitted by name."""


def datasets() -> None:
    """List the data sets known by name, and where each was found."""
    from vaekit.data import datasets as known

    for name, description in known.NAMES.items():
        place = "scikit-learn" if name == "digits" else known.find(name)
        absent = "not found; downloaded when first used" if name in known.MIRRORS else "not found"
        print(f"{name:<14} {description}\n{'':<14} {'found: ' + str(place) if place else absent}")
    print(f"Looked in {', '.join(map(str, known.folders()))}. Set VAEKIT_DATA to look elsewhere.")
