"""What makes condition maps: a kind a file, each with `load(folders) -> Maker`."""
