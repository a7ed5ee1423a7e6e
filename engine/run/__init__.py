"""What a run is doing: its directory, events, control, view, lock and supervision; imports no torch."""
