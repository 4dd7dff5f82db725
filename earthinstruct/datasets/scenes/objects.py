"""The looks of the objects: one painter per category.

A painter first adds its object to the ground truth, and paints it only if the canvas accepts it. Shadows and wakes are
painted, but do not belong to the object.
"""

from __future__ import annotations

import math

from earthinstruct.datasets.scenes.canvas import Canvas, Dice, Frame, Material, Point, arc, disc, rectangle
from earthinstruct.datasets.scenes.colours import (
    ACCENTS,
    BLACK,
    BOAT_COLOURS,
    CAR_COLOURS,
    CARGO_DECK_COLOURS,
    CONTAINER_COLOURS,
    COURT_COLOURS,
    COVER_COLOURS,
    DECK_COLOURS,
    DIRT_COLOURS,
    FIGHTER_COLOURS,
    GRASS_COLOURS,
    HULL_COLOURS,
    LOAD_COLOURS,
    PIER_COLOURS,
    PLANE_COLOURS,
    STEEL_COLOURS,
    TANK_COLOURS,
    TRACK_COLOURS,
    WHITE,
    WINDOW_COLOURS,
    WOOD_COLOURS,
    Colour,
    darker,
)


def mirrored(half: list[Point]) -> list[Point]:
    """Mirror a half polygon with y >= 0, given from nose to tail, in y."""
    return half + [(x, -y) for x, y in reversed(half)]


def airplane(canvas: Canvas, frame: Frame, dice: Dice, least: float = 0.5) -> bool:
    """An airplane of length 1 in the frame, nose towards +x: an airliner, a propeller plane or a jet fighter."""
    kind = dice.choice(("airliner", "airliner", "airliner", "propeller", "fighter"))
    colour, accent = dice.tint(dice.choice(PLANE_COLOURS), 8), dice.choice(ACCENTS)
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
        colour = dice.tint(dice.choice(FIGHTER_COLOURS), 8)
        fuselage = mirrored([(0.5, 0.008), (0.36, 0.045), (0.1, 0.075), (-0.4, 0.075), (-0.46, 0.05)])
        wings = mirrored([(0.18, 0.05), (-0.22, 0.34), (-0.32, 0.34), (-0.3, 0.05)])
        tail = mirrored([(-0.33, 0.05), (-0.46, 0.21), (-0.53, 0.21), (-0.47, 0.05)])
    parts = [frame.points(part) for part in (wings, tail, *engines, fuselage)]
    if not canvas.place("airplane", parts, least=least):
        return False
    canvas.shadow(parts, frame.scale * 0.07)
    canvas.paint(parts[0], darker(colour, 0.94))
    canvas.paint(parts[1], accent if dice.chance(0.35) and kind != "fighter" else darker(colour, 0.92))
    for engine in parts[2:-1]:
        canvas.paint(engine, darker(colour, 0.72))
    canvas.paint(parts[-1], colour)
    if kind == "airliner":
        for side in (1, -1):  # flaps
            canvas.line(frame.points([(-0.05, side * 0.08), (-0.17, side * span * 0.95)]), 0.7, darker(colour, 0.7))
        canvas.paint(frame.points([(0.47, 0.03), (0.44, 0.04), (0.44, -0.04), (0.47, -0.03)]), BLACK)
        canvas.line(frame.points([(-0.3, 0), (-0.5, 0)]), frame.scale * 0.022, accent)
    elif kind == "propeller":
        canvas.paint(frame.points(rectangle(0.18, -0.045, 0.26, 0.045)), BLACK)
        canvas.line(frame.points([(0.49, -0.13), (0.49, 0.13)]), 0.8, BLACK, alpha=160)
    else:
        canvas.paint(frame.points(disc(0.24, 0, 0.08, 0.028)), BLACK)
        for y in (0.055, -0.055):
            canvas.line(frame.points([(-0.2, y), (-0.44, y)]), frame.scale * 0.025, darker(colour, 0.7))
    return True


