"""For authors of methods: the conformance kit, the controls, the pytest plug-in and the templates of a method."""

from earthinstruct.testing.conformance import Check, check_method
from earthinstruct.testing.starter import new_method

__all__ = [
    "Check",
    "check_method",
    "new_method",
]
