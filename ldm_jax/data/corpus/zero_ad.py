"""0 A.D.: recordings made for a game of ancient war, sorted in folders by what makes the sound."""

import re
from collections.abc import Callable

from ldm_jax.data.corpus.recordings import Description, music, parent, sound, with_article

RESOURCES = {
    "lumbering": "an axe chopping wood",
    "mining": "a pickaxe mining rock",
    "gathering": "gathering food and plants",
    "farming": "farming with a hoe",
    "foraging": "picking fruit from a bush",
}


def _animal(match: re.Match) -> str:
    animal, action = match.groups()
    doing = {"attack": " attacking", "death": " dying"}.get(action, "")
    return f"the sound of {with_article(animal)}{doing}"


# A pattern of the path, and its caption; the first that fits counts.
RULES: list[tuple[str, str | Callable[[re.Match], str]]] = [
    (r"fauna/animal/(\w+?)_(attack|select|order|death|idle|trained|call)", _animal),
    (r"fauna/animal/([a-z]+)()", _animal),
    (r"fauna/death", "an animal dying"),
    (r"gate/stonegate_close", "a heavy stone gate closing"),
    (r"gate/stonegate_open", "a heavy stone gate opening"),
    (r"human/death/female", "a woman crying out and dying"),
    (r"human/death/", "a man crying out and dying"),
    (
        r"Foo[rt]step_(\w+?)_(Running|Walking)",
        lambda match: f"footsteps {match[2].lower()} on {match[1].lower()}",
    ),
    (r"hstep_run", "footsteps running on dirt"),
    (r"hstep", "footsteps walking on dirt"),
    (r"mstep", "horse hooves galloping"),
    (r"fs_(\w+?)_?\d*$", r"a single footstep on \1"),
    (r"actor/ship/(ship_move|smove|warship_move)", "a wooden ship sailing through water"),
    (r"warship_death", "a wooden warship sinking"),
    (r"actor/ship", "a wooden ship creaking"),
    (r"amb_farm", "ambience of a farm with animals"),
    (r"amb_port", "ambience of a harbour"),
    (r"amb_trade", "ambience of a busy market"),
    (r"day_temperate", "daytime nature ambience with birds in a temperate forest"),
    (r"day_tropical", "daytime ambience of a tropical jungle"),
    (r"river_med", "a flowing river"),
    (r"river_(fast|slow|raging)", r"a \1 river"),
    (r"waterfall", "a waterfall"),
    (r"wavecrash", "waves crashing on the shore"),
    (r"wave", "gentle waves on the shore"),
    (r"weather/rain", "rain falling"),
    (r"weather/snowstorm", "a howling snowstorm"),
    (r"weather/thunder", "thunder rumbling"),
    (r"windleaves", "wind rustling leaves"),
    (r"windstorm|windgust", "strong gusts of wind"),
    (r"building_collapse", "a large building collapsing"),
    (r"explode_debris", "debris exploding"),
    (r"attack/fire", "fire burning"),
    (r"impact/arrow_(\w+?)_?\d*$", r"an arrow hitting \1"),
    (r"impact/arrow", "an arrow impact"),
    (r"fleshimp|fleshstab", "a blade stabbing flesh"),
    (r"shield_metal", "a blow on a metal shield"),
    (r"shield_wood", "a blow on a wooden shield"),
    (r"siegeprojectile", "a heavy siege projectile hitting"),
    (r"impact/sling_(\w+?)_?\d*$", r"a sling stone hitting \1"),
    (r"siege/(ballist|onager)\w*(attack|shoot)", "a catapult shooting"),
    (r"siege/ram_attack", "a battering ram hitting a gate"),
    (r"siege", "a wooden siege engine rolling and creaking"),
    (r"Musket", "a musket shot"),
    (r"arrowfly", "an arrow flying by"),
    (r"bow_attack", "a bow shooting an arrow"),
    (r"jav_attack", "a javelin being thrown"),
    (r"(pike|spear)_attack", r"a \1 thrust"),
    (r"sling", "a sling being swung"),
    (r"sword", "swords clashing"),
    (r"interface/alarm/alarm(?!noresource)", "a game alert horn"),
]


def describe(name: str) -> Description | None:
    """A recording by its path below `audio/`; voices (commands in ancient languages) are left out."""
    _, found, path = name.partition("/audio/")
    if not found:
        return None
    path = path[: path.rfind(".")]
    if path.startswith("music/"):
        return music("ancient world themed game music")
    if path.startswith("voice"):
        return None
    if "/resource/" in f"/{path}":
        return sound(RESOURCES.get(parent(name), "construction work"), 2)
    for pattern, caption in RULES:
        if match := re.search(pattern, path, re.IGNORECASE):
            text = match.expand(caption) if isinstance(caption, str) else caption(match)
            return sound(text, 3)
    return None
