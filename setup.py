"""What pyproject.toml cannot say: on a package index, README.md without its links and pictures from the repository."""

import re
from pathlib import Path

from setuptools import setup

RELATIVE = r"\]\((?!https?://)[^)]*\)"
PICTURE = re.compile(rf"^!\[[^]]*{RELATIVE}\n+", re.MULTILINE)
LINK = re.compile(rf"\[([^]]*){RELATIVE}")

readme = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
setup(
    long_description=LINK.sub(r"\1", PICTURE.sub("", readme)),
    long_description_content_type="text/markdown",
)