def ship(canvas: Canvas, frame: Frame, dice: Dice, *, boat: bool = False, sailing: bool = False) -> bool:
    """A ship of length 1 in the frame, bow towards +x; a boat is a small pleasure craft, a sailing one has a wake."""
    if boat:
        beam = dice.uniform(0.17, 0.2)
        hull = mirrored([(0.5, 0.0), (0.36, beam * 0.55), (0.16, beam * 0.95), (-0.2, beam), (-0.5, beam * 0.8)])
    else:
        beam = dice.uniform(0.085, 0.115)
        hull = mirrored(
            [
                (0.5, 0.0),
                (0.43, beam * 0.6),
                (0.34, beam * 0.97),
                (-0.4, beam),
                (-0.47, beam * 0.85),
                (-0.5, beam * 0.6),
            ]
        )
    outline = frame.points(hull)
    if not canvas.place("ship", [outline], on=(Material.WATER,)):
        return False
    if sailing:
        _wake(canvas, frame, beam, dice)
    canvas.shadow([outline], 2.0, alpha=90)
    if boat:
        colour = dice.tint(dice.choice(BOAT_COLOURS), 8)
        canvas.paint(outline, colour)
        inner = [(x * 0.78 - 0.03, y * 0.66) for x, y in hull]
        canvas.paint(frame.points(inner), darker(colour, 0.9))
        canvas.paint(frame.points(rectangle(0.02, -beam * 0.6, 0.13, beam * 0.6)), dice.choice(WINDOW_COLOURS))
        if dice.chance(0.5):
            canvas.paint(frame.points(rectangle(-0.42, -beam * 0.55, -0.24, beam * 0.55)), dice.choice(COVER_COLOURS))
        return True
    canvas.paint(outline, dice.choice(HULL_COLOURS))
    deck = dice.tint(dice.choice(CARGO_DECK_COLOURS), 10)
    canvas.paint(frame.points([(x * 0.94, y * 0.78) for x, y in hull]), deck)
    kind = dice.choice(("bulk", "container", "tanker", "ferry"))
    if kind == "bulk":
        for i in range(5):
            canvas.paint(
                frame.points(rectangle(-0.22 + i * 0.115, -beam * 0.5, -0.135 + i * 0.115, beam * 0.5)),
                darker(deck, 0.78),
            )
    elif kind == "container":
        for i in range(9):
            for j in range(3):
                box = rectangle(
                    -0.24 + i * 0.066, beam * (-0.66 + j * 0.44), -0.178 + i * 0.066, beam * (-0.22 + j * 0.44)
                )
                canvas.paint(frame.points(box), dice.tint(dice.choice(CONTAINER_COLOURS), 10))
    elif kind == "tanker":
        canvas.line(frame.points([(-0.24, 0), (0.4, 0)]), max(1.2, frame.scale * 0.02), darker(deck, 0.7))
        canvas.line(
            frame.points([(0.08, -beam * 0.6), (0.08, beam * 0.6)]), max(1.2, frame.scale * 0.016), darker(deck, 0.7)
        )
    else:
        canvas.paint(frame.points([(x * 0.72 - 0.02, y * 0.6) for x, y in hull]), WHITE)
        canvas.paint(frame.points(rectangle(-0.05, -beam * 0.3, 0.06, beam * 0.3)), (196, 60, 50))
    canvas.paint(frame.points(rectangle(-0.42, -beam * 0.74, -0.29, beam * 0.74)), WHITE)
    canvas.paint(frame.points(rectangle(-0.43, -beam * 0.25, -0.37, beam * 0.25)), dice.choice(ACCENTS))
    return True


def _wake(canvas: Canvas, frame: Frame, beam: float, dice: Dice) -> None:
    length = dice.uniform(0.6, 1.3)
    for share, alpha in ((1.0, 50), (0.6, 70), (0.3, 80)):
        end = -0.45 - length * share
        canvas.paint(
            frame.points(
                [(-0.45, beam * 0.7), (end, beam * (0.7 + share)), (end, -beam * (0.7 + share)), (-0.45, -beam * 0.7)]
            ),
            WHITE,
            alpha=alpha,
        )
    for side in (1, -1):
        bow = [(0.48, 0.0), (0.1, side * beam * 1.6), (-0.6, side * beam * 3.2)]
        canvas.line(frame.points(bow), max(0.8, frame.scale * 0.012), WHITE, alpha=110)


