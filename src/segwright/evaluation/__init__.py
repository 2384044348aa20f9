"""``segwright evaluate``: protocols, one photo's measurement, the run folder, workers, figures, reports."""
