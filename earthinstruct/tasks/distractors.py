"""Names of 200 things that aerial images show, to be asked for although a dataset does not annotate them.

None is a category of DIOR or NWPU VHR-10, a synonym or a kind of one. Their order is mixed, so that the first ones are
of all sorts. A change needs a new `VERSION`.
"""

from __future__ import annotations

from earthinstruct.tasks.categories import Vocabulary
from earthinstruct.tasks.labels import forms, normalised
from earthinstruct.tasks.wordings import SYNONYMS

VERSION = "1"

DISTRACTORS: tuple[str, ...] = (
    *("greenhouse", "cemetery", "quarry", "solar panel", "lighthouse", "vineyard", "chapel", "waterfall"),
    *("crane", "playground", "haystack", "prison", "power pylon", "coral reef", "market stall", "glacier"),
    *("fountain", "church", "landfill", "beach umbrella", "orchard", "mosque", "drilling rig", "sand dune", "gazebo"),
    *("rock arch", "rice paddy", "scaffolding", "volcano", "radio mast", "farmhouse", "fish pond", "monument"),
    *("construction site", "tree stump", "castle", "cooling tower", "log pile", "picnic table", "salt pan"),
    *("skyscraper", "hedge", "excavation pit", "iceberg", "billboard", "barn", "roller coaster", "lagoon", "tent"),
    *("shipping container", "ploughed land", "radar dome", "temple", "burn scar", "bus shelter", "sawmill"),
    *("cliff", "pagoda", "beehive", "canal lock", "garden shed", "ski slope", "refinery", "pond", "windbreak"),
    *("statue", "terrace", "mine shaft", "hospital", "palm tree", "gravel pit", "school", "sinkhole", "crosswalk"),
    *("hop garden", "water slide", "trench", "warehouse", "mangrove", "satellite dish", "oasis"),
    *(
        "roundabout",
        "compost heap",
        "amusement park",
        "levee",
        "chicken coop",
        "observatory",
        "swimming pool",
        "ravine",
    ),
    *("telephone booth", "cattle pen", "flagpole", "substation", "wetland", "shopping mall", "boulder", "pergola"),
    *("archaeological ruin", "ferris wheel", "snowfield", "culvert", "apartment block", "flower bed", "gas flare"),
    *("tea plantation", "hotel", "landslide", "manhole cover", "aquarium", "rock formation", "factory", "crater"),
    *("campfire site", "water well", "bus stop sign", "palace", "cornfield", "street lamp", "pyramid", "sandbank"),
    *("ski lift", "library", "irrigation pivot", "rooftop garden", "estuary", "hangar", "tombstone"),
    *("scrapyard", "bungalow", "peat bog", "antenna array", "museum", "geyser", "ventilation shaft", "olive grove"),
    *("sewage pond", "canopy", "bell tower", "delta", "brick kiln", "barracks", "meadow", "sundial"),
    *("power plant", "stone wall", "zoo enclosure", "waterhole", "market hall", "clearing", "fish cage", "villa"),
    *("bonfire", "maize crib", "bandstand", "fire lookout", "atoll", "laboratory", "sandbox", "office tower"),
    *("vegetable patch", "rail signal", "earthwork", "monastery", "driftwood", "recycling bin", "tarpaulin", "spring"),
    *("buoy", "mausoleum", "cactus", "road sign", "fjord", "university campus", "hay meadow", "pile of tyres"),
    *("lava flow", "cottage", "fire hydrant", "sluice", "botanical garden", "bench", "stupa", "firebreak"),
    *("coal heap", "treehouse", "planetarium", "algae bloom", "fence", "lumber yard", "courtyard", "well pad"),
    *("conveyor belt", "garden", "nursery", "bunker", "kiosk", "shrub", "pipeline", "gully", "headland"),
)


def distractors_for(vocabulary: Vocabulary, number: int) -> tuple[str, ...]:
    """The first names of the list that mean no category of a dataset, and share no word with the name of one.

    There are fewer than `number` if the list has no more.

    >>> distractors_for(Vocabulary(("wooden church", "crane")), 3), distractors_for(Vocabulary(("crane",)), 9)[-1]
    (('greenhouse', 'cemetery', 'quarry'), 'playground')
    """
    own = {normalised(name) for name in vocabulary.categories}
    own |= {normalised(SYNONYMS[name]) for name in own if name in SYNONYMS}
    own |= {name for name, other in SYNONYMS.items() if normalised(other) in own}
    words = {word for name in own for word in name.split()}
    fitting = [name for name in DISTRACTORS if words.isdisjoint(_words(name))]
    return tuple(fitting[:number])


def _words(name: str) -> set[str]:
    return {word for form in forms(name) for word in form.split()}
