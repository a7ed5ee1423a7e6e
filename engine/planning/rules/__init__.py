"""The rules of the plan check, one file a table of the plan: each yields the problems that it finds."""
