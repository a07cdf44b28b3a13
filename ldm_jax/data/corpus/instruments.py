"""Samples for musicians and sounds of desktops and telephones, by the names of their files."""

from ldm_jax.data.corpus.recordings import Description, sound, stem, words

SONIC_PI = {
    "ambi": "an ambient sound, {}",
    "bass": "a synth bass note, {}",
    "bd": "a bass drum hit, {} style",
    "drum": "an acoustic drum kit hit, {}",
    "elec": "an electronic percussion sound, {}",
    "glitch": "a glitchy sound, {}",
    "guit": "an electric guitar, {}",
    "loop": "a musical loop, {}",
    "mehackit": "an electronic sound, {}",
    "misc": "{}",
    "perc": "a percussive sound, {}",
    "sn": "a snare drum hit, {} style",
    "tabla": "a tabla drum stroke, {}",
    "vinyl": "a vinyl record player sound, {}",
}


def sonic_pi(name: str) -> Description | None:
    """`KIND_WHAT`: loops are music, the rest single sounds."""
    family, _, what = stem(name).partition("_")
    if "/samples/" not in name or family not in SONIC_PI:
        return None
    caption = SONIC_PI[family].format(words(what) or "hit")
    return Description(kind="music" if family == "loop" else "sound", caption=caption, quality=2)


def desktop(name: str) -> Description | None:
    """What a desktop plays at an event."""
    said = words(stem(name))
    return sound(f"desktop event sound: {said}", 2) if "/sounds/" in name and said else None


def telephone(name: str) -> Description | None:
    """Ringtones and notifications."""
    said = words(stem(name))
    if "/ringtones/" in name:
        return sound(f"a phone ringtone melody, {said}", 2)
    if "/notifications/" in name:
        return sound(f"a short phone notification sound, {said}", 2)
    return None
