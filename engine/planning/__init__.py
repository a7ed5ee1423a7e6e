"""What is decided about a plan: presets, what follows from data and machine, and every rule."""
