"""Reports of runs: an HTML page with scores, charts and a gallery; figures for papers."""

from earthinstruct.reporting.figures import FIGURES, plot
from earthinstruct.reporting.gallery import MAX_IMAGES
from earthinstruct.reporting.page import report

__all__ = ["FIGURES", "MAX_IMAGES", "plot", "report"]
