"""The process of one run: from its plan to its files, told in events."""
