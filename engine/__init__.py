"""Everything about training; empty on purpose, so that importing a torch-free part costs nothing."""
