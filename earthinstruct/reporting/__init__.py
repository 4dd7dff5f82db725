"""Pages, charts and figures of runs."""

from earthinstruct.reporting.gallery import MAX_IMAGES
from earthinstruct.reporting.page import report

__all__ = ["MAX_IMAGES", "report"]
