"""The words of the small CLIP and the small counter: ten categories, their synonyms, their parents, and background."""

from __future__ import annotations

from earthinstruct.tasks import normalised

# category -> names of the same thing
SYNONYMS: dict[str, tuple[str, ...]] = {
    "airplane": ("plane", "aircraft", "jet", "aeroplane", "airliner", "passenger plane", "parked airplane"),
    "ship": ("boat", "vessel", "yacht", "cargo ship", "motorboat", "sailboat", "small boat", "watercraft"),
    "storage_tank": ("tank", "oil tank", "fuel tank", "storage silo", "oil storage tank", "petroleum tank"),
    "baseball_field": ("baseball diamond", "ball field", "baseball pitch", "softball field", "ballpark"),
    "tennis_court": ("tennis field", "court for tennis", "tennis ground"),
    "basketball_court": ("basketball field", "court for basketball", "basketball ground"),
    "track_field": (
        "football track",
        "ground track field",
        "running track",
        "athletics track",
        "track and field",
        "athletic field",
        "race track",
    ),
    "harbor": ("pier", "dock", "jetty", "harbour", "wharf", "boat dock"),
    "bridge": ("overbridge", "river crossing", "road bridge", "railway bridge", "footbridge"),
    "vehicle": ("car", "truck", "van", "automobile", "parked car", "lorry", "small vehicle", "motor vehicle"),
}
CATEGORIES: tuple[str, ...] = tuple(SYNONYMS)

PARENTS: dict[str, tuple[str, ...]] = {
    "sports field": ("baseball_field", "tennis_court", "basketball_court", "track_field"),
    "means of transport": ("airplane", "ship", "vehicle"),
}
PARENT_SYNONYMS: dict[str, tuple[str, ...]] = {
    "sports field": ("sports ground", "playing field", "sports facility"),
    "means of transport": ("transport", "means of transportation", "mode of transport"),
}

# what a proposal that fits no object may show
BACKGROUND_WORDS: tuple[str, ...] = (
    *("background", "grass", "road", "water", "tree", "roof", "building", "house", "car park", "parking lot", "shadow"),
    *("bare soil", "runway", "river", "field", "street", "forest", "warehouse", "railway", "concrete"),
)

# related words that are none of the ten categories: each is kept apart from every category
OTHER_OBJECTS: tuple[str, ...] = (
    *("airport", "chimney", "dam", "golf field", "golf course", "expressway service area", "expressway toll station"),
    *("overpass", "stadium", "train station", "windmill", "wind turbine", "swimming pool", "roundabout", "helicopter"),
    *("crane", "solar panel", "container", "person", "animal", "farmland", "lake", "pond", "church", "greenhouse"),
    *("soccer field", "playground", "lighthouse", "tower", "fountain", "island", "beach"),
)

EVERYDAY: dict[str, str] = {category: names[0] for category, names in SYNONYMS.items()} | {
    "tennis_court": "tennis court",
    "basketball_court": "basketball court",
}

_CATEGORY_OF: dict[str, str] = {
    normalised(name): category for category, names in SYNONYMS.items() for name in (category, *names)
}


def category_of(name: str) -> str | None:
    """The category that a name means, or None.

    >>> category_of("ground track field"), category_of("Tennis_Courts"), category_of("windmill")
    ('track_field', 'tennis_court', None)
    """
    return _CATEGORY_OF.get(normalised(name))


def members_of(parent: str) -> tuple[str, ...] | None:
    """The categories of a parent category, or None for an unknown parent.

    >>> members_of("means_of_transport")
    ('airplane', 'ship', 'vehicle')
    """
    known = {normalised(name): members for name, members in PARENTS.items()}
    return known.get(normalised(parent))
