"""The packages of the corpus, all of Debian's main section, whose recordings are CC0, CC-BY or CC-BY-SA."""

import dataclasses
from collections.abc import Mapping

from ldm_jax.data.corpus import asterisk, games, instruments, zero_ad
from ldm_jax.data.corpus.recordings import Collector, by_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Package:
    """A package and how its recordings are described.

    Attributes:
        name: as apt knows it.
        licence: of its recordings, as it stands on their rows: a summary; ATTRIBUTION.md has what each says.
        megabytes: of its .deb file in Debian 12.
        collect: gives its recordings with their descriptions.
        beside: packages that hold their texts.
        without: recordings that are not taken, with the reason.
    """

    name: str
    licence: str
    megabytes: float
    collect: Collector
    beside: tuple[str, ...] = ()
    without: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _asterisk(language: str, licence: str, megabytes: float) -> Package:
    texts = f"asterisk-core-sounds-{language}"
    return Package(
        name=f"{texts}-g722",
        licence=licence,
        megabytes=megabytes,
        collect=asterisk.prompts(language),
        beside=(texts,),
    )


# The order is that of the manifest. Of two recordings that sound alike the first stays.
PACKAGES = (
    _asterisk("en", "CC-BY-SA-3.0", 10.6),
    _asterisk("es", "CC-BY-SA-3.0", 13.0),
    _asterisk("fr", "CC-BY-SA-3.0", 10.8),
    _asterisk("it", "CC-BY-SA-3.0", 10.1),
    _asterisk("ru", "CC-BY-3.0", 10.6),
    Package(
        name="sonic-pi-samples",
        licence="CC0",
        megabytes=21.9,
        collect=by_name(instruments.sonic_pi),
    ),
    Package(name="openttd-opensfx", licence="CC-BY-SA-3.0", megabytes=9.9, collect=games.open_sfx),
    Package(
        name="0ad-data",
        licence="CC-BY-SA-3.0",
        megabytes=1377.6,
        collect=by_name(zero_ad.describe),
    ),
    Package(
        name="redeclipse-data",
        licence="CC-BY-SA-3.0",
        megabytes=862.3,
        collect=by_name(games.red_eclipse),
    ),
    Package(
        name="minetest-data",
        licence="CC-BY-SA-3.0/CC0",
        megabytes=3.6,
        collect=by_name(games.minetest),
    ),
    Package(
        name="endless-sky-data",
        licence="CC-BY-SA-4.0/PD",
        megabytes=69.7,
        collect=by_name(games.endless_sky),
    ),
    Package(
        name="hyperrogue-music",
        licence="CC-BY-SA-4.0/3.0",
        megabytes=63.8,
        collect=by_name(games.hyperrogue),
    ),
    Package(
        name="yaru-theme-sound",
        licence="CC-BY-SA-4.0",
        megabytes=0.5,
        collect=by_name(instruments.desktop),
    ),
    Package(
        name="lomiri-sounds",
        licence="CC0/CC-BY",
        megabytes=18.7,
        collect=by_name(instruments.telephone),
    ),
    Package(
        name="gnome-audio",
        licence="CC-BY-SA-2.0/CC-BY-3.0",
        megabytes=1.5,
        collect=by_name(instruments.desktop),
    ),
    Package(
        name="megaglest-data",
        licence="CC-BY-SA-3.0",
        megabytes=242.0,
        collect=by_name(games.megaglest),
        without={
            "usr/share/games/megaglest/tilesets/dark_forest/sounds/rain.ogg": "the same sound is in a package "
            "that is not part of the corpus"
        },
    ),
    Package(
        name="openclonk-data",
        licence="CC-BY-3.0/CC0",
        megabytes=112.5,
        collect=by_name(games.openclonk),
    ),
)