def storage_tank(canvas: Canvas, frame: Frame, dice: Dice, colour: Colour | None = None, least: float = 0.5) -> bool:
    """An upright cylindrical tank of radius 1 in the frame, seen from above."""
    body = frame.points(disc(0, 0, 1, steps=48))
    if not canvas.place("storage_tank", [body], least=least):
        return False
    colour = dice.tint(colour or dice.choice(TANK_COLOURS), 8)
    canvas.shadow([body], frame.scale * dice.uniform(0.4, 0.6), alpha=130)
    canvas.paint(body, darker(colour, 0.82))
    rim = max(0.8, frame.scale * 0.07)
    inner = 1 - rim / frame.scale
    roof = dice.choice(("cone", "cone", "dome", "floating"))
    canvas.paint(frame.points(disc(0, 0, inner, steps=48)), colour)
    sun = math.atan2(canvas.sun[1], canvas.sun[0]) - frame.angle
    if roof == "cone":
        canvas.paint(frame.points([(0, 0), *arc(0, 0, inner, inner, sun - 1.2, sun + 1.2)]), darker(colour, 0.9))
        for i in range(8 if frame.scale > 14 else 0):
            angle = math.pi * i / 4
            canvas.line(
                frame.points([(0, 0), (inner * math.cos(angle), inner * math.sin(angle))]), 0.5, darker(colour, 0.8)
            )
    elif roof == "dome":
        for share in (0.75, 0.5, 0.28):
            centre = -0.18 * (1 - share)
            lit = frame.points(disc(centre * math.cos(sun), centre * math.sin(sun), inner * share))
            canvas.paint(lit, darker(colour, 1.0 + 0.1 * (1 - share)))
    else:
        canvas.paint(frame.points(disc(0, 0, inner * 0.88)), darker(colour, 0.86))
        canvas.paint(
            frame.points(
                [
                    *arc(0, 0, inner, inner, sun + 2.0, sun + 4.3),
                    *arc(0.12 * math.cos(sun), 0.12 * math.sin(sun), inner * 0.9, inner * 0.9, sun + 4.3, sun + 2.0),
                ]
            ),
            darker(colour, 0.6),
        )
        canvas.line(
            frame.points([(-inner * 0.85, 0), (inner * 0.1, 0)]), max(0.7, frame.scale * 0.05), darker(colour, 0.6)
        )
    if frame.scale > 12:
        canvas.paint(frame.points(disc(0, 0, 0.07)), darker(colour, 0.6))
    return True


def baseball_field(canvas: Canvas, frame: Frame, dice: Dice, least: float = 0.6) -> bool:
    """A baseball field; home plate at the origin, centre field at (1, 0): the fan, foul ground and dirt included."""
    fan = [
        (-0.14, -0.02),
        (-0.12, -0.1),
        (-0.03, -0.17),
        *arc(0, 0, 1, 1, -math.radians(50), math.radians(50)),
        (-0.03, 0.17),
        (-0.12, 0.1),
        (-0.14, 0.02),
    ]
    outline = frame.points(fan)
    if not canvas.place("baseball_field", [outline], least=least):
        return False
    grass, dirt = dice.tint(dice.choice(GRASS_COLOURS), 8), dice.tint(dice.choice(DIRT_COLOURS), 8)
    canvas.paint(outline, dirt)
    edge = dice.uniform(0.955, 0.98)
    canvas.paint(
        frame.points(
            [
                (-0.08, -0.03),
                (0.02, -0.14),
                *arc(0, 0, edge, edge, -math.radians(48), math.radians(48)),
                (0.02, 0.14),
                (-0.08, 0.03),
            ]
        ),
        grass,
    )
    if dice.chance(0.6):  # mowing
        for i in range(0, 9, 2):
            r0, r1 = 0.5 + i * 0.05, 0.55 + i * 0.05
            if r1 < edge:
                band = [*arc(0, 0, r0, r0, -0.83, 0.83), *arc(0, 0, r1, r1, 0.83, -0.83)]
                canvas.paint(frame.points(band), darker(grass, 1.05))
    infield = [(0, 0), *arc(0.2, 0, 0.255, 0.255, -math.radians(107), math.radians(107))]
    canvas.paint(frame.points(infield), dirt)
    base = 0.215
    if dice.chance(0.75):  # grass within the bases; small fields are all dirt
        canvas.paint(frame.points([(0.05, 0), (base, base * 0.76), (base * 1.76, 0), (base, -base * 0.76)]), grass)
        canvas.paint(frame.points(disc(0.2, 0, 0.035)), dirt)
    canvas.paint(frame.points(disc(0, 0, 0.065)), dirt)
    width = max(0.8, frame.scale * 0.008)
    for side in (1, -1):
        angle = side * math.radians(45)
        canvas.line(frame.points([(0, 0), (0.96 * math.cos(angle), 0.96 * math.sin(angle))]), width, WHITE)
    for x, y in ((base, base), (base, -base), (base * 2, 0), (0, 0)):
        canvas.paint(frame.points(disc(x, y, 0.014, steps=8)), WHITE)
    return True


