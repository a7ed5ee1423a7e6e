"""What a run is asked to do: plans, presets and checks; imports no torch."""
