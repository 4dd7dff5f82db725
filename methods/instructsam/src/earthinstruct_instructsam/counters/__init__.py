"""Counters: who says how many objects of each kind there are."""