def tennis_court(
    canvas: Canvas, frame: Frame, dice: Dice, colours: tuple[Colour, Colour] | None = None, least: float = 0.6
) -> bool:
    """A tennis court of length 1 along x and width 0.52, the ground beyond the lines included."""
    outline = frame.points(rectangle(-0.5, -0.26, 0.5, 0.26))
    if not canvas.place("tennis_court", [outline], least=least):
        return False
    outer, inner = colours or court_colours(dice)
    canvas.paint(outline, outer)
    x, y, single, service = 0.42, 0.205, 0.154, 0.22
    canvas.paint(frame.points(rectangle(-x, -y, x, y)), inner)
    width = max(0.8, frame.scale * 0.008)
    for line in (
        [(-x, -y), (x, -y)],
        [(-x, y), (x, y)],
        [(-x, -y), (-x, y)],
        [(x, -y), (x, y)],
        [(-x, -single), (x, -single)],
        [(-x, single), (x, single)],
        [(-service, -single), (-service, single)],
        [(service, -single), (service, single)],
        [(-service, 0), (service, 0)],
    ):
        canvas.line(frame.points(line), width, WHITE)
    canvas.line(frame.points([(0.012, -y - 0.03), (0.012, y + 0.03)]), max(1.0, frame.scale * 0.01), BLACK, alpha=120)
    canvas.line(frame.points([(0, -y - 0.03), (0, y + 0.03)]), max(0.9, frame.scale * 0.01), WHITE)
    return True


def court_colours(dice: Dice) -> tuple[Colour, Colour]:
    """Colours of a tennis court: beyond the lines, and within."""
    inner = dice.choice(COURT_COLOURS)
    outer = dice.choice((inner, darker(inner, 0.85), darker(inner, 0.7), *COURT_COLOURS[1:4]))
    return dice.tint(outer, 6), dice.tint(inner, 6)


def basketball_court(
    canvas: Canvas, frame: Frame, dice: Dice, colours: tuple[Colour, Colour] | None = None, least: float = 0.6
) -> bool:
    """A basketball court of length 1 along x and width 0.56, the border included."""
    outline = frame.points(rectangle(-0.5, -0.28, 0.5, 0.28))
    if not canvas.place("basketball_court", [outline], least=least):
        return False
    border, floor = colours or floor_colours(dice)
    canvas.paint(outline, border)
    x, y = 0.455, 0.235
    canvas.paint(frame.points(rectangle(-x, -y, x, y)), floor)
    width = max(0.9, frame.scale * 0.01)
    for side in (1, -1):
        key = rectangle(side * x, -0.085, side * (x - 0.19), 0.085)
        canvas.paint(frame.points(key), border)
        canvas.line(frame.points([*key, key[0]]), width, WHITE)
        turn = 0 if side < 0 else math.pi
        canvas.line(
            frame.points(arc(side * (x - 0.19), 0, 0.062, 0.062, turn - math.pi / 2, turn + math.pi / 2)), width, WHITE
        )
        canvas.line(
            frame.points(
                [
                    (side * x, -0.205),
                    *arc(side * (x - 0.05), 0, 0.2, 0.205, turn - math.pi / 2, turn + math.pi / 2),
                    (side * x, 0.205),
                ]
            ),
            width,
            WHITE,
        )
        canvas.line(
            frame.points([(side * (x - 0.04), -0.028), (side * (x - 0.04), 0.028)]), width * 1.4, (236, 110, 40)
        )
    canvas.paint(frame.points(disc(0, 0, 0.062)), border)
    canvas.line(frame.points([*disc(0, 0, 0.062), (0.062, 0)]), width, WHITE)
    for line in ([(-x, -y), (x, -y)], [(-x, y), (x, y)], [(-x, -y), (-x, y)], [(x, -y), (x, y)], [(0, -y), (0, y)]):
        canvas.line(frame.points(line), width, WHITE)
    return True


