"""Writes what a run has learnt into the file formats that other programs read; one file a format."""
