"""Proposers: they propose class-agnostic regions of an image."""
