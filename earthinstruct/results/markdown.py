"""Texts from outside, in Markdown."""

import re

_MARKUP = re.compile(r"[\\|*_`\[\]~&]|<(?=[A-Za-z/!?])")  # `p < 0.05` starts no markup


def in_markdown(text: str) -> str:
    r"""A text as it stands, on one line, also in the cell of a table.

    >>> print(in_markdown("<b>a_b</b> | c"))
    \<b>a\_b\</b> \| c
    """
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
