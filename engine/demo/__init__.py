"""The built-in tiny model: its generated picture world, its checker and its recipe."""
