"""The looks of the objects: one painter per category.

A painter first adds its object to the ground truth, and paints it only if the canvas accepts it. Shadows and wakes are
painted, but do not belong to the object.
"""

from __future__ import annotations

import math

from earthinstruct.datasets.scenes import colours
from earthinstruct.datasets.scenes.canvas import Dice, Frame, Material, Point, arc, centred, disc, rectangle
from earthinstruct.datasets.scenes.colours import BLACK, WHITE, Colour, darker

# half outlines from nose to tail: x in lengths, y in half widths
_BOAT = ((0.5, 0.0), (0.36, 0.55), (0.16, 0.95), (-0.2, 1.0), (-0.5, 0.8))
_SHIP = ((0.5, 0.0), (0.43, 0.6), (0.34, 0.97), (-0.4, 1.0), (-0.47, 0.85), (-0.5, 0.6))
_VEHICLE = ((0.5, 0.55), (0.46, 0.9), (0.4, 1.0), (-0.42, 1.0), (-0.48, 0.85), (-0.5, 0.55))


def mirrored(half: list[Point]) -> list[Point]:
    """Mirror a half polygon with y >= 0, given from nose to tail, in y."""
    return half + [(x, -y) for x, y in reversed(half)]


def airplane(frame: Frame, dice: Dice) -> None:
    """An airplane of length 1 in the frame, nose towards +x: an airliner, a propeller plane or a jet fighter."""
    kind = dice.choice(("airliner", "airliner", "airliner", "propeller", "fighter"))
    colour, accent = dice.tint(dice.choice(colours.PLANE), 8), dice.choice(colours.ACCENT)
    span = dice.uniform(0.44, 0.52)
    engines: list[list[Point]] = []
    if kind == "airliner":
        fuselage = mirrored([(0.5, 0.012), (0.46, 0.04), (0.4, 0.06), (-0.3, 0.06), (-0.44, 0.035), (-0.5, 0.012)])
        wings = mirrored([(0.16, 0.04), (-0.13, span), (-0.2, span), (-0.08, 0.04)])
        tail = mirrored([(-0.36, 0.02), (-0.46, 0.19), (-0.52, 0.19), (-0.47, 0.02)])
        for place in dice.choice(((0.17,), (0.17,), (0.14, 0.29))):
            front = 0.16 - (place - 0.04) * 0.6
            engines += [
                rectangle(front - 0.08, side * place - 0.028, front + 0.05, side * place + 0.028) for side in (1, -1)
            ]
    elif kind == "propeller":
        fuselage = mirrored([(0.5, 0.03), (0.44, 0.06), (0.2, 0.075), (-0.1, 0.06), (-0.48, 0.025)])
        wings = mirrored([(0.26, 0.05), (0.22, span + 0.1), (0.1, span + 0.1), (0.06, 0.05)])
        tail = mirrored([(-0.36, 0.02), (-0.38, 0.2), (-0.47, 0.2), (-0.48, 0.02)])
    else:
        colour = dice.tint(dice.choice(colours.FIGHTER), 8)
        fuselage = mirrored([(0.5, 0.008), (0.36, 0.045), (0.1, 0.075), (-0.4, 0.075), (-0.46, 0.05)])
        wings = mirrored([(0.18, 0.05), (-0.22, 0.34), (-0.32, 0.34), (-0.3, 0.05)])
        tail = mirrored([(-0.33, 0.05), (-0.46, 0.21), (-0.53, 0.21), (-0.47, 0.05)])
    parts = [wings, tail, *engines, fuselage]
    if not frame.place("airplane", parts):
        return
    frame.shadow(parts, frame.scale * 0.07)
    frame.paint(wings, darker(colour, 0.94))
    frame.paint(tail, accent if dice.chance(0.35) and kind != "fighter" else darker(colour, 0.92))
    for engine in engines:
        frame.paint(engine, darker(colour, 0.72))
    frame.paint(fuselage, colour)
    if kind == "airliner":
        for side in (1, -1):  # flaps
            frame.line([(-0.05, side * 0.08), (-0.17, side * span * 0.95)], 0.7, darker(colour, 0.7))
        frame.paint(mirrored([(0.47, 0.03), (0.44, 0.04)]), BLACK)
        frame.line([(-0.3, 0), (-0.5, 0)], frame.scale * 0.022, accent)
    elif kind == "propeller":
        frame.paint(rectangle(0.18, -0.045, 0.26, 0.045), BLACK)
        frame.line([(0.49, -0.13), (0.49, 0.13)], 0.8, BLACK, alpha=160)
    else:
        frame.paint(disc(0.24, 0, 0.08, 0.028), BLACK)
        for y in (0.055, -0.055):
            frame.line([(-0.2, y), (-0.44, y)], frame.scale * 0.025, darker(colour, 0.7))


