"""Baselines of EarthInstruct: methods to compare with."""
