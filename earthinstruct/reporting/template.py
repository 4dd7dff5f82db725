"""Fill the templates of pages: every value is escaped, and only our own script may run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from earthinstruct.errors import EarthInstructError
from earthinstruct.metrics import PERCENT, WHOLE_OBJECTS
from earthinstruct.reporting.drawing import sparkline
from earthinstruct.texts import plural

# characters that could end the script element, or start a comment in it
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def filled(name: str, scripts: Sequence[str], **values: Any) -> str:
    """Fill a template with values; `scripts` are our files with the page's script."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise EarthInstructError("a report needs Jinja2: pip install 'earthinstruct[report]'") from error
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = "\n".join((folder / file).read_text(encoding="utf-8") for file in scripts)
    environment.filters["percent"] = PERCENT.text
    environment.filters["seconds"] = seconds_text
    environment.globals.update(
        plural=plural,
        PERCENT=PERCENT,
        OBJECTS=WHOLE_OBJECTS,
        sparkline=sparkline,
        style=Markup((folder / "page.css").read_text(encoding="utf-8")),  # noqa: S704  (our own file)
        script=Markup(script),  # noqa: S704  (our own files)
        # the page's policy lets only this script run, so that no label or file name can inject another
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return str(environment.get_template(name).render(**values))


def seconds_text(seconds: float) -> str:
    """Seconds in at most three digits, or as a whole number.

    >>> [seconds_text(of) for of in (0, 0.00029, 0.123, 12.34, 12_345.6)]
    ['0', '< 0.01', '0.12', '12.3', '12,346']
    """
    if seconds < 0.01:
        return "< 0.01" if seconds else "0"
    return f"{seconds:,.{2 if seconds < 10 else 1 if seconds < 100 else 0}f}"


def script_json(value: Any) -> str:
    r"""Encode JSON so that no text in it can end the script element around it.

    >>> script_json("</script>")
    '"\\u003c/script\\u003e"'
    """
    text = msgspec.json.encode(value).decode()
    for character, escaped in _UNSAFE.items():
        text = text.replace(character, escaped)
    return text