def ship(frame: Frame, dice: Dice, *, boat: bool = False, sailing: bool = False) -> None:
    """A ship of length 1 in the frame, bow towards +x; a boat is a small pleasure craft, a sailing one has a wake."""
    beam = dice.uniform(0.17, 0.2) if boat else dice.uniform(0.085, 0.115)
    hull = mirrored([(x, beam * y) for x, y in (_BOAT if boat else _SHIP)])
    if not frame.place("ship", [hull], on=Material.WATER):
        return
    if sailing:
        _wake(frame, beam, dice)
    frame.shadow([hull], 2.0, alpha=90)
    if boat:
        colour = dice.tint(dice.choice(colours.BOAT), 8)
        frame.paint(hull, colour)
        frame.paint([(x * 0.78 - 0.03, y * 0.66) for x, y in hull], darker(colour, 0.9))
        frame.paint(rectangle(0.02, -beam * 0.6, 0.13, beam * 0.6), dice.choice(colours.WINDOW))
        if dice.chance(0.5):
            frame.paint(rectangle(-0.42, -beam * 0.55, -0.24, beam * 0.55), dice.choice(colours.COVER))
        return
    frame.paint(hull, dice.choice(colours.HULL))
    deck = dice.tint(dice.choice(colours.CARGO_DECK), 10)
    frame.paint([(x * 0.94, y * 0.78) for x, y in hull], deck)
    kind = dice.choice(("bulk", "container", "tanker", "ferry"))
    if kind == "bulk":
        for i in range(5):
            frame.paint(rectangle(-0.22 + i * 0.115, -beam * 0.5, -0.135 + i * 0.115, beam * 0.5), darker(deck, 0.78))
    elif kind == "container":
        for i in range(9):
            for j in range(3):
                box = rectangle(
                    -0.24 + i * 0.066, beam * (-0.66 + j * 0.44), -0.178 + i * 0.066, beam * (-0.22 + j * 0.44)
                )
                frame.paint(box, dice.tint(dice.choice(colours.CONTAINER), 10))
    elif kind == "tanker":
        frame.line([(-0.24, 0), (0.4, 0)], max(1.2, frame.scale * 0.02), darker(deck, 0.7))
        frame.line([(0.08, -beam * 0.6), (0.08, beam * 0.6)], max(1.2, frame.scale * 0.016), darker(deck, 0.7))
    else:
        frame.paint([(x * 0.72 - 0.02, y * 0.6) for x, y in hull], WHITE)
        frame.paint(rectangle(-0.05, -beam * 0.3, 0.06, beam * 0.3), (196, 60, 50))
    frame.paint(rectangle(-0.42, -beam * 0.74, -0.29, beam * 0.74), WHITE)
    frame.paint(rectangle(-0.43, -beam * 0.25, -0.37, beam * 0.25), dice.choice(colours.ACCENT))


