"""Pictures and captions: scan, reading, order; empty, so that the scan needs no torch."""
