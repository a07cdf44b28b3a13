"""Sounds and music of games, by the names of their files."""

import pathlib
import re
from collections.abc import Iterator

from ldm_jax.data.corpus.containers import cat_members
from ldm_jax.data.corpus.recordings import (
    Description,
    Found,
    music,
    parent,
    sound,
    stem,
    with_article,
    words,
)

RED_ECLIPSE_PLACES = {
    "cycadas": "cicadas chirping",
    "nightcrickets": "crickets chirping at night",
    "creek": "a babbling creek",
    "cavedrip": "water dripping in a cave",
    "river": "a river flowing",
    "waterfall": "a waterfall",
    "fire": "a crackling fire",
    "forest": "forest ambience with birds",
    "lava": "bubbling lava",
    "lavarumble": "rumbling lava",
    "rain": "heavy rain",
    "stormrain": "storm rain",
    "stormwind": "storm wind",
    "stormbolts": "thunder bolts",
    "wind": "wind blowing",
    "blowwind": "wind blowing",
    "wastewind": "wind over a wasteland",
    "hollowwind": "hollow wind",
    "dizzywind": "swirling wind",
    "alienwind": "eerie alien wind",
    "machine": "a machine humming",
    "hum": "an electric hum",
    "electro": "an electric buzz",
    "door": "a sliding door",
    "teleport": "a teleporter",
    "switch": "a switch",
    "water": "running water",
    "pneumatic": "a pneumatic hiss",
    "vapour": "steam hissing",
}
RED_ECLIPSE_WEAPONS = {
    "primary": "firing",
    "secondary": "secondary fire",
    "reload": "reloading",
    "explode": "explosion",
    "power": "charging up",
    "transit": "projectile flying by",
}
RED_ECLIPSE_EFFECTS = {
    "alarm": "an alarm",
    "burning": "something burning",
    "splashin": "a splash into water",
    "splashout": "a splash out of water",
    "underwater": "underwater bubbling",
    "debris": "debris falling",
    "shell": "a bullet shell hitting the floor",
    "extinguish": "a fire being extinguished",
    "bounce": "a bounce",
}
MINETEST_MODS = r"^(default|doors|env sounds|fire|tnt|player|carts|bucket|walls|xpanes|stairs)\s+"
MEGAGLEST_ACTIONS = {
    "attack": "attacking in battle",
    "die": "dying",
    "walk": "walking",
    "fly": "flying",
}
MEGAGLEST_THINGS = ("rain", "wolf", "chicken", "sheep", "water", "bee", "anvil")
HYPERROGUE = {
    r"^pickup (.*)": r"picking up a \1",
    r"^hit (.*)": r"a hit with \1",
    r"^die (.*)": r"a \1 dying",
    r"^seen ": "the call of a ",
}
SILENCES = ("", "null", "silence", "silent")


def red_eclipse(name: str) -> Description | None:
    """Places, weapons and effects of a shooter, of which only words known here are taken."""
    said = words(stem(name))
    if "/music/" in name:
        return music("electronic action game music")
    if "/ambience/" in name and said in RED_ECLIPSE_PLACES:
        return sound(RED_ECLIPSE_PLACES[said], 3)
    if "/weapons/" in name and said in RED_ECLIPSE_WEAPONS:
        return sound(f"a futuristic {parent(name)} {RED_ECLIPSE_WEAPONS[said]}", 2)
    if "/sfx/" in name and said in RED_ECLIPSE_EFFECTS:
        return sound(RED_ECLIPSE_EFFECTS[said], 2)
    return None


def minetest(name: str) -> Description | None:
    """Footsteps, digging and doors of a world of blocks."""
    said = words(stem(name))
    if "/sounds/" not in name or said in SILENCES:
        return None
    said = re.sub(MINETEST_MODS, "", said)
    if "footstep" in said:
        return sound(f"a footstep on {said.replace(' footstep', '')}", 2)
    if "dig" in said or "dug" in said:
        return sound(f"digging {' '.join(re.sub('dig|dug', '', said).split())}", 2)
    return sound(said, 2)


def endless_sky(name: str) -> Description | None:
    """Effects of a space game."""
    said = words(stem(name))
    if "/sounds/" not in name or said in SILENCES:
        return None
    return sound(f"space game sound effect: {said}", 1)


def hyperrogue(name: str) -> Description | None:
    """Beasts, things and music of a game on the hyperbolic plane."""
    if "/music/" in name:
        return music("atmospheric game music")
    said = words(stem(name))
    if "/sounds/" not in name or said in SILENCES:
        return None
    for pattern, text in HYPERROGUE.items():
        said = re.sub(pattern, text, said)
    return sound(f"game sound effect: {said}", 1)


def megaglest(name: str) -> Description | None:
    """Fighters, beasts and weather; answers to commands ("ack", "select") are left out."""
    if "/sounds/" not in name:
        return None
    said = words(stem(name))
    actions = "attack|ack|select|die|hit|walk|build|mine|harvest|fly"
    if match := re.match(rf"(.*) ({actions})", said):
        doing = MEGAGLEST_ACTIONS.get(match[2])
        return sound(f"{with_article(match[1])} {doing}", 2) if doing else None
    return sound(f"the sound of {said}", 2) if said in MEGAGLEST_THINGS else None


def openclonk(name: str) -> Description | None:
    """Music alone."""
    return music("game music") if "/Music" in name else None


def open_sfx(folder: pathlib.Path) -> Iterator[Found]:
    """The sounds of a transport game, which lie with their titles in one `.cat` file."""
    for path in sorted(folder.rglob("opensfx.cat")):
        for number, (title, wave) in enumerate(cat_members(path.read_bytes())):
            said = re.match(r'"([^"]+)"', title)  # otherwise an empty place
            description = said and sound(f"a sound from a transport game: {said[1].lower()}", 2)
            yield f"osfx_{number:02d}.wav", wave, description