def _wake(frame: Frame, beam: float, dice: Dice) -> None:
    length = dice.uniform(0.6, 1.3)
    for share, alpha in ((1.0, 50), (0.6, 70), (0.3, 80)):
        end = -0.45 - length * share
        frame.paint(mirrored([(-0.45, beam * 0.7), (end, beam * (0.7 + share))]), WHITE, alpha=alpha)
    for side in (1, -1):
        bow = [(0.48, 0.0), (0.1, side * beam * 1.6), (-0.6, side * beam * 3.2)]
        frame.line(bow, max(0.8, frame.scale * 0.012), WHITE, alpha=110)


def storage_tank(frame: Frame, dice: Dice, colour: Colour | None = None) -> None:
    """An upright cylindrical tank of radius 1 in the frame, seen from above."""
    body = disc(0, 0, 1, steps=48)
    if not frame.place("storage_tank", [body]):
        return
    colour = dice.tint(colour or dice.choice(colours.TANK), 8)
    frame.shadow([body], frame.scale * dice.uniform(0.4, 0.6), alpha=130)
    frame.paint(body, darker(colour, 0.82))
    rim = max(0.8, frame.scale * 0.07)
    inner = 1 - rim / frame.scale
    roof = dice.choice(("cone", "cone", "dome", "floating"))
    frame.paint(disc(0, 0, inner, steps=48), colour)
    sun = math.atan2(frame.canvas.sun[1], frame.canvas.sun[0]) - frame.angle
    if roof == "cone":
        frame.paint([(0, 0), *arc(0, 0, inner, inner, sun - 1.2, sun + 1.2)], darker(colour, 0.9))
        for i in range(8 if frame.scale > 14 else 0):
            angle = math.pi * i / 4
            frame.line([(0, 0), (inner * math.cos(angle), inner * math.sin(angle))], 0.5, darker(colour, 0.8))
    elif roof == "dome":
        for share in (0.75, 0.5, 0.28):
            centre = -0.18 * (1 - share)
            lit = disc(centre * math.cos(sun), centre * math.sin(sun), inner * share)
            frame.paint(lit, darker(colour, 1.0 + 0.1 * (1 - share)))
    else:
        frame.paint(disc(0, 0, inner * 0.88), darker(colour, 0.86))
        frame.paint(
            [
                *arc(0, 0, inner, inner, sun + 2.0, sun + 4.3),
                *arc(0.12 * math.cos(sun), 0.12 * math.sin(sun), inner * 0.9, inner * 0.9, sun + 4.3, sun + 2.0),
            ],
            darker(colour, 0.6),
        )
        frame.line([(-inner * 0.85, 0), (inner * 0.1, 0)], max(0.7, frame.scale * 0.05), darker(colour, 0.6))
    if frame.scale > 12:
        frame.paint(disc(0, 0, 0.07), darker(colour, 0.6))


def baseball_field(frame: Frame, dice: Dice) -> None:
    """A baseball field; home plate at the origin, centre field at (1, 0): the fan, foul ground and dirt included."""
    fan = [
        *arc(0, 0, 1, 1, -math.radians(50), math.radians(50)),
        *mirrored([(-0.03, 0.17), (-0.12, 0.1), (-0.14, 0.02)]),
    ]
    if not frame.place("baseball_field", [fan], least=0.62):
        return
    grass, dirt = dice.tint(dice.choice(colours.GRASS), 8), dice.tint(dice.choice(colours.DIRT), 8)
    frame.paint(fan, dirt)
    edge = dice.uniform(0.955, 0.98)
    lawn = [*arc(0, 0, edge, edge, -math.radians(48), math.radians(48)), *mirrored([(0.02, 0.14), (-0.08, 0.03)])]
    frame.paint(lawn, grass)
    if dice.chance(0.6):  # mowing
        for i in range(0, 9, 2):
            r0, r1 = 0.5 + i * 0.05, 0.55 + i * 0.05
            if r1 < edge:
                band = [*arc(0, 0, r0, r0, -0.83, 0.83), *arc(0, 0, r1, r1, 0.83, -0.83)]
                frame.paint(band, darker(grass, 1.05))
    frame.paint([(0, 0), *arc(0.2, 0, 0.255, 0.255, -math.radians(107), math.radians(107))], dirt)
    base = 0.215
    if dice.chance(0.75):  # grass within the bases; small fields are all dirt
        frame.paint([(0.05, 0), (base, base * 0.76), (base * 1.76, 0), (base, -base * 0.76)], grass)
        frame.paint(disc(0.2, 0, 0.035), dirt)
    frame.paint(disc(0, 0, 0.065), dirt)
    width = max(0.8, frame.scale * 0.008)
    for side in (1, -1):
        angle = side * math.radians(45)
        frame.line([(0, 0), (0.96 * math.cos(angle), 0.96 * math.sin(angle))], width, WHITE)
    for x, y in ((base, base), (base, -base), (base * 2, 0), (0, 0)):
        frame.paint(disc(x, y, 0.014, steps=8), WHITE)


