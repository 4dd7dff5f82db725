"""Tools for authors of methods: conformance checks, controls, a pytest plug-in, and templates for a new method."""

from earthinstruct.testing.conformance import Check, check_method
from earthinstruct.testing.starter import new_method

__all__ = [
    "Check",
    "check_method",
    "new_method",
]