def floor_colours(dice: Dice) -> tuple[Colour, Colour]:
    """Colours of a basketball court: border and keys, and the floor."""
    floor = dice.choice((*WOOD_COLOURS, *COURT_COLOURS, (150, 146, 140)))
    border = dice.choice([colour for colour in COURT_COLOURS if colour != floor])
    return dice.tint(border, 6), dice.tint(floor, 6)


def track_field(canvas: Canvas, frame: Frame, dice: Dice, least: float = 0.6) -> bool:
    """A running track of length 1 along x and width 0.54 around a playing field; one object with the field."""
    radius, straight = 0.27, 0.23
    outline = frame.points(_oval(straight, radius))
    if not canvas.place("track_field", [outline], least=least):
        return False
    colour, grass = dice.tint(dice.choice(TRACK_COLOURS), 8), dice.tint(dice.choice(GRASS_COLOURS), 8)
    canvas.paint(outline, colour)
    lanes, band = dice.integer(4, 6), 0.075
    for i in range(lanes + 1):
        oval = _oval(straight, radius - 0.004 - (band - 0.004) * i / lanes)
        canvas.line(frame.points([*oval, oval[0]]), max(0.6, frame.scale * 0.0028), WHITE, alpha=225)
    inner = radius - band
    ends = dice.choice((colour, grass, darker(grass, 1.12)))
    canvas.paint(frame.points(_oval(straight, inner - 0.004)), ends)
    field = rectangle(-straight - 0.05, -inner + 0.015, straight + 0.05, inner - 0.015)
    canvas.paint(frame.points(field), grass)
    if dice.chance(0.6):
        step = (field[1][0] - field[0][0]) / 10
        for i in range(0, 10, 2):
            x = field[0][0] + i * step
            canvas.paint(frame.points(rectangle(x, field[0][1], x + step, -field[0][1])), darker(grass, 1.09))
    width = max(0.8, frame.scale * 0.005)
    x, y = straight + 0.035, inner - 0.03
    for line in (
        [(-x, -y), (x, -y), (x, y), (-x, y), (-x, -y)],
        [(0, -y), (0, y)],
        [*disc(0, 0, 0.05), (0.05, 0)],
        [(-x, -0.09), (-x + 0.09, -0.09), (-x + 0.09, 0.09), (-x, 0.09)],
        [(x, -0.09), (x - 0.09, -0.09), (x - 0.09, 0.09), (x, 0.09)],
    ):
        canvas.line(frame.points(line), width, WHITE, alpha=230)
    canvas.line(frame.points([(straight * 0.7, inner), (straight * 0.7, radius)]), width * 1.3, WHITE)
    return True


def _oval(straight: float, radius: float) -> list[Point]:
    return arc(straight, 0, radius, radius, -math.pi / 2, math.pi / 2) + arc(
        -straight, 0, radius, radius, math.pi / 2, 1.5 * math.pi
    )


def harbor(
    canvas: Canvas, frame: Frame, dice: Dice, length: float, width: float, head: float = 0.0, least: float = 0.5
) -> bool:
    """A pier from the quay at the origin into the water towards +x; lengths in local units; `head` widens its end."""
    parts = [rectangle(0, -width / 2, length, width / 2)]
    if head:
        parts.append(rectangle(length - width, -head / 2, length, head / 2))
    outlines = [frame.points(part) for part in parts]
    if not canvas.place("harbor", outlines, least=least, on=(Material.WATER,)):
        return False
    colour = dice.tint(dice.choice(PIER_COLOURS), 10)
    canvas.shadow(outlines, 3.0, alpha=120)
    for outline in outlines:
        canvas.paint(outline, darker(colour, 0.84))
    rim = min(1.2 / frame.scale, width * 0.12)
    for part in parts:
        (x0, y0), (x1, y1) = part[0], part[2]
        canvas.paint(frame.points(rectangle(x0 + (rim if x0 else 0), y0 + rim, x1 - rim, y1 - rim)), colour)
    planks = int(length * frame.scale / 7)
    for i in range(1, planks):
        x = length * i / planks
        canvas.line(frame.points([(x, -width / 2 + rim), (x, width / 2 - rim)]), 0.5, darker(colour, 0.86))
    return True


