"""One row a model family, without torch."""
