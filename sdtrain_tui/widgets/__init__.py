"""One widget a file: panes of the monitor, and what they are drawn with."""
