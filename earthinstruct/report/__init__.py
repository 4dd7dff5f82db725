"""Pictures of predictions, and the page that shows a run."""

MAX_IMAGES = 200  # that a page shows, the worst first