def bridge(canvas: Canvas, frame: Frame, dice: Dice, length: float, width: float, *, railway: bool = False) -> bool:
    """A bridge along x, centred: the deck from bank to bank; lengths in local units (pixels at scale 1)."""
    outline = frame.points(rectangle(-length / 2, -width / 2, length / 2, width / 2))
    arch = dice.chance(0.3)
    if not canvas.place("bridge", [outline], over=("ship",)):
        return False
    deck = dice.tint(dice.choice(DECK_COLOURS), 8)
    canvas.shadow([outline], 9.0, alpha=125)
    canvas.paint(outline, deck, Material.CONCRETE)
    edge = width / 2 - 1.2
    if railway:
        deck = darker(deck, 0.85)
        canvas.paint(outline, deck)
        for i in range(int(length / 5)):
            x = -length / 2 + 2.5 + i * 5
            canvas.line(frame.points([(x, -edge * 0.7), (x, edge * 0.7)]), 1.6, (112, 92, 76))
        for y in (-edge * 0.4, edge * 0.4):
            canvas.line(frame.points([(-length / 2, y), (length / 2, y)]), 1.0, (70, 62, 60))
    else:
        for i in range(int(length / 12)):
            x = -length / 2 + 3 + i * 12
            canvas.line(frame.points([(x, 0), (x + 6, 0)]), 1.0, WHITE)
        for y in (-edge + 1.8, edge - 1.8):
            canvas.line(frame.points([(-length / 2, y), (length / 2, y)]), 0.7, WHITE)
    if arch:  # two arches above the edges, tied across
        steel = dice.choice(STEEL_COLOURS)
        for i in range(1, 8):
            x = length * (-0.5 + i / 8)
            canvas.line(frame.points([(x, -edge), (x, edge)]), 1.2, steel)
        for y in (-edge, edge):
            canvas.line(frame.points([(-length / 2, y), (length / 2, y)]), 2.4, steel)
    for y in (-edge - 0.5, edge + 0.5):
        canvas.line(frame.points([(-length / 2, y), (length / 2, y)]), 1.0, darker(deck, 0.68))
    for x in (-length / 2 + 1.2, length / 2 - 1.2):
        canvas.line(frame.points([(x, -edge), (x, edge)]), 1.6, darker(deck, 0.6))
    return True


def vehicle(canvas: Canvas, frame: Frame, dice: Dice, *, truck: bool = False, over: tuple[str, ...] = ()) -> bool:
    """A car (or a truck) of length 1 in the frame, front towards +x."""
    half = 0.16 if truck else dice.uniform(0.25, 0.275)
    body = mirrored(
        [(0.5, half * 0.55), (0.46, half * 0.9), (0.4, half), (-0.42, half), (-0.48, half * 0.85), (-0.5, half * 0.55)]
    )
    outline = frame.points(body)
    if not canvas.place("vehicle", [outline], over=over):
        return False
    colour = dice.tint(dice.choice(CAR_COLOURS), 8)
    canvas.shadow([outline], frame.scale * (0.12 if truck else 0.1), alpha=120)
    canvas.paint(outline, colour)
    if truck:
        load = dice.tint(dice.choice(LOAD_COLOURS), 8)
        canvas.paint(frame.points(rectangle(-0.49, -half, 0.24, half)), load)
        canvas.line(frame.points([(0.26, -half), (0.26, half)]), max(0.7, frame.scale * 0.02), BLACK)
        canvas.paint(frame.points(rectangle(0.39, -half * 0.8, 0.43, half * 0.8)), (40, 50, 62))
        return True
    glass = (44, 54, 68) if sum(colour) > 160 else (112, 124, 138)
    canvas.paint(
        frame.points([(0.24, half * 0.8), (0.24, -half * 0.8), (0.12, -half * 0.72), (0.12, half * 0.72)]), glass
    )
    canvas.paint(
        frame.points([(-0.36, half * 0.75), (-0.36, -half * 0.75), (-0.27, -half * 0.7), (-0.27, half * 0.7)]), glass
    )
    canvas.paint(frame.points(rectangle(-0.25, -half * 0.7, 0.1, half * 0.7)), darker(colour, 1.06))
    return True
