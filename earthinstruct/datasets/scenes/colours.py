"""Colours of grounds and objects, as RGB triples from 0 to 255."""

from __future__ import annotations

Colour = tuple[int, int, int]


def palette(codes: str) -> tuple[Colour, ...]:
    """Parse colours from hexadecimal codes.

    >>> palette("ff0000 00ff80")
    ((255, 0, 0), (0, 255, 128))
    """
    return tuple((int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)) for code in codes.split())


def darker(colour: Colour, factor: float) -> Colour:
    """Multiply a colour by a factor, which may be above 1."""
    red, green, blue = (min(255, round(c * factor)) for c in colour)
    return red, green, blue


WHITE: Colour = (240, 240, 236)
BLACK: Colour = (34, 36, 40)

PLANE = palette("f0f0f0 e8eaee dee2e6 eee8d6 d6deea 4a545c 3c5ca0")
ACCENT = palette("c42828 1c46a0 18785a e6961e 6e328c 2896be 282c3c")
CAR = palette("eeeeec f0f0f0 e2e4e6 181a1e ba1e22 1e46a0 dcbe28 246e46 d6781e d8c8aa 5aa0d2 6e1628")
TANK = palette("ecece8 e2e4e4 f0ecdc d6ceb8 bac4c8 a87058 96b2a0")
GRASS = palette("4a8e3e 3e803a 5c9846 3a8a4c")
DIRT = palette("b88a60 ac7650 c49c72 a86846")
TRACK = palette("b04a3a be5642 9e3e36 ba6454 3c609c")
COURT = palette("3664a0 387a54 b0543c 605496 3e8c96 be6e50 285c46")
WOOD = palette("cea06a d8b07a be8c5c")
PIER = palette("c6c2ba b2b0aa a48260 b89670 d4cec2")
DECK = palette("c4c2bc b6b6b4 cec6b6 a8acb0")
FIGHTER = palette("566068 788084 626a54")
BOAT = palette("f0f0ec f0f0ec e4e8ec ece2cc ba322e e2a03c")
WINDOW = palette("324254 243446")
COVER = palette("966e4c 3c6096")
HULL = palette("962c28 28303e e2e2de 1e4a78 465c50")
CARGO_DECK = palette("ac5c4a 78867a beb29c d6d6d2 964c3e")
CONTAINER = palette("aa3c32 ba6e3c 96503c c4b4a0")
STEEL = palette("ced2d2 aa4238 547896 e6e2d2")
LOAD = palette("f0f0ec e2e2de 3c68a0 c49646 be3c32")
FLAT_ROOF = palette("babcbe 8c96a0 aaa094 787c80 966050")
