"""Any text as HTML that shows it."""

import html
import re

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # what HTML may not hold


def text(value: str) -> str:
    """`value` for HTML, also within quotes; characters that HTML may not hold become U+FFFD."""
    return html.escape(_CONTROLS.sub("\ufffd", value), quote=True)
