"""Tests of engine.run: files, events, views, locks and processes."""
