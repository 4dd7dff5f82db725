"""Baselines and controls of EarthInstruct."""
