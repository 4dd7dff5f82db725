"""Counters: they count the objects of each kind in an image."""
