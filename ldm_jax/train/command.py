"""Flags that set fields of a config, with one sentence for what is misspelt."""

import re
from collections.abc import Sequence

from absl import flags


def parse(arguments: Sequence[str]) -> None:
    """Parses the command line.

    Raises:
        ValueError: a flag or a field that there is not, or a value of another type.
        SystemExit: with 0, after --help.
    """
    try:
        rest = flags.FLAGS(arguments)
    except flags.Error as error:
        raise ValueError(str(error).splitlines()[0]) from None
    except (KeyError, AttributeError) as error:
        raise ValueError(_unknown_field(arguments, error)) from None
    except (ImportError, FileNotFoundError) as error:
        raise ValueError(f"the config cannot be read: {error}") from None
    if len(rest) > 1:
        raise ValueError(f"{rest[1]!r} is no flag; fields are set as --config.FIELD=VALUE")


def _unknown_field(arguments: Sequence[str], error: Exception) -> str:
    field = re.search(r"'?\"?([A-Za-z_0-9]+)\"?'? not found|\"'([A-Za-z_0-9]+)'", str(error))
    name = (field.group(1) or field.group(2)) if field else str(error)
    if name == "field":
        name = str(error)
    given = [x for x in arguments if re.search(rf"\.{re.escape(name)}(=|$)", x)]
    told = given[0].split("=")[0].lstrip("-") if given else name
    return f"the config has no field {told}; run.json of a run, or the config's file, shows what there is"
