"""The kinds of scenes: where grounds and objects are placed.

Each layout draws from the ground up, in a frame with a random rotation around the centre of the image. The canvas
refuses objects that would lie outside or be hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from earthinstruct.datasets.scenes import colours, grounds, objects
from earthinstruct.datasets.scenes.canvas import Canvas, Dice, Frame, Material, centred, positions, rectangle, spans
from earthinstruct.datasets.scenes.colours import WHITE, darker

Layout = Callable[[Frame, Dice, float], None]

_LAND = (Material.GRASS, Material.SOIL)


def airport(view: Frame, dice: Dice, zoom: float) -> None:
    """Draw a runway or a terminal with parked airplanes."""
    reach = view.canvas.reach
    grounds.cover(view, dice.choice(_LAND), dice)
    tarmac = grounds.colour_of(dice.choice((Material.ASPHALT, Material.CONCRETE)), dice)
    length = dice.uniform(62, 112) * zoom
    near = dice.uniform(-0.15, 0.05) * reach  # the apron is beyond this line, the runway before it
    taxiway, runway = near - 0.3 * reach, near - 0.3 * reach - dice.uniform(58, 74) * zoom
    strip = grounds.colour_of(Material.ASPHALT, dice)
    half = 26 * zoom
    view.paint(rectangle(-reach, runway - half, reach, runway + half), strip, Material.ASPHALT)
    for y in (runway - half + 3, runway + half - 3):
        view.line([(-reach, y), (reach, y)], 1.4, WHITE)
    for x in positions(-reach, reach, 40):
        view.line([(x, runway), (x + 22, runway)], 2.0, WHITE)
    for i in range(-4, 4):
        top, bottom = runway + (i + 0.25) * 5.2 * zoom, runway + (i + 0.75) * 5.2 * zoom
        view.paint(rectangle(-0.3 * reach, top, -0.3 * reach + 34, bottom), WHITE)
    view.paint(rectangle(-reach, taxiway - 11, reach, taxiway + 11), strip, Material.ASPHALT)
    view.paint(rectangle(-reach, near, reach, reach), tarmac, Material.CONCRETE)
    for x in (-0.45 * reach, 0.35 * reach):
        view.paint(rectangle(x - 12, runway, x + 12, near + 2), strip, Material.ASPHALT)
        view.line([(x, runway + half), (x, near)], 1.2, (214, 180, 60))
    view.line([(-reach, taxiway), (reach, taxiway)], 1.2, (214, 180, 60))

    y = near + length * 0.7
    for _ in range(dice.integer(1, 3)):
        start = -reach + dice.uniform(0, length)
        turn = dice.choice((math.pi / 2, -math.pi / 2)) + dice.choice((0.0, 0.0, 0.35))
        for x in positions(start, reach, lambda: length * dice.uniform(1.12, 1.3)):
            size = length * dice.choice((1.0, 1.0, 0.85, 0.7))
            view.line([(x, y - length * 0.65), (x, y + length * 0.5)], 1.0, (214, 180, 60))
            if dice.chance(0.92):
                objects.airplane(view.at(x, y, turn + dice.uniform(-0.05, 0.05), size), dice)
            if dice.chance(0.6):
                spot = view.at(x + length * 0.52, y + dice.uniform(-0.3, 0.3) * length, dice.choice((0.0, 1.57)))
                cart = spot.at(0, 0, 0.0, dice.uniform(15, 19) * zoom)
                objects.vehicle(cart, dice, truck=dice.chance(0.3))
        y += length * 1.2
    for x in positions(-reach, reach, 130):
        grounds.warehouse(view.at(x + 60, y + 25), dice, 115, dice.uniform(45, 70))
    grounds.cover(view, dice.choice(_LAND), dice, rectangle(-2 * reach, y + 64, 2 * reach, y + 2 * reach))
    grounds.road(view.at(0, y + 84), dice, 4 * reach, 26 * zoom)
    _traffic(view.at(0, y + 84), dice, 26 * zoom, zoom, 0.35)
    if dice.chance(0.6):
        objects.airplane(view.at(dice.uniform(-0.4, 0.5) * reach, runway, dice.choice((0.0, math.pi)), length), dice)
    if dice.chance(0.5):
        x, turn = dice.uniform(-0.4, 0.4) * reach, dice.choice((0.0, math.pi))
        objects.airplane(view.at(x, taxiway, turn, length * 0.7), dice)
    _trees(view, dice, 10, zoom)


def marina(view: Frame, dice: Dice, zoom: float) -> None:
    """Draw long piers with more than a hundred small boats on both sides."""
    reach = view.canvas.reach
    shore = _coast(view, dice, dice.uniform(0.3, 0.42) * min(view.canvas.width, view.canvas.height))
    length = dice.uniform(22, 26) * zoom
    pitch, pier = length * 2 + 11 * zoom + dice.uniform(16, 24) * zoom, 11 * zoom
    for x in positions(-reach + dice.uniform(0, pitch), reach, pitch):
        extent = dice.uniform(250, 330) * zoom
        berth = view.at(x, shore, -math.pi / 2)
        head = dice.choice((0.0, 0.0, pier * 3.2))
        if not objects.harbor(berth, dice, extent, pier, head):
            continue
        for side in (1, -1):
            end = extent - (pier + length * 0.4)
            for along, _ in spans(14 * zoom, end, lambda: length * dice.uniform(0.44, 0.52)):
                if dice.chance(0.88):
                    size = length * dice.uniform(0.85, 1.0)
                    turn = side * math.pi / 2 + dice.choice((0.0, math.pi))
                    boat = berth.at(along, side * (pier / 2 + size * 0.52), turn, size)
                    objects.ship(boat, dice, boat=True)
    _sail(view, dice, 3, zoom, boats=True)
    _waterfront(view, dice, shore, zoom, tanks=False)


def port(view: Frame, dice: Dice, zoom: float) -> None:
    """Draw a quay with piers, ships at the piers and under way, and tanks and warehouses on land."""
    reach = view.canvas.reach
    shore = _coast(view, dice, dice.uniform(0.0, 0.2) * min(view.canvas.width, view.canvas.height))
    pitch = dice.uniform(104, 132) * zoom
    for x in positions(-reach + dice.uniform(0, pitch), reach, pitch):
        extent, width = dice.uniform(110, 170) * zoom, dice.uniform(17, 26) * zoom
        berth = view.at(x, shore, -math.pi / 2)
        head = dice.choice((0.0, 0.0, width * 2.4))
        if not objects.harbor(berth, dice, extent, width, head):
            continue
        for side in (1, -1):
            if dice.chance(0.6):
                size = dice.uniform(80, 118) * zoom
                y, turn = side * (width / 2 + size * 0.105 + 1.5), dice.choice((0.0, math.pi))
                objects.ship(berth.at(extent * 0.47, y, turn, size), dice)
    _sail(view, dice, dice.integer(3, 6), zoom)
    _waterfront(view, dice, shore, zoom, tanks=True)


def river(view: Frame, dice: Dice, zoom: float) -> None:
    """Draw a river with bridges, ships below them and vehicles on them."""
    reach = view.canvas.reach
    if dice.chance(0.4):
        grounds.fields(view, dice)
    else:
        grounds.cover(view, dice.choice(_LAND), dice)
    half = dice.uniform(44, 72) * zoom
    sway, wave, phase = dice.uniform(0, 10) * zoom, dice.uniform(110, 200) * zoom, dice.uniform(0, 6.28)
    middle = dice.uniform(-40, 40)

    def bank(x: float, side: int) -> float:
        return middle + side * (half + sway * math.sin(x / wave + phase + side))

    xs = [-reach + i * 10 for i in range(int(reach / 5) + 2)]
    for margin, material in ((5.0, Material.SOIL), (0.0, Material.WATER)):
        shape = [(x, bank(x, 1) + margin) for x in xs] + [(x, bank(x, -1) - margin) for x in reversed(xs)]
        grounds.cover(view, material, dice, shape)

    def gap() -> float:  # some bridges are in pairs
        return dice.choice((dice.uniform(48, 60), dice.uniform(84, 140), dice.uniform(84, 140))) * zoom

    west = -0.62 * reach + dice.uniform(0, 50)
    crossings = [(x, dice.uniform(22, 34) * zoom) for x in positions(west, 0.66 * reach, gap)]
    for _ in range(dice.integer(2, 5)):
        size = dice.uniform(48, 80) * zoom
        x, offset = dice.uniform(-0.8, 0.8) * reach, dice.choice((-0.45, 0.45))
        objects.ship(view.at(x, middle + offset * half, dice.choice((0.0, math.pi)), size), dice, sailing=True)
    for x, width in crossings:
        south = max(bank(x - width / 2, 1), bank(x + width / 2, 1)) + 4
        north = min(bank(x - width / 2, -1), bank(x + width / 2, -1)) - 4
        lane, railway = view.at(x, (south + north) / 2, math.pi / 2), dice.chance(0.2)
        span = south - north
        if not objects.bridge(lane, dice, span, width, railway=railway):
            continue  # the bridge would hide a ship or be hardly visible
        for side in (1, -1):
            piece = lane.at(side * (span / 2 + reach), 0)
            if railway:
                grounds.railway(piece, dice, 2 * reach, width * 0.6)
            else:
                grounds.road(piece, dice, 2 * reach, width - 5)
        if railway:
            continue
        for along in positions(-reach, reach, 34 * zoom):
            size = dice.uniform(15, 19) * zoom
            if dice.chance(0.3):
                truck = dice.chance(0.15)
                way = dice.choice((1, -1))
                car = lane.at(along, way * width * 0.2, 0.0 if way > 0 else math.pi, size * (1.6 if truck else 1.0))
                objects.vehicle(car, dice, truck=truck, over=("bridge",))
    for _ in range(dice.integer(4, 14)):
        spot = view.at(dice.uniform(-1, 1) * reach, dice.uniform(-1, 1) * reach, dice.choice((0.0, 1.57)))
        grounds.house(spot, dice, dice.uniform(26, 44) * zoom, dice.uniform(20, 28) * zoom)
    _trees(view, dice, 40, zoom)


def tank_farm(view: Frame, dice: Dice, zoom: float) -> None:
    """Draw storage tanks in walled blocks, with pipes and service roads between them."""
    reach = view.canvas.reach
    grounds.cover(view, dice.choice((Material.SOIL, Material.GRASS, Material.CONCRETE)), dice)
    dense = dice.chance(0.45)
    block = dice.uniform(120, 160) * zoom
    street = 22 * zoom
    asphalt = grounds.colour_of(Material.ASPHALT, dice)
    lanes = []
    for y in positions(-reach, reach, block + street):
        lanes.append(y - street / 2)
        grounds.road(view.at(0, y - street / 2), dice, 2 * reach, street - 8, asphalt)
        for x, width in spans(-reach, reach, lambda: block * dice.uniform(0.9, 1.25)):
            _tank_block(view.at(x + width / 2, y + block / 2), dice, width - 8, block - 8, zoom, dense)
    for lane in lanes:
        for _ in range(4):
            way = dice.choice((0.0, math.pi))
            spot = view.at(dice.uniform(-1, 1) * reach, lane + (3.5 if way else -3.5), way, dice.uniform(15, 18) * zoom)
            objects.vehicle(spot, dice, truck=dice.chance(0.2))
    _trees(view, dice, 8, zoom)


def _tank_block(frame: Frame, dice: Dice, width: float, height: float, zoom: float, dense: bool) -> None:
    floor = grounds.colour_of(dice.choice((Material.SOIL, Material.CONCRETE, Material.GRASS)), dice)
    frame.paint(centred(width, height), (128, 124, 116), Material.SOIL)
    frame.paint(centred(width - 5, height - 5), floor)
    if dice.chance(0.12):
        grounds.warehouse(frame, dice, width * 0.7, height * 0.6)
        return
    if dense:
        radius = dice.uniform(9, 12) * zoom
    else:
        radius = dice.choice((dice.uniform(13, 18), dice.uniform(22, 30), dice.uniform(34, 44))) * zoom
    pitch = radius * dice.uniform(2.35, 2.7)
    columns, rows = max(1, int((width - 6) / pitch)), max(1, int((height - 6) / pitch))
    colour = dice.choice(colours.TANK)
    for i in range(rows):
        y = (i - (rows - 1) / 2) * height / rows
        frame.line([(-width / 2, y + radius * 0.2), (width / 2, y + radius * 0.2)], 1.4, (150, 140, 130))
        for j in range(columns):
            if dice.chance(0.93):
                tank = frame.at((j - (columns - 1) / 2) * width / columns, y, 0.0, radius)
                objects.storage_tank(tank, dice, colour if dice.chance(0.85) else None)


def _sports(view: Frame, dice: Dice, zoom: float, bag: tuple[str, ...], rows: tuple[float, float] = (112, 150)) -> None:
    """Draw rows of facilities (heights in `rows`), taken from a bag that is refilled when empty."""
    reach = view.canvas.reach
    grounds.cover(view, dice.choice((Material.GRASS, Material.GRASS, Material.SOIL)), dice)
    waiting: list[str] = []
    y = -reach + dice.uniform(0, 60)
    while y < reach:
        height = dice.uniform(*rows) * zoom
        x = -reach + dice.uniform(0, 60)
        while x < reach:
            waiting = waiting or dice.shuffled(bag)
            x += _facility(view.at(x, y + height / 2), dice, height, zoom, waiting) + dice.uniform(12, 22) * zoom
        y += height + dice.uniform(12, 20) * zoom
        if dice.chance(0.4):
            asphalt = grounds.road(view.at(0, y + 8 * zoom), dice, 2 * reach, 26 * zoom)
            _traffic(view.at(0, y + 8 * zoom), dice, 26 * zoom, zoom, 0.35)
            view.line([(-reach, y - 7 * zoom), (reach, y - 7 * zoom)], 2.0, darker(asphalt, 1.3))
            y += 34 * zoom
    for _ in range(8):
        spot = view.at(dice.uniform(-1, 1) * reach, dice.uniform(-1, 1) * reach)
        grounds.house(spot, dice, dice.uniform(24, 40) * zoom, dice.uniform(18, 26) * zoom)
    _trees(view, dice, 70, zoom)
    _overhang(view, dice, 3, zoom)


def _facility(frame: Frame, dice: Dice, height: float, zoom: float, waiting: list[str]) -> float:
    """Draw the next facility right of the frame, and remove it from the list if it is visible. Returns its width."""
    kind, before = waiting.pop(0), len(frame.canvas.labels)
    if kind == "track":
        width = height * 1.9
        objects.track_field(frame.at(width / 2, 0, dice.choice((0.0, math.pi)), width), dice)
    elif kind == "baseball":
        width = height * 1.06
        side, end = dice.choice((1, -1)), dice.choice((1, -1))  # home plate in one corner, the field opens to the other
        turn = math.atan2(-end, -side)
        home = frame.at(width * (0.5 + 0.39 * side), height * 0.42 * end, turn, height * 0.9)
        objects.baseball_field(home, dice)
    elif kind == "parking":
        width = height * 0.9
        lot = frame.at(width / 2, 0)
        grounds.cover(lot, Material.ASPHALT, dice, centred(width, height))
        for row in (-0.32, 0.04, 0.32):
            _bays(lot.at(0, row * height), dice, width - 8, zoom, 0.6)
    else:
        width = _courts(frame, dice, height, kind)
    if len(frame.canvas.labels) == before and kind != "parking":
        waiting.append(kind)
    return width


def _courts(frame: Frame, dice: Dice, height: float, kind: str) -> float:
    """Draw courts side by side, the long side across the row; some share a surface. Returns the width of the row."""
    rows = 1 if height < 120 or dice.chance(0.4) else 2
    length = height / rows - 6
    pad = dice.choice((1.0, 1.04, 1.14))
    tennis, basketball = objects.court_colours(dice), objects.floor_colours(dice)
    if rows == 2:  # long side along the row
        columns, pitch, turn = dice.integer(1, 2), length * 2 * pad, 0.0
        scale = min(length / 0.56, length * 2) * 0.96
    else:
        columns, pitch, turn = dice.integer(2, 3), length * 0.56 * pad, math.pi / 2
        scale = length
    for j in range(columns):
        for i in range(rows):
            spot = frame.at(pitch * (j + 0.5), (i - (rows - 1) / 2) * height / rows, turn, scale)
            if kind == "tennis" or (kind == "courts" and j % 2 == 0):
                objects.tennis_court(spot, dice, tennis)
            else:
                objects.basketball_court(spot, dice, basketball)
    return pitch * columns


def car_park(view: Frame, dice: Dice, zoom: float) -> None:
    """Draw rows of parked cars between buildings."""
    reach = view.canvas.reach
    grounds.cover(view, dice.choice(_LAND), dice)
    side = 0.42 * min(view.canvas.width, view.canvas.height) * dice.uniform(0.8, 1.15)
    shift = dice.uniform(-0.15, 0.15) * reach
    grounds.cover(view, Material.ASPHALT, dice, rectangle(-side * 1.25, shift - side, side * 1.25, shift + side))
    depth = 24 * zoom
    share = dice.uniform(0.45, 0.9)
    y = shift - side + depth * 0.6
    while y < shift + side - depth * 0.5:
        _bays(view.at(0, y), dice, side * 2.4, zoom, share)
        y += depth * 1.04
        if y < shift + side - depth * 0.5:
            _bays(view.at(0, y), dice, side * 2.4, zoom, share)
        y += depth * dice.uniform(1.9, 2.1)
    grounds.road(view.at(0, shift + side + 26 * zoom), dice, 2 * reach, 26 * zoom)
    _traffic(view.at(0, shift + side + 26 * zoom), dice, 26 * zoom, zoom, 0.3)
    for x in range(-3, 4):
        grounds.warehouse(view.at(x * 140, shift - side - 60), dice, 120, dice.uniform(60, 90))
        if dice.chance(0.4):
            objects.basketball_court(view.at(x * 140, shift + side + 90 * zoom, 0.0, 110 * zoom), dice)
    _trees(view, dice, 50, zoom)
    _overhang(view, dice, 6, zoom)


def residential(view: Frame, dice: Dice, zoom: float) -> None:
    """Draw streets, houses with gardens, parked and moving vehicles, and a few courts."""
    reach = view.canvas.reach
    grounds.cover(view, Material.GRASS, dice)
    width, block = 28 * zoom, dice.uniform(120, 150) * zoom
    rows = list(positions(-reach + dice.uniform(0, block), reach, block))
    lanes = [*(view.at(0, y) for y in rows), view.at(dice.uniform(-0.3, 0.3) * reach, 0, math.pi / 2)]
    asphalt = grounds.colour_of(Material.ASPHALT, dice)
    for lane in lanes:
        asphalt = grounds.road(lane, dice, 2 * reach, width, asphalt)
    for lane in lanes:
        _traffic(lane, dice, width, zoom, 0.5)
    for y in rows:
        for garden in (y + 0.29 * block, y + 0.71 * block):
            for x in positions(-reach, reach, lambda: dice.uniform(52, 70) * zoom):
                spot = view.at(x, garden, dice.choice((0.0, 1.57)))
                if not dice.chance(0.12):
                    grounds.house(spot, dice, dice.uniform(30, 44) * zoom, dice.uniform(22, 32) * zoom)
                    continue
                court = dice.choice((objects.basketball_court, objects.tennis_court))
                if spot.is_free(rectangle(-40, -25, 40, 25), Material.GRASS):
                    court(view.at(x, garden, 0.0, 84 * zoom), dice)
    _trees(view, dice, 90, zoom)
    _overhang(view, dice, 7, zoom)


def empty(view: Frame, dice: Dice, zoom: float) -> None:
    """Draw a scene without objects: farmland, open water, a forest or roofs."""
    reach = view.canvas.reach
    kind = dice.choice(("fields", "water", "forest", "roofs"))
    if kind == "water":
        grounds.cover(view, Material.WATER, dice)
    elif kind == "fields":
        grounds.fields(view, dice)
        if dice.chance(0.6):
            grounds.road(view.at(0, dice.uniform(-80, 80)), dice, 2 * reach, 16 * zoom)
        _trees(view, dice, 30, zoom)
    elif kind == "forest":
        grounds.cover(view, Material.GRASS, dice)
        _trees(view, dice, 420, zoom)
    else:
        grounds.cover(view, Material.CONCRETE, dice)
        for y in positions(-reach, reach, 78):
            for x, width in spans(-reach, reach, lambda: dice.uniform(60, 120)):
                grounds.warehouse(view.at(x + width / 2, y + 35), dice, width - 10, dice.uniform(45, 66))


def load_test(canvas: Canvas, dice: Dice, count: int) -> None:
    """Draw about `count` small objects on a grid of pads, to measure speed and memory."""
    boat = partial(objects.ship, boat=True)
    painters: tuple[Callable[[Frame, Dice], None], ...] = (
        objects.vehicle,
        objects.storage_tank,
        boat,
        objects.airplane,
        objects.tennis_court,
        objects.basketball_court,
    )
    columns = math.ceil(math.sqrt(count))
    cell = canvas.width / columns
    grounds.cover(Frame(canvas), Material.SOIL, dice)
    for number in range(count):
        pad = Frame(canvas, (number % columns + 0.5) * cell, (number // columns + 0.5) * cell)
        painter = dice.choice(painters)
        material = Material.WATER if painter is boat else Material.ASPHALT
        grounds.cover(pad, material, dice, centred(cell * 0.96, cell * 0.96))
        scale = cell * (0.36 if painter is objects.storage_tank else 0.8)
        painter(pad.at(0, 0, dice.integer(0, 3) * math.pi / 2, scale), dice)


def _coast(view: Frame, dice: Dice, shore: float) -> float:
    """Draw water above the line y = shore of the frame, and land with a quay below; returns the line."""
    reach = view.canvas.reach
    grounds.cover(view, Material.WATER, dice)
    grounds.cover(view, dice.choice(_LAND), dice, rectangle(-2 * reach, shore, 2 * reach, 2 * reach))
    grounds.cover(view, Material.ASPHALT, dice, rectangle(-2 * reach, shore, 2 * reach, shore + 34))
    view.line([(-2 * reach, shore + 1), (2 * reach, shore + 1)], 2.4, (70, 72, 74))
    return shore


def _sail(view: Frame, dice: Dice, count: int, zoom: float, boats: bool = False) -> None:
    """Draw ships under way, clear of all existing objects."""
    reach = view.canvas.reach
    for _ in range(count):
        spot = view.at(dice.uniform(-0.9, 0.9) * reach, dice.uniform(-0.95, 0.1) * reach, dice.uniform(0, 6.28))
        size = (dice.uniform(22, 34) if boats else dice.choice((dice.uniform(26, 44), dice.uniform(70, 120)))) * zoom
        if spot.is_free(rectangle(-size * 0.8, -size * 0.3, size * 0.65, size * 0.3), Material.WATER):
            objects.ship(spot.at(0, 0, 0.0, size), dice, boat=size < 48 * zoom, sailing=True)


def _waterfront(view: Frame, dice: Dice, shore: float, zoom: float, tanks: bool) -> None:
    """Draw the land behind a quay: parked vehicles, then tanks or warehouses, then trees."""
    reach = view.canvas.reach
    _traffic(view.at(0, shore + 19), dice, 26, zoom, 0.3)
    for x, width in spans(-reach, reach, lambda: dice.uniform(90, 130) * zoom):
        if tanks and dice.chance(0.75):
            _tank_block(view.at(x + width / 2, shore + 40 + width / 2), dice, width - 8, width - 8, zoom, dense=False)
        else:
            grounds.warehouse(view.at(x + width / 2, shore + 46 + width / 4), dice, width - 16, width * 0.5)
    _trees(view, dice, 40, zoom)


def _traffic(lane: Frame, dice: Dice, width: float, zoom: float, density: float) -> None:
    """Draw vehicles in both directions of a road along x."""
    reach = lane.canvas.reach
    for way, turn in ((1, 0.0), (-1, math.pi)):
        for x in positions(-reach, reach, lambda: dice.uniform(38, 60) * zoom):
            if dice.chance(density):
                truck = dice.chance(0.15)
                size = dice.uniform(16, 20) * zoom * (1.7 if truck else 1.0)
                objects.vehicle(lane.at(x, way * width * 0.25, turn, size), dice, truck=truck)


def _bays(frame: Frame, dice: Dice, length: float, zoom: float, share: float) -> None:
    """Draw a row of parking bays along x, some of them occupied."""
    bay, depth = 12.5 * zoom, 23 * zoom
    count = int(length / bay)
    for i in range(count + 1):
        x = (i - count / 2) * bay
        frame.line([(x, -depth / 2), (x, depth / 2)], 0.8, (226, 224, 214))
        if i < count and dice.chance(share):
            way = dice.choice((1, -1)) * math.pi / 2
            spot = frame.at(x + bay / 2, dice.uniform(-1, 1), way + dice.uniform(-0.04, 0.04))
            objects.vehicle(spot.at(0, 0, 0.0, dice.uniform(17.5, 20.5) * zoom), dice)


def _trees(view: Frame, dice: Dice, count: int, zoom: float) -> None:
    """Draw trees on free land, some in groups."""
    canvas, x, y = view.canvas, 0.0, 0.0
    for i in range(count):
        if i % 4 == 0 or dice.chance(0.3):
            x, y = dice.uniform(0, canvas.width), dice.uniform(0, canvas.height)
        radius = dice.uniform(5, 12) * zoom
        x, y = x + dice.uniform(-24, 24), y + dice.uniform(-24, 24)
        grounds.tree(Frame(canvas, x, y), dice, radius)


def _overhang(view: Frame, dice: Dice, count: int, zoom: float) -> None:
    """Draw trees at the edge of objects on land, which they partly hide."""
    from scipy import ndimage  # needed here alone, and every process of a method imports this module

    boxes = ndimage.find_objects(view.canvas.instances)
    for _ in range(count if boxes else 0):
        rows, columns = dice.choice(boxes)
        angle, radius = dice.uniform(0, 2 * math.pi), dice.uniform(7, 11) * zoom
        x = (columns.start + columns.stop) / 2 + math.cos(angle) * (columns.stop - columns.start) * 0.5
        y = (rows.start + rows.stop) / 2 + math.sin(angle) * (rows.stop - rows.start) * 0.5
        grounds.tree(Frame(view.canvas, x, y), dice, radius, keep=0.6)


_PARK = ("track", "baseball", "tennis", "basketball", "courts", "parking", "baseball", "tennis", "basketball")
_BALLPARK = ("baseball", "baseball", "baseball", "parking", "baseball", "basketball")
_STADIUM = ("track", "track", "courts", "track", "tennis", "track", "parking")

# how many of every 48 images are of each kind, so that each category has enough instances in a test split
KINDS: dict[str, tuple[int, Layout]] = {
    "airport": (6, airport),
    "marina": (3, marina),
    "port": (5, port),
    "river": (7, river),
    "tank_farm": (3, tank_farm),
    "sports": (6, partial(_sports, bag=_PARK)),
    "ballpark": (3, partial(_sports, bag=_BALLPARK)),
    "stadium": (6, partial(_sports, bag=_STADIUM, rows=(88, 116))),
    "car_park": (3, car_park),
    "residential": (3, residential),
    "empty": (3, empty),
}
