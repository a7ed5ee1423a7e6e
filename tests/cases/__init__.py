"""Inputs from public bug reports, each with its neighbours, through the real scan and commands."""
