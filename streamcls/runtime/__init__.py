"""Running it: pipelines without threads or a clock, workers with both, and the supervisor of the sources."""
