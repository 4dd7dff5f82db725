"""Encoders: they embed image regions and labels into one space."""
