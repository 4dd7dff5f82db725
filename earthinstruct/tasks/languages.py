"""The instruction texts in five languages, with the annotation rules of DIOR and NWPU VHR-10.

Each states the facts of the English one. Names of categories stay in English: a rule gives them in brackets.
"""

from __future__ import annotations

import re

from earthinstruct.tasks.instructions import Phrases

# how instructions in other languages begin; those of users are read in English alone
NOT_ENGLISH = re.compile(
    r"^(?:wie ?viele?|zähle?|finde|zeige?|gibt es|wo (?:ist|sind)|combien|comptez?|trouvez?|où|cuánt[oa]s|"
    r"cuant[oa]s|cuenta|encuentra|dónde|hay|quant[iea]|quant[oa]s|trova|сколько) "
    r"|^(?:请|有多少|多少|数一数|找出)",
    re.IGNORECASE,
)

GERMAN = Phrases(
    view="Du siehst ein Bild, das ein Satellit oder ein Flugzeug von oben aufgenommen hat.",
    count="Zähle die Objekte jeder dieser Kategorien: {names}.",
    exactly="Verwende die Namen der Kategorien genau so, wie sie hier stehen, und gib 0 an, wenn eine Kategorie nicht "
    "vorkommt.",
    everything="Nenne jede Art von Objekten, die du siehst, und zähle die Objekte jeder Art.",
    noun="Nenne eine Art mit einem kurzen englischen Substantiv im Singular.",
    unclear="Lass weg, was du nicht deutlich siehst.",
    of_parent="Nenne jede Art von {parent}, die du siehst, und zähle die Objekte jeder Art.",
    others="Lass alles weg, was keine Art von {parent} ist. Gibt es keine, antworte {{}}.",
    resolution="Die Bilder dieser Sammlung haben eine Bodenauflösung von {resolution}.",
    dense="Sind Objekte zu klein oder zu dicht, um sie verlässlich zu zählen, lass diese Art weg.",
    answer="Antworte mit einem JSON-Objekt aus Namen und ganzen Zahlen, zum Beispiel {example}, und mit nichts "
    "anderem.",
    to="bis",
    rules={
        "Count an airport only when the whole of it is visible.": "Zähle einen Flughafen (airport) nur, wenn er ganz "
        "zu sehen ist.",
        "Count each pier as one harbor.": "Zähle jeden Pier als einen Hafen (harbor).",
        "An expressway toll station is a row of booths across an expressway.": "Eine Mautstelle (expressway toll "
        "station) ist eine Reihe von Häuschen quer über eine Schnellstraße.",
        "Expressway service areas on both sides of a road are two.": "Raststätten (expressway service area) auf beiden "
        "Seiten einer Straße sind zwei.",
        "An overpass leads over a road, a bridge leads over a river.": "Eine Überführung (overpass) führt über eine "
        "Straße, eine Brücke (bridge) über einen Fluss.",
        "Count the parallel carriageways of a bridge or an overpass separately.": "Zähle die parallelen Fahrbahnen "
        "einer Brücke (bridge) oder einer Überführung (overpass) einzeln.",
        "Count ships and vehicles even where they are small and dense.": "Zähle Schiffe (ship) und Fahrzeuge (vehicle) "
        "auch dort, wo sie klein sind und dicht stehen.",
        "Leave out ships and vehicles that are too small to be outlined in an image of low resolution.": "Lass Schiffe "
        "(ship) und Fahrzeuge (vehicle) weg, die in einem Bild von geringer Auflösung zu klein sind, um sie zu "
        "umreißen.",
    },
)
FRENCH = Phrases(
    view="Voici une image prise d'en haut, par un satellite ou un avion.",
    count="Compte les objets de chacune de ces catégories : {names}.",
    exactly="Utilise les noms des catégories exactement comme ils sont donnés, et indique 0 pour une catégorie "
    "absente.",
    everything="Nomme chaque type d'objet que tu vois, et compte les objets de chaque type.",
    noun="Nomme un type par un nom anglais court, au singulier.",
    unclear="Laisse de côté ce que tu ne vois pas clairement.",
    of_parent="Nomme chaque type de {parent} que tu vois, et compte les objets de chaque type.",
    others="Laisse de côté tout ce qui n'est pas un type de {parent}. S'il n'y en a aucun, réponds {{}}.",
    resolution="Les images de cette collection ont une résolution au sol de {resolution}.",
    dense="Si des objets sont trop petits ou trop serrés pour être comptés de manière fiable, laisse ce type de côté.",
    answer="Réponds par un seul objet JSON de noms et de nombres entiers, par exemple {example}, et rien d'autre.",
    to="à",
    rules={
        "Count an airport only when the whole of it is visible.": "Ne compte un aéroport (airport) que s'il est "
        "visible en entier.",
        "Count each pier as one harbor.": "Compte chaque jetée comme un port (harbor).",
        "An expressway toll station is a row of booths across an expressway.": "Un péage (expressway toll station) est "
        "une rangée de cabines en travers d'une voie rapide.",
        "Expressway service areas on both sides of a road are two.": "Des aires de service (expressway service area) "
        "des deux côtés d'une route comptent pour deux.",
        "An overpass leads over a road, a bridge leads over a river.": "Un passage supérieur (overpass) passe "
        "au-dessus d'une route, un pont (bridge) au-dessus d'une rivière.",
        "Count the parallel carriageways of a bridge or an overpass separately.": "Compte séparément les chaussées "
        "parallèles d'un pont (bridge) ou d'un passage supérieur (overpass).",
        "Count ships and vehicles even where they are small and dense.": "Compte les navires (ship) et les véhicules "
        "(vehicle) même là où ils sont petits et serrés.",
        "Leave out ships and vehicles that are too small to be outlined in an image of low resolution.": "Laisse de "
        "côté les navires (ship) et les véhicules (vehicle) trop petits pour être délimités dans une image de faible "
        "résolution.",
    },
)
SPANISH = Phrases(
    view="Estás viendo una imagen tomada desde arriba, por un satélite o un avión.",
    count="Cuenta los objetos de cada una de estas categorías: {names}.",
    exactly="Usa los nombres de las categorías exactamente como aparecen, y pon 0 para una categoría que no esté.",
    everything="Nombra cada tipo de objeto que veas, y cuenta los objetos de cada tipo.",
    noun="Nombra un tipo con un sustantivo inglés corto, en singular.",
    unclear="Omite lo que no veas con claridad.",
    of_parent="Nombra cada tipo de {parent} que veas, y cuenta los objetos de cada tipo.",
    others="Omite todo lo que no sea un tipo de {parent}. Si no hay ninguno, responde {{}}.",
    resolution="Las imágenes de esta colección tienen una resolución sobre el terreno de {resolution}.",
    dense="Si hay objetos demasiado pequeños o demasiado juntos para contarlos de forma fiable, omite ese tipo.",
    answer="Responde con un solo objeto JSON de nombres y números enteros, por ejemplo {example}, y nada más.",
    to="a",
    rules={
        "Count an airport only when the whole of it is visible.": "Cuenta un aeropuerto (airport) solo cuando se vea "
        "entero.",
        "Count each pier as one harbor.": "Cuenta cada muelle como un puerto (harbor).",
        "An expressway toll station is a row of booths across an expressway.": "Un peaje (expressway toll station) es "
        "una fila de cabinas a lo ancho de una autovía.",
        "Expressway service areas on both sides of a road are two.": "Las áreas de servicio (expressway service area) "
        "a ambos lados de una carretera son dos.",
        "An overpass leads over a road, a bridge leads over a river.": "Un paso elevado (overpass) pasa sobre una "
        "carretera, un puente (bridge) pasa sobre un río.",
        "Count the parallel carriageways of a bridge or an overpass separately.": "Cuenta por separado las calzadas "
        "paralelas de un puente (bridge) o de un paso elevado (overpass).",
        "Count ships and vehicles even where they are small and dense.": "Cuenta los barcos (ship) y los vehículos "
        "(vehicle) incluso donde sean pequeños y estén muy juntos.",
        "Leave out ships and vehicles that are too small to be outlined in an image of low resolution.": "Omite los "
        "barcos (ship) y los vehículos (vehicle) que sean demasiado pequeños para delimitarlos en una imagen de baja "
        "resolución.",
    },
)
PORTUGUESE = Phrases(
    view="Você está vendo uma imagem tirada de cima, por um satélite ou um avião.",
    count="Conte os objetos de cada uma destas categorias: {names}.",
    exactly="Use os nomes das categorias exatamente como são dados, e informe 0 para uma categoria ausente.",
    everything="Nomeie cada tipo de objeto que você vê, e conte os objetos de cada tipo.",
    noun="Nomeie um tipo com um substantivo curto em inglês, no singular.",
    unclear="Deixe de fora o que você não vê com clareza.",
    of_parent="Nomeie cada tipo de {parent} que você vê, e conte os objetos de cada tipo.",
    others="Deixe de fora tudo o que não é um tipo de {parent}. Se não houver nenhum, responda {{}}.",
    resolution="As imagens desta coleção têm uma resolução no solo de {resolution}.",
    dense="Se os objetos forem pequenos demais ou estiverem juntos demais para uma contagem confiável, deixe esse tipo "
    "de fora.",
    answer="Responda com um único objeto JSON de nomes e números inteiros, por exemplo {example}, e nada mais.",
    to="a",
    rules={
        "Count an airport only when the whole of it is visible.": "Conte um aeroporto (airport) somente quando ele "
        "estiver visível por inteiro.",
        "Count each pier as one harbor.": "Conte cada píer como um porto (harbor).",
        "An expressway toll station is a row of booths across an expressway.": "Um pedágio (expressway toll station) é "
        "uma fileira de cabines que atravessa uma via expressa.",
        "Expressway service areas on both sides of a road are two.": "Áreas de serviço (expressway service area) nos "
        "dois lados de uma estrada são duas.",
        "An overpass leads over a road, a bridge leads over a river.": "Um viaduto (overpass) passa sobre uma estrada, "
        "uma ponte (bridge) passa sobre um rio.",
        "Count the parallel carriageways of a bridge or an overpass separately.": "Conte separadamente as pistas "
        "paralelas de uma ponte (bridge) ou de um viaduto (overpass).",
        "Count ships and vehicles even where they are small and dense.": "Conte navios (ship) e veículos (vehicle) "
        "mesmo onde forem pequenos e estiverem muito juntos.",
        "Leave out ships and vehicles that are too small to be outlined in an image of low resolution.": "Deixe de "
        "fora navios (ship) e veículos (vehicle) pequenos demais para serem contornados em uma imagem de baixa "
        "resolução.",
    },
)
CHINESE = Phrases(
    view="你看到的是一张由卫星或飞机从上方拍摄的图像。",
    count="请统计以下每个类别的目标数量：{names}。",  # noqa: RUF001
    exactly="类别名称须与给出的完全一致，图像中没有的类别填 0。",  # noqa: RUF001
    everything="请说出你能看到的每一种目标，并统计每一种的数量。",  # noqa: RUF001
    noun="每一种用一个简短的英文单数名词命名。",
    unclear="看不清楚的不要列出。",
    of_parent="请说出你能看到的每一种 {parent}，并统计每一种的数量。",  # noqa: RUF001
    others="不属于 {parent} 的一律不要列出。如果一种也没有，请回答 {{}}。",  # noqa: RUF001
    resolution="这套图像的地面分辨率为 {resolution}。",
    dense="如果某一种目标太小或太密集，无法可靠计数，则不要列出这一种。",  # noqa: RUF001
    answer="只用一个由名称和整数组成的 JSON 对象回答，例如 {example}，不要输出任何其他内容。",  # noqa: RUF001
    to="至",
    space="",
    rules={
        "Count an airport only when the whole of it is visible.": "只有当整个机场 (airport) 都可见时才计数。",
        "Count each pier as one harbor.": "每个码头突堤算作一个港口 (harbor)。",
        "An expressway toll station is a row of booths across an expressway.": "高速公路收费站 (expressway toll "
        "station) 是横跨高速公路的一排收费亭。",
        "Expressway service areas on both sides of a road are two.": "道路两侧的高速公路服务区 (expressway service "
        "area) 算作两个。",
        "An overpass leads over a road, a bridge leads over a river.": "立交桥 (overpass) 跨越道路，桥梁 (bridge) "  # noqa: RUF001
        "跨越河流。",
        "Count the parallel carriageways of a bridge or an overpass separately.": "桥梁 (bridge) 或立交桥 (overpass) "
        "的平行车道分别计数。",
        "Count ships and vehicles even where they are small and dense.": "船舶 (ship) 和车辆 (vehicle) "
        "即使又小又密集也要计数。",
        "Leave out ships and vehicles that are too small to be outlined in an image of low resolution.": "在低分辨率图"
        "像中小到无法勾勒轮廓的船舶 (ship) 和车辆 (vehicle) 不计入。",
    },
)
