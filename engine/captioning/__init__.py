"""Captions made by a model that lies on this machine, written into a folder of their own."""
