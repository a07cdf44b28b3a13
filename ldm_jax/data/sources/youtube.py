"""The names that people give to the sound of a stretch of a YouTube video."""


def stems(video: str, start: float | None = None, end: float | None = None) -> tuple[str, ...]:
    """File names without suffix under which a stretch may lie, the likeliest first.

    Downloaders write the identity alone, or with times in whole seconds, three decimals or milliseconds behind
    it; some write "Y" before it, since a name that begins with "-" looks like an option.
    """
    bare = [video]
    if start is not None:
        whole, milli = int(start), round(start * 1000)
        bare += [
            f"{video}_{whole}",
            f"{video}_{whole:06d}",
            f"{video}_{milli}",
            f"{video}_{start:.3f}",
        ]
        if end is not None:
            bare += [
                f"{video}_{whole}_{int(end)}",
                f"{video}_{milli}_{round(end * 1000)}",
                f"{video}_{start:.3f}_{end:.3f}",
                f"[{video}]-[{whole}-{int(end)}]",
            ]
    return tuple(name for stem in bare for name in (stem, f"Y{stem}"))