def tennis_court(frame: Frame, dice: Dice, pair: tuple[Colour, Colour] | None = None) -> None:
    """A tennis court of length 1 along x and width 0.52, the ground beyond the lines included."""
    outline = centred(1, 0.52)
    if not frame.place("tennis_court", [outline], least=0.6):
        return
    outer, inner = pair or court_colours(dice)
    frame.paint(outline, outer)
    x, y, single, service = 0.42, 0.205, 0.154, 0.22
    frame.paint(rectangle(-x, -y, x, y), inner)
    width = max(0.8, frame.scale * 0.008)
    for side in (1, -1):
        frame.line([(-x, side * y), (x, side * y)], width, WHITE)
        frame.line([(side * x, -y), (side * x, y)], width, WHITE)
        frame.line([(-x, side * single), (x, side * single)], width, WHITE)
        frame.line([(side * service, -single), (side * service, single)], width, WHITE)
    frame.line([(-service, 0), (service, 0)], width, WHITE)
    frame.line([(0.012, -y - 0.03), (0.012, y + 0.03)], max(1.0, frame.scale * 0.01), BLACK, alpha=120)
    frame.line([(0, -y - 0.03), (0, y + 0.03)], max(0.9, frame.scale * 0.01), WHITE)


def court_colours(dice: Dice) -> tuple[Colour, Colour]:
    """Colours of a tennis court: beyond the lines, and within."""
    inner = dice.choice(colours.COURT)
    outer = dice.choice((inner, darker(inner, 0.85), darker(inner, 0.7), *colours.COURT[1:4]))
    return dice.tint(outer, 6), dice.tint(inner, 6)


def basketball_court(frame: Frame, dice: Dice, pair: tuple[Colour, Colour] | None = None) -> None:
    """A basketball court of length 1 along x and width 0.56, the border included."""
    outline = centred(1, 0.56)
    if not frame.place("basketball_court", [outline], least=0.6):
        return
    border, floor = pair or floor_colours(dice)
    frame.paint(outline, border)
    x, y = 0.455, 0.235
    frame.paint(rectangle(-x, -y, x, y), floor)
    width = max(0.9, frame.scale * 0.01)
    for side in (1, -1):
        key = rectangle(side * x, -0.085, side * (x - 0.19), 0.085)
        frame.paint(key, border)
        frame.line([*key, key[0]], width, WHITE)
        turn = 0 if side < 0 else math.pi
        start, end = turn - math.pi / 2, turn + math.pi / 2
        frame.line(arc(side * (x - 0.19), 0, 0.062, 0.062, start, end), width, WHITE)
        three_points = [(side * x, -0.205), *arc(side * (x - 0.05), 0, 0.2, 0.205, start, end), (side * x, 0.205)]
        frame.line(three_points, width, WHITE)
        frame.line([(side * (x - 0.04), -0.028), (side * (x - 0.04), 0.028)], width * 1.4, (236, 110, 40))
    frame.paint(disc(0, 0, 0.062), border)
    frame.line([*disc(0, 0, 0.062), (0.062, 0)], width, WHITE)
    for line in ([(-x, -y), (x, -y)], [(-x, y), (x, y)], [(-x, -y), (-x, y)], [(x, -y), (x, y)], [(0, -y), (0, y)]):
        frame.line(line, width, WHITE)


