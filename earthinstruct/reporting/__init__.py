"""Pages, charts and figures of runs."""

from earthinstruct.reporting.gallery import MAX_IMAGES
from earthinstruct.reporting.page import write_report

__all__ = ["MAX_IMAGES", "write_report"]
