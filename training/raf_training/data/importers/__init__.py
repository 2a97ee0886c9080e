"""Upstream files, and a researcher's own, to the archives that the loaders read."""