def floor_colours(dice: Dice) -> tuple[Colour, Colour]:
    """Colours of a basketball court: border and keys, and the floor."""
    floor = dice.choice((*colours.WOOD, *colours.COURT, (150, 146, 140)))
    border = dice.choice([colour for colour in colours.COURT if colour != floor])
    return dice.tint(border, 6), dice.tint(floor, 6)


def track_field(frame: Frame, dice: Dice) -> None:
    """A running track of length 1 along x and width 0.54 around a playing field; one object with the field."""
    radius, straight = 0.27, 0.23
    outline = _oval(straight, radius)
    if not frame.place("track_field", [outline], least=0.62):
        return
    colour, grass = dice.tint(dice.choice(colours.TRACK), 8), dice.tint(dice.choice(colours.GRASS), 8)
    frame.paint(outline, colour)
    lanes, band = dice.integer(4, 6), 0.075
    for i in range(lanes + 1):
        oval = _oval(straight, radius - 0.004 - (band - 0.004) * i / lanes)
        frame.line([*oval, oval[0]], max(0.6, frame.scale * 0.0028), WHITE, alpha=225)
    inner = radius - band
    ends = dice.choice((colour, grass, darker(grass, 1.12)))
    frame.paint(_oval(straight, inner - 0.004), ends)
    field = rectangle(-straight - 0.05, -inner + 0.015, straight + 0.05, inner - 0.015)
    frame.paint(field, grass)
    if dice.chance(0.6):
        step = (field[1][0] - field[0][0]) / 10
        for i in range(0, 10, 2):
            x = field[0][0] + i * step
            frame.paint(rectangle(x, field[0][1], x + step, -field[0][1]), darker(grass, 1.09))
    width = max(0.8, frame.scale * 0.005)
    x, y = straight + 0.035, inner - 0.03
    for line in (
        [(-x, -y), (x, -y), (x, y), (-x, y), (-x, -y)],
        [(0, -y), (0, y)],
        [*disc(0, 0, 0.05), (0.05, 0)],
        [(-x, -0.09), (-x + 0.09, -0.09), (-x + 0.09, 0.09), (-x, 0.09)],
        [(x, -0.09), (x - 0.09, -0.09), (x - 0.09, 0.09), (x, 0.09)],
    ):
        frame.line(line, width, WHITE, alpha=230)
    frame.line([(straight * 0.7, inner), (straight * 0.7, radius)], width * 1.3, WHITE)


def _oval(straight: float, radius: float) -> list[Point]:
    right = arc(straight, 0, radius, radius, -math.pi / 2, math.pi / 2)
    return right + arc(-straight, 0, radius, radius, math.pi / 2, 1.5 * math.pi)


def harbor(frame: Frame, dice: Dice, length: float, width: float, head: float = 0.0) -> bool:
    """A pier from the quay at the origin into the water towards +x; lengths in local units; `head` widens its end."""
    parts = [rectangle(0, -width / 2, length, width / 2)]
    if head:
        parts.append(rectangle(length - width, -head / 2, length, head / 2))
    if not frame.place("harbor", parts, on=Material.WATER):
        return False
    colour = dice.tint(dice.choice(colours.PIER), 10)
    frame.shadow(parts, 3.0, alpha=120)
    for part in parts:
        frame.paint(part, darker(colour, 0.84))
    rim = min(1.2 / frame.scale, width * 0.12)
    for part in parts:
        (x0, y0), (x1, y1) = part[0], part[2]
        frame.paint(rectangle(x0 + (rim if x0 else 0), y0 + rim, x1 - rim, y1 - rim), colour)
    planks = int(length * frame.scale / 7)
    for i in range(1, planks):
        x = length * i / planks
        frame.line([(x, -width / 2 + rim), (x, width / 2 - rim)], 0.5, darker(colour, 0.86))
    return True


