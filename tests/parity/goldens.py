"""python -m tests.parity.goldens [NAME ...]: rewrites tests/golden from the peers' own code."""

import importlib
import pathlib
import sys


def main() -> None:
    here = pathlib.Path(__file__).parent
    names = sys.argv[1:] or sorted(
        path.stem[len("goldens_") :] for path in here.glob("goldens_*.py")
    )
    for name in names:
        print(name, flush=True)
        importlib.import_module(f"tests.parity.goldens_{name}").write()


if __name__ == "__main__":
    main()
