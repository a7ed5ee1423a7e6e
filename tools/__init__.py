"""Small programs for the people who work on the project; nothing here is installed with it."""