def bridge(frame: Frame, dice: Dice, length: float, width: float, *, railway: bool = False) -> bool:
    """A bridge along x, centred: the deck from bank to bank; lengths in local units (pixels at scale 1)."""
    outline = centred(length, width)
    arch = dice.chance(0.3)
    if not frame.place("bridge", [outline], over=("ship",)):
        return False
    deck = dice.tint(dice.choice(colours.DECK), 8)
    frame.shadow([outline], 9.0, alpha=125)
    frame.paint(outline, deck, Material.CONCRETE)
    edge = width / 2 - 1.2
    if railway:
        deck = darker(deck, 0.85)
        frame.paint(outline, deck)
        for i in range(int(length / 5)):
            x = -length / 2 + 2.5 + i * 5
            frame.line([(x, -edge * 0.7), (x, edge * 0.7)], 1.6, (112, 92, 76))
        for y in (-edge * 0.4, edge * 0.4):
            frame.line([(-length / 2, y), (length / 2, y)], 1.0, (70, 62, 60))
    else:
        for i in range(int(length / 12)):
            x = -length / 2 + 3 + i * 12
            frame.line([(x, 0), (x + 6, 0)], 1.0, WHITE)
        for y in (-edge + 1.8, edge - 1.8):
            frame.line([(-length / 2, y), (length / 2, y)], 0.7, WHITE)
    if arch:  # two arches above the edges, tied across
        steel = dice.choice(colours.STEEL)
        for i in range(1, 8):
            x = length * (-0.5 + i / 8)
            frame.line([(x, -edge), (x, edge)], 1.2, steel)
        for y in (-edge, edge):
            frame.line([(-length / 2, y), (length / 2, y)], 2.4, steel)
    for y in (-edge - 0.5, edge + 0.5):
        frame.line([(-length / 2, y), (length / 2, y)], 1.0, darker(deck, 0.68))
    for x in (-length / 2 + 1.2, length / 2 - 1.2):
        frame.line([(x, -edge), (x, edge)], 1.6, darker(deck, 0.6))
    return True


def vehicle(frame: Frame, dice: Dice, *, truck: bool = False, over: tuple[str, ...] = ()) -> None:
    """A car (or a truck) of length 1 in the frame, front towards +x."""
    half = 0.16 if truck else dice.uniform(0.25, 0.275)
    body = mirrored([(x, half * y) for x, y in _VEHICLE])
    if not frame.place("vehicle", [body], over=over):
        return
    colour = dice.tint(dice.choice(colours.CAR), 8)
    frame.shadow([body], frame.scale * (0.12 if truck else 0.1), alpha=120)
    frame.paint(body, colour)
    if truck:
        load = dice.tint(dice.choice(colours.LOAD), 8)
        frame.paint(rectangle(-0.49, -half, 0.24, half), load)
        frame.line([(0.26, -half), (0.26, half)], max(0.7, frame.scale * 0.02), BLACK)
        frame.paint(rectangle(0.39, -half * 0.8, 0.43, half * 0.8), (40, 50, 62))
        return
    glass = (44, 54, 68) if sum(colour) > 160 else (112, 124, 138)
    frame.paint([(0.24, half * 0.8), (0.24, -half * 0.8), (0.12, -half * 0.72), (0.12, half * 0.72)], glass)
    frame.paint([(-0.36, half * 0.75), (-0.36, -half * 0.75), (-0.27, -half * 0.7), (-0.27, half * 0.7)], glass)
    frame.paint(rectangle(-0.25, -half * 0.7, 0.1, half * 0.7), darker(colour, 1.06))
