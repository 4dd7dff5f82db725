"""Reports of runs: an HTML page with scores, charts and a gallery."""

from earthinstruct.reporting.gallery import MAX_IMAGES
from earthinstruct.reporting.page import report

__all__ = ["MAX_IMAGES", "report"]
