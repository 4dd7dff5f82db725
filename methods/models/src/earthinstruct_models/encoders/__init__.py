"""Encoders: who says how much a region looks like a label."""
