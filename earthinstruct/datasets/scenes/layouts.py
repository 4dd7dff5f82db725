"""The kinds of scenes: where grounds and objects are placed.

Each layout draws from the ground up, in a frame with a random rotation around the centre of the image. The canvas
refuses objects that would lie outside or be hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from earthinstruct.datasets.scenes import grounds, objects
from earthinstruct.datasets.scenes.canvas import Canvas, Dice, Frame, Material, rectangle
from earthinstruct.datasets.scenes.colours import TANK_COLOURS, WHITE, darker

Layout = Callable[[Canvas, Frame, Dice, float], None]

_LAND = (Material.GRASS, Material.SOIL)


def airport(canvas: Canvas, view: Frame, dice: Dice, zoom: float) -> None:
    """Draw a runway or a terminal with parked airplanes."""
    reach = canvas.reach
    grounds.cover(canvas, dice.choice(_LAND), dice)
    tarmac = grounds.colour_of(dice.choice((Material.ASPHALT, Material.CONCRETE)), dice)
    length = dice.uniform(62, 112) * zoom
    near = dice.uniform(-0.15, 0.05) * reach  # the apron is beyond this line, the runway before it
    taxiway, runway = near - 0.3 * reach, near - 0.3 * reach - dice.uniform(58, 74) * zoom
    strip = grounds.colour_of(Material.ASPHALT, dice)
    half = 26 * zoom
    grounds.cover(
        canvas, Material.ASPHALT, dice, view.points(rectangle(-reach, runway - half, reach, runway + half)), strip
    )
    for y in (runway - half + 3, runway + half - 3):
        canvas.line(view.points([(-reach, y), (reach, y)]), 1.4, WHITE)
    x = -reach
    while x < reach:
        canvas.line(view.points([(x, runway), (x + 22, runway)]), 2.0, WHITE)
        x += 40
    for i in range(-4, 4):
        bar = rectangle(
            -0.3 * reach, runway + (i + 0.25) * 5.2 * zoom, -0.3 * reach + 34, runway + (i + 0.75) * 5.2 * zoom
        )
        canvas.paint(view.points(bar), WHITE)
    grounds.cover(
        canvas, Material.ASPHALT, dice, view.points(rectangle(-reach, taxiway - 11, reach, taxiway + 11)), strip
    )
    canvas.paint(view.points(rectangle(-reach, near, reach, reach)), tarmac, Material.CONCRETE)
    for x in (-0.45 * reach, 0.35 * reach):
        grounds.cover(canvas, Material.ASPHALT, dice, view.points(rectangle(x - 12, runway, x + 12, near + 2)), strip)
        canvas.line(view.points([(x, runway + half), (x, near)]), 1.2, (214, 180, 60))
    canvas.line(view.points([(-reach, taxiway), (reach, taxiway)]), 1.2, (214, 180, 60))

    y = near + length * 0.7
    for _ in range(dice.integer(1, 3)):
        x = -reach + dice.uniform(0, length)
        turn = dice.choice((math.pi / 2, -math.pi / 2)) + dice.choice((0.0, 0.0, 0.35))
        while x < reach:
            size = length * dice.choice((1.0, 1.0, 0.85, 0.7))
            canvas.line(view.points([(x, y - length * 0.65), (x, y + length * 0.5)]), 1.0, (214, 180, 60))
            if dice.chance(0.92):
                objects.airplane(canvas, view.at(x, y, turn + dice.uniform(-0.05, 0.05), size), dice)
            if dice.chance(0.6):
                cart = view.at(
                    x + length * 0.52,
                    y + dice.uniform(-0.3, 0.3) * length,
                    dice.choice((0.0, 1.57)),
                    dice.uniform(15, 19) * zoom,
                )
                objects.vehicle(canvas, cart, dice, truck=dice.chance(0.3))
            x += length * dice.uniform(1.12, 1.3)
        y += length * 1.2
    x = -reach
    while x < reach:
        grounds.warehouse(canvas, view.at(x + 60, y + 25), dice, 115, dice.uniform(45, 70))
        x += 130
    land = view.points(rectangle(-2 * reach, y + 64, 2 * reach, y + 2 * reach))
    grounds.cover(canvas, dice.choice(_LAND), dice, land)
    grounds.road(canvas, view.at(0, y + 84), dice, 4 * reach, 26 * zoom)
    _traffic(canvas, view.at(0, y + 84), dice, reach, 26 * zoom, zoom, 0.35)
    if dice.chance(0.6):
        objects.airplane(
            canvas, view.at(dice.uniform(-0.4, 0.5) * reach, runway, dice.choice((0.0, math.pi)), length), dice
        )
    if dice.chance(0.5):
        objects.airplane(
            canvas, view.at(dice.uniform(-0.4, 0.4) * reach, taxiway, dice.choice((0.0, math.pi)), length * 0.7), dice
        )
    _trees(canvas, dice, 10, zoom)


def marina(canvas: Canvas, view: Frame, dice: Dice, zoom: float) -> None:
    """Draw long piers with more than a hundred small boats on both sides."""
    reach = canvas.reach
    shore = _coast(canvas, view, dice, dice.uniform(0.3, 0.42) * min(canvas.width, canvas.height))
    length = dice.uniform(22, 26) * zoom
    pitch, pier = length * 2 + 11 * zoom + dice.uniform(16, 24) * zoom, 11 * zoom
    x = -reach + dice.uniform(0, pitch)
    while x < reach:
        extent = dice.uniform(250, 330) * zoom
        berth = view.at(x, shore, -math.pi / 2)
        head = dice.choice((0.0, 0.0, pier * 3.2))
        if objects.harbor(canvas, berth, dice, extent, pier, head):
            for side in (1, -1):
                along = 14 * zoom
                while along < extent - (pier + length * 0.4):
                    step = length * dice.uniform(0.44, 0.52)
                    if dice.chance(0.88):
                        size = length * dice.uniform(0.85, 1.0)
                        boat = berth.at(
                            along,
                            side * (pier / 2 + size * 0.52),
                            side * math.pi / 2 + dice.choice((0.0, math.pi)),
                            size,
                        )
                        objects.ship(canvas, boat, dice, boat=True)
                    along += step
        x += pitch
    _sail(canvas, view, dice, 3, zoom, boats=True)
    _waterfront(canvas, view, dice, shore, zoom, tanks=False)


def port(canvas: Canvas, view: Frame, dice: Dice, zoom: float) -> None:
    """Draw a quay with piers, ships at the piers and under way, and tanks and warehouses on land."""
    reach = canvas.reach
    shore = _coast(canvas, view, dice, dice.uniform(0.0, 0.2) * min(canvas.width, canvas.height))
    pitch = dice.uniform(104, 132) * zoom
    x = -reach + dice.uniform(0, pitch)
    while x < reach:
        extent, width = dice.uniform(110, 170) * zoom, dice.uniform(17, 26) * zoom
        berth = view.at(x, shore, -math.pi / 2)
        head = dice.choice((0.0, 0.0, width * 2.4))
        if objects.harbor(canvas, berth, dice, extent, width, head):
            for side in (1, -1):
                if dice.chance(0.6):
                    size = dice.uniform(80, 118) * zoom
                    place = berth.at(
                        extent * 0.47, side * (width / 2 + size * 0.105 + 1.5), dice.choice((0.0, math.pi)), size
                    )
                    objects.ship(canvas, place, dice)
        x += pitch
    _sail(canvas, view, dice, dice.integer(3, 6), zoom)
    _waterfront(canvas, view, dice, shore, zoom, tanks=True)


def river(canvas: Canvas, view: Frame, dice: Dice, zoom: float) -> None:
    """Draw a river with bridges, ships below them and vehicles on them."""
    reach = canvas.reach
    if dice.chance(0.4):
        grounds.fields(canvas, view, dice, reach)
    else:
        grounds.cover(canvas, dice.choice(_LAND), dice)
    half = dice.uniform(44, 72) * zoom
    sway, wave, phase = dice.uniform(0, 10) * zoom, dice.uniform(110, 200) * zoom, dice.uniform(0, 6.28)
    middle = dice.uniform(-40, 40)

    def bank(x: float, side: int) -> float:
        return middle + side * (half + sway * math.sin(x / wave + phase + side))

    xs = [-reach + i * 10 for i in range(int(reach / 5) + 2)]
    for margin, material in ((5.0, Material.SOIL), (0.0, Material.WATER)):
        shape = [(x, bank(x, 1) + margin) for x in xs] + [(x, bank(x, -1) - margin) for x in reversed(xs)]
        grounds.cover(canvas, material, dice, view.points(shape))

    crossings, x = [], -0.62 * reach + dice.uniform(0, 50)
    while x < 0.66 * reach:
        crossings.append((x, dice.uniform(22, 34) * zoom))
        x += dice.choice((dice.uniform(48, 60), dice.uniform(84, 140), dice.uniform(84, 140))) * zoom  # some in pairs
    for _ in range(dice.integer(2, 5)):
        size = dice.uniform(48, 80) * zoom
        x, offset = dice.uniform(-0.8, 0.8) * reach, dice.choice((-0.45, 0.45))
        objects.ship(canvas, view.at(x, middle + offset * half, dice.choice((0.0, math.pi)), size), dice, sailing=True)
    for x, width in crossings:
        south = max(bank(x - width / 2, 1), bank(x + width / 2, 1)) + 4
        north = min(bank(x - width / 2, -1), bank(x + width / 2, -1)) - 4
        lane, railway = view.at(x, (south + north) / 2, math.pi / 2), dice.chance(0.2)
        span = south - north
        if not objects.bridge(canvas, lane, dice, span, width, railway=railway):
            continue  # the bridge would hide a ship or be hardly visible
        for side in (1, -1):
            piece = lane.at(side * (span / 2 + reach), 0)
            if railway:
                grounds.railway(canvas, piece, dice, 2 * reach, width * 0.6)
            else:
                grounds.road(canvas, piece, dice, 2 * reach, width - 5)
        along = reach if railway else -reach
        while along < reach:
            size = dice.uniform(15, 19) * zoom
            if dice.chance(0.3):
                truck = dice.chance(0.15)
                way = dice.choice((1, -1))
                car = lane.at(along, way * width * 0.2, 0.0 if way > 0 else math.pi, size * (1.6 if truck else 1.0))
                objects.vehicle(canvas, car, dice, truck=truck, over=("bridge",))
            along += 34 * zoom
    for _ in range(dice.integer(4, 14)):
        spot = view.at(dice.uniform(-1, 1) * reach, dice.uniform(-1, 1) * reach, dice.choice((0.0, 1.57)))
        grounds.house(canvas, spot, dice, dice.uniform(26, 44) * zoom, dice.uniform(20, 28) * zoom)
    _trees(canvas, dice, 40, zoom)


def tank_farm(canvas: Canvas, view: Frame, dice: Dice, zoom: float) -> None:
    """Draw storage tanks in walled blocks, with pipes and service roads between them."""
    reach = canvas.reach
    grounds.cover(canvas, dice.choice((Material.SOIL, Material.GRASS, Material.CONCRETE)), dice)
    dense = dice.chance(0.45)
    block = dice.uniform(120, 160) * zoom
    street = 22 * zoom
    y = -reach
    asphalt = grounds.colour_of(Material.ASPHALT, dice)
    lanes = []
    while y < reach:
        lanes.append(y - street / 2)
        grounds.road(canvas, view.at(0, y - street / 2), dice, 2 * reach, street - 8, asphalt)
        x = -reach
        while x < reach:
            width = block * dice.uniform(0.9, 1.25)
            _tank_block(canvas, view.at(x + width / 2, y + block / 2), dice, width - 8, block - 8, zoom, dense)
            x += width
        y += block + street
    for lane in lanes:
        for _ in range(4):
            way = dice.choice((0.0, math.pi))
            spot = view.at(dice.uniform(-1, 1) * reach, lane + (3.5 if way else -3.5), way, dice.uniform(15, 18) * zoom)
            objects.vehicle(canvas, spot, dice, truck=dice.chance(0.2))
    _trees(canvas, dice, 8, zoom)


def _tank_block(
    canvas: Canvas, frame: Frame, dice: Dice, width: float, height: float, zoom: float, dense: bool
) -> None:
    floor = grounds.colour_of(dice.choice((Material.SOIL, Material.CONCRETE, Material.GRASS)), dice)
    canvas.paint(
        frame.points(rectangle(-width / 2, -height / 2, width / 2, height / 2)), (128, 124, 116), Material.SOIL
    )
    canvas.paint(frame.points(rectangle(-width / 2 + 2.5, -height / 2 + 2.5, width / 2 - 2.5, height / 2 - 2.5)), floor)
    if dice.chance(0.12):
        grounds.warehouse(canvas, frame, dice, width * 0.7, height * 0.6)
        return
    radius = (
        dice.uniform(9, 12)
        if dense
        else dice.choice((dice.uniform(13, 18), dice.uniform(22, 30), dice.uniform(34, 44)))
    ) * zoom
    pitch = radius * dice.uniform(2.35, 2.7)
    columns, rows = max(1, int((width - 6) / pitch)), max(1, int((height - 6) / pitch))
    colour = dice.choice(TANK_COLOURS)
    for i in range(rows):
        y = (i - (rows - 1) / 2) * height / rows
        canvas.line(frame.points([(-width / 2, y + radius * 0.2), (width / 2, y + radius * 0.2)]), 1.4, (150, 140, 130))
        for j in range(columns):
            if dice.chance(0.93):
                tank = frame.at((j - (columns - 1) / 2) * width / columns, y, 0.0, radius)
                objects.storage_tank(canvas, tank, dice, colour if dice.chance(0.85) else None)


def sports(canvas: Canvas, view: Frame, dice: Dice, zoom: float) -> None:
    """Draw a sports complex: track, ball fields, courts, a car park."""
    _complex(
        canvas,
        view,
        dice,
        zoom,
        ("track", "baseball", "tennis", "basketball", "courts", "parking", "baseball", "tennis", "basketball"),
    )


def ballpark(canvas: Canvas, view: Frame, dice: Dice, zoom: float) -> None:
    """Draw several baseball fields and a car park."""
    _complex(canvas, view, dice, zoom, ("baseball", "baseball", "baseball", "parking", "baseball", "basketball"))


def stadium(canvas: Canvas, view: Frame, dice: Dice, zoom: float) -> None:
    """Draw running tracks with courts beside them."""
    _complex(canvas, view, dice, zoom, ("track", "track", "courts", "track", "tennis", "track", "parking"), (88, 116))


def _complex(
    canvas: Canvas, view: Frame, dice: Dice, zoom: float, bag: tuple[str, ...], rows: tuple[float, float] = (112, 150)
) -> None:
    reach = canvas.reach
    grounds.cover(canvas, dice.choice((Material.GRASS, Material.GRASS, Material.SOIL)), dice)
    waiting: list[str] = []
    y = -reach + dice.uniform(0, 60)
    while y < reach:
        height = dice.uniform(*rows) * zoom
        x = -reach + dice.uniform(0, 60)
        while x < reach:
            waiting = waiting or dice.shuffled(bag)
            x += (
                _facility(canvas, view.at(x, y + height / 2), dice, height, zoom, waiting) + dice.uniform(12, 22) * zoom
            )
        y += height + dice.uniform(12, 20) * zoom
        if dice.chance(0.4):
            asphalt = grounds.road(canvas, view.at(0, y + 8 * zoom), dice, 2 * reach, 26 * zoom)
            _traffic(canvas, view.at(0, y + 8 * zoom), dice, reach, 26 * zoom, zoom, 0.35)
            canvas.line(view.points([(-reach, y - 7 * zoom), (reach, y - 7 * zoom)]), 2.0, darker(asphalt, 1.3))
            y += 34 * zoom
    for _ in range(8):
        spot = view.at(dice.uniform(-1, 1) * reach, dice.uniform(-1, 1) * reach)
        grounds.house(canvas, spot, dice, dice.uniform(24, 40) * zoom, dice.uniform(18, 26) * zoom)
    _trees(canvas, dice, 70, zoom)
    _overhang(canvas, dice, 3, zoom)


def _facility(canvas: Canvas, frame: Frame, dice: Dice, height: float, zoom: float, waiting: list[str]) -> float:
    """Draw the next facility right of the frame, and remove it from the list if it is visible. Returns its width."""
    kind, before = waiting.pop(0), len(canvas.labels)
    if kind == "track":
        width = height * 1.9
        objects.track_field(canvas, frame.at(width / 2, 0, dice.choice((0.0, math.pi)), width), dice, least=0.62)
    elif kind == "baseball":
        width = height * 1.06
        side, end = dice.choice((1, -1)), dice.choice((1, -1))  # home plate in one corner, the field opens to the other
        turn = math.atan2(-end, -side)
        home = frame.at(width * (0.5 + 0.39 * side), height * 0.42 * end, turn, height * 0.9)
        objects.baseball_field(canvas, home, dice, least=0.62)
    elif kind == "parking":
        width = height * 0.9
        lot = frame.at(width / 2, 0)
        grounds.cover(
            canvas, Material.ASPHALT, dice, lot.points(rectangle(-width / 2, -height / 2, width / 2, height / 2))
        )
        for row in (-0.32, 0.04, 0.32):
            _bays(canvas, lot.at(0, row * height), dice, width - 8, zoom, 0.6)
    else:
        width = _courts(canvas, frame, dice, height, kind)
    if len(canvas.labels) == before and kind != "parking":
        waiting.append(kind)
    return width


def _courts(canvas: Canvas, frame: Frame, dice: Dice, height: float, kind: str) -> float:
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
                objects.tennis_court(canvas, spot, dice, tennis)
            else:
                objects.basketball_court(canvas, spot, dice, basketball)
    return pitch * columns


def car_park(canvas: Canvas, view: Frame, dice: Dice, zoom: float) -> None:
    """Draw rows of parked cars between buildings."""
    reach = canvas.reach
    grounds.cover(canvas, dice.choice(_LAND), dice)
    side = 0.42 * min(canvas.width, canvas.height) * dice.uniform(0.8, 1.15)
    shift = dice.uniform(-0.15, 0.15) * reach
    grounds.cover(
        canvas, Material.ASPHALT, dice, view.points(rectangle(-side * 1.25, shift - side, side * 1.25, shift + side))
    )
    depth = 24 * zoom
    share = dice.uniform(0.45, 0.9)
    y = shift - side + depth * 0.6
    while y < shift + side - depth * 0.5:
        _bays(canvas, view.at(0, y), dice, side * 2.4, zoom, share)
        y += depth * 1.04
        if y < shift + side - depth * 0.5:
            _bays(canvas, view.at(0, y), dice, side * 2.4, zoom, share)
        y += depth * dice.uniform(1.9, 2.1)
    grounds.road(canvas, view.at(0, shift + side + 26 * zoom), dice, 2 * reach, 26 * zoom)
    _traffic(canvas, view.at(0, shift + side + 26 * zoom), dice, reach, 26 * zoom, zoom, 0.3)
    for x in range(-3, 4):
        grounds.warehouse(canvas, view.at(x * 140, shift - side - 60), dice, 120, dice.uniform(60, 90))
        if dice.chance(0.4):
            objects.basketball_court(canvas, view.at(x * 140, shift + side + 90 * zoom, 0.0, 110 * zoom), dice)
    _trees(canvas, dice, 50, zoom)
    _overhang(canvas, dice, 6, zoom)


def residential(canvas: Canvas, view: Frame, dice: Dice, zoom: float) -> None:
    """Draw streets, houses with gardens, parked and moving vehicles, and a few courts."""
    reach = canvas.reach
    grounds.cover(canvas, Material.GRASS, dice)
    width, block = 28 * zoom, dice.uniform(120, 150) * zoom
    lanes: list[Frame] = []
    offset = dice.uniform(0, block)
    y = -reach + offset
    while y < reach:
        lanes.append(view.at(0, y))
        y += block
    x = dice.uniform(-0.3, 0.3) * reach
    lanes.append(view.at(x, 0, math.pi / 2))
    asphalt = grounds.colour_of(Material.ASPHALT, dice)
    for lane in lanes:
        asphalt = grounds.road(canvas, lane, dice, 2 * reach, width, asphalt)
    for lane in lanes:
        _traffic(canvas, lane, dice, reach, width, zoom, 0.5)
    y = -reach + offset
    while y < reach:
        for row in (0.29, 0.71):
            spot_x = -reach
            while spot_x < reach:
                spot = view.at(spot_x, y + row * block, dice.choice((0.0, 1.57)))
                if dice.chance(0.12):
                    court = dice.choice((objects.basketball_court, objects.tennis_court))
                    if canvas.is_free(spot.points(rectangle(-40, -25, 40, 25)), (Material.GRASS,)):
                        court(canvas, Frame(spot.x, spot.y, view.angle, 84 * zoom), dice)
                else:
                    grounds.house(canvas, spot, dice, dice.uniform(30, 44) * zoom, dice.uniform(22, 32) * zoom)
                spot_x += dice.uniform(52, 70) * zoom
        y += block
    _trees(canvas, dice, 90, zoom)
    _overhang(canvas, dice, 7, zoom)


def empty(canvas: Canvas, view: Frame, dice: Dice, zoom: float) -> None:
    """Draw a scene without objects: farmland, open water, a forest or roofs."""
    reach = canvas.reach
    kind = dice.choice(("fields", "water", "forest", "roofs"))
    if kind == "water":
        grounds.cover(canvas, Material.WATER, dice)
    elif kind == "fields":
        grounds.fields(canvas, view, dice, reach)
        if dice.chance(0.6):
            grounds.road(canvas, view.at(0, dice.uniform(-80, 80)), dice, 2 * reach, 16 * zoom)
        _trees(canvas, dice, 30, zoom)
    elif kind == "forest":
        grounds.cover(canvas, Material.GRASS, dice)
        _trees(canvas, dice, 420, zoom)
    else:
        grounds.cover(canvas, Material.CONCRETE, dice)
        y = -reach
        while y < reach:
            x = -reach
            while x < reach:
                width = dice.uniform(60, 120)
                grounds.warehouse(canvas, view.at(x + width / 2, y + 35), dice, width - 10, dice.uniform(45, 66))
                x += width
            y += 78


def load_test(canvas: Canvas, dice: Dice, count: int) -> None:
    """Draw about `count` small objects on a grid of pads, to measure speed and memory."""
    columns = max(1, math.ceil(math.sqrt(count)))
    cell = canvas.width / columns
    grounds.cover(canvas, Material.SOIL, dice)
    for number in range(count):
        x, y = (number % columns + 0.5) * cell, (number // columns + 0.5) * cell
        label = dice.choice(("vehicle", "storage_tank", "ship", "airplane", "tennis_court", "basketball_court"))
        material = Material.WATER if label == "ship" else Material.ASPHALT
        edge = cell * 0.48
        grounds.cover(canvas, material, dice, rectangle(x - edge, y - edge, x + edge, y + edge))
        turn = dice.integer(0, 3) * math.pi / 2
        spot = Frame(x, y, turn, cell * 0.8)
        if label == "vehicle":
            objects.vehicle(canvas, spot, dice)
        elif label == "storage_tank":
            objects.storage_tank(canvas, Frame(x, y, turn, cell * 0.36), dice)
        elif label == "ship":
            objects.ship(canvas, spot, dice, boat=True)
        elif label == "airplane":
            objects.airplane(canvas, spot, dice)
        elif label == "tennis_court":
            objects.tennis_court(canvas, spot, dice)
        else:
            objects.basketball_court(canvas, spot, dice)


def _coast(canvas: Canvas, view: Frame, dice: Dice, shore: float) -> float:
    """Draw water above the line y = shore of the frame, and land with a quay below; returns the line."""
    reach = canvas.reach
    grounds.cover(canvas, Material.WATER, dice)
    grounds.cover(canvas, dice.choice(_LAND), dice, view.points(rectangle(-2 * reach, shore, 2 * reach, 2 * reach)))
    quay = view.points(rectangle(-2 * reach, shore, 2 * reach, shore + 34))
    grounds.cover(canvas, Material.ASPHALT, dice, quay)
    canvas.line(view.points([(-2 * reach, shore + 1), (2 * reach, shore + 1)]), 2.4, (70, 72, 74))
    return shore


def _sail(canvas: Canvas, view: Frame, dice: Dice, count: int, zoom: float, boats: bool = False) -> None:
    """Draw ships under way, clear of all existing objects."""
    reach = canvas.reach
    for _ in range(count):
        spot = view.at(dice.uniform(-0.9, 0.9) * reach, dice.uniform(-0.95, 0.1) * reach, dice.uniform(0, 6.28))
        size = (dice.uniform(22, 34) if boats else dice.choice((dice.uniform(26, 44), dice.uniform(70, 120)))) * zoom
        around = spot.points(rectangle(-size * 0.8, -size * 0.3, size * 0.65, size * 0.3))
        if canvas.is_free(around, (Material.WATER,)):
            objects.ship(canvas, spot.at(0, 0, 0.0, size), dice, boat=size < 48 * zoom, sailing=True)


def _waterfront(canvas: Canvas, view: Frame, dice: Dice, shore: float, zoom: float, tanks: bool) -> None:
    """Draw the land behind a quay: parked vehicles, then tanks or warehouses, then trees."""
    reach = canvas.reach
    _traffic(canvas, view.at(0, shore + 19), dice, reach, 26, zoom, 0.3)
    x = -reach
    while x < reach:
        width = dice.uniform(90, 130) * zoom
        if tanks and dice.chance(0.75):
            _tank_block(
                canvas, view.at(x + width / 2, shore + 40 + width / 2), dice, width - 8, width - 8, zoom, dense=False
            )
        else:
            grounds.warehouse(canvas, view.at(x + width / 2, shore + 46 + width / 4), dice, width - 16, width * 0.5)
        x += width
    _trees(canvas, dice, 40, zoom)


def _traffic(canvas: Canvas, lane: Frame, dice: Dice, reach: float, width: float, zoom: float, density: float) -> None:
    """Draw vehicles in both directions of a road along x."""
    for way in (1, -1):
        x = -reach
        while x < reach:
            if dice.chance(density):
                truck = dice.chance(0.15)
                size = dice.uniform(16, 20) * zoom * (1.7 if truck else 1.0)
                objects.vehicle(
                    canvas, lane.at(x, way * width * 0.25, 0.0 if way > 0 else math.pi, size), dice, truck=truck
                )
            x += dice.uniform(38, 60) * zoom


def _bays(canvas: Canvas, frame: Frame, dice: Dice, length: float, zoom: float, share: float) -> None:
    """Draw a row of parking bays along x, some of them occupied."""
    bay, depth = 12.5 * zoom, 23 * zoom
    count = int(length / bay)
    for i in range(count + 1):
        x = (i - count / 2) * bay
        canvas.line(frame.points([(x, -depth / 2), (x, depth / 2)]), 0.8, (226, 224, 214))
        if i < count and dice.chance(share):
            way = dice.choice((1, -1)) * math.pi / 2
            spot = frame.at(
                x + bay / 2, dice.uniform(-1, 1), way + dice.uniform(-0.04, 0.04), dice.uniform(17.5, 20.5) * zoom
            )
            objects.vehicle(canvas, spot, dice)


def _trees(canvas: Canvas, dice: Dice, count: int, zoom: float) -> None:
    """Draw trees on free land, some in groups."""
    x, y = 0.0, 0.0
    for i in range(count):
        if i % 4 == 0 or dice.chance(0.3):
            x, y = dice.uniform(0, canvas.width), dice.uniform(0, canvas.height)
        radius = dice.uniform(5, 12) * zoom
        x, y = x + dice.uniform(-24, 24), y + dice.uniform(-24, 24)
        grounds.tree(canvas, x, y, radius, dice)


def _overhang(canvas: Canvas, dice: Dice, count: int, zoom: float) -> None:
    """Draw trees at the edge of objects on land, which they partly hide."""
    boxes = canvas.boxes()
    for _ in range(count if boxes else 0):
        x0, y0, x1, y1 = dice.choice(boxes)
        angle, radius = dice.uniform(0, 2 * math.pi), dice.uniform(7, 11) * zoom
        x, y = (x0 + x1) / 2 + math.cos(angle) * (x1 - x0) * 0.5, (y0 + y1) / 2 + math.sin(angle) * (y1 - y0) * 0.5
        grounds.tree(canvas, x, y, radius, dice, keep=0.6)


LAYOUTS: dict[str, Layout] = {
    "airport": airport,
    "marina": marina,
    "port": port,
    "river": river,
    "tank_farm": tank_farm,
    "sports": sports,
    "ballpark": ballpark,
    "stadium": stadium,
    "car_park": car_park,
    "residential": residential,
    "empty": empty,
}
