"""Proposers: who says where something is."""
