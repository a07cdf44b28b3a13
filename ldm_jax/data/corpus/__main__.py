"""python -m ldm_jax.data.corpus --out DIR: a free corpus of sound, music and speech with text, from Debian packages.

Needs Debian or Ubuntu with its package lists (`apt-get update`), but no root. All packages together are 2.8 GB to
download (4 GB on the disk while it works) and give 6,086 rows, 7.4 hours, in 117 MB of Opus. An interrupted run is
finished by the same command. Debian 12 gives the reference corpus; another release has other versions of some packages.
"""

import argparse
import pathlib
import sys
from collections import Counter

import jax

from ldm_jax.data.corpus.building import build, versions
from ldm_jax.data.corpus.manifest import Row, read_lines
from ldm_jax.data.corpus.packages import PACKAGES, Package
from ldm_jax.data.corpus.reference import compare, reference


def main(arguments: list[str] | None = None) -> int:
    """0 when all is built, or equal to the reference; 1 where something is missing or other; 2 for a wrong call."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        packages = _chosen(options.packages)
        if options.list:
            print(listing(packages))
            return 0
        if options.out is None:
            parser.error("--out DIR is needed: the folder to build the corpus in")
        if options.check:
            return check(read_lines(options.out / "manifest.jsonl"), packages)
        keep = options.out / ".debs" if options.keep else None
        failures = build(packages, options.out, debs=options.debs or keep, workers=options.workers)
    except (ValueError, OSError) as error:
        print(f"ldm_jax.data.corpus: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(summary(options.out))
    for name, version in versions(options.out).items():
        if version != reference()[name].version:
            print(
                f"{name}: version {version}, not {reference()[name].version} as in Debian 12; rows may differ"
            )
    for name, reason in failures.items():
        print(f"not built: {name}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ldm_jax.data.corpus", description=__doc__)
    add = parser.add_argument
    add("--out", type=pathlib.Path, metavar="DIR", help="the corpus's folder")
    add("--packages", metavar="A,B", help="only these; rows of others in DIR stay (default: all)")
    add("--list", action="store_true", help="show the packages with size and licence, and stop")
    add("--check", action="store_true", help="compare the rows in DIR with the reference corpus's")
    add(
        "--debs",
        type=pathlib.Path,
        metavar="DIR2",
        help="take packages from DIR2; downloads stay there",
    )
    add("--keep", action="store_true", help="keep downloads (in DIR/.debs)")
    add("--workers", type=int, metavar="N", help="files converted at once (default: processors)")
    return parser


def _chosen(names: str | None) -> list[Package]:
    known = {package.name: package for package in PACKAGES}
    if names is None:
        return list(PACKAGES)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(
            f"unknown package {', '.join(unknown)}; the corpus is made of {', '.join(known)}"
        )
    return [package for package in PACKAGES if package.name in wanted]


def listing(packages: list[Package]) -> str:
    """A table of packages."""
    lines = [f"{'package':30} {'download':>10} {'rows':>6}  licence"]
    for package in packages:
        rows = reference()[package.name].digests.total()
        lines.append(f"{package.name:30} {package.megabytes:>7.1f} MB {rows:>6}  {package.licence}")
    total = sum(package.megabytes for package in packages)
    return "\n".join([*lines, f"{'':30} {total:>7.1f} MB"])


def summary(out: pathlib.Path) -> str:
    """What the corpus in `out` holds."""
    rows, left_out = read_lines(out / "manifest.jsonl"), read_lines(out / "left_out.jsonl")
    lines = [f"{'':8} {'rows':>6} {'hours':>6} {'train':>6} {'valid':>6} {'test':>6}"]
    for kind in ("sound", "music", "speech"):
        chosen = [row for row in rows if row["kind"] == kind]
        splits = Counter(row["split"] for row in chosen)
        hours = sum(row["duration"] for row in chosen) / 3600
        lines.append(
            f"{kind:8} {len(chosen):>6} {hours:>6.2f} "
            + " ".join(f"{splits[name]:>6}" for name in ("train", "valid", "test"))
        )
    size = sum((out / path).stat().st_size for path in {row["path"] for row in rows})
    lines.append(f"{len(rows)} rows, {size / 1e6:.1f} MB of audio: {out / 'manifest.jsonl'}")
    lines.append(f"{len(left_out)} files left out, with the reason: {out / 'left_out.jsonl'}")
    lines.append(f"owners and licences: {out / 'ATTRIBUTION.md'}")
    return "\n".join(lines)


def check(rows: list[Row], packages: list[Package]) -> int:
    """Prints how the rows differ from the reference's; 0 where they do not."""
    differences = compare(rows, reference())
    chosen = {package.name: differences[package.name] for package in packages}
    for name, difference in chosen.items():
        text = f"{difference.equal:>6} equal"
        if difference.other:
            text += f", {len(difference.other)} that the reference does not have"
        if difference.missing:
            text += f", {difference.missing} of the reference missing"
        print(f"{name:30} {text}")
        for row in difference.other:
            print(f"    {row['path']} at {row['start']} s: {row['caption']}")
    equal = sum(difference.equal for difference in chosen.values())
    wanted = equal + sum(difference.missing for difference in chosen.values())
    print(f"{equal} of the reference's {wanted} rows are here, equal in every field")
    return int(any(difference.other or difference.missing for difference in chosen.values()))


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")  # an accelerator may be somebody else's
    sys.exit(main())
