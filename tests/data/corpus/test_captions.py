import pathlib

import pytest

from ldm_jax.data.corpus import asterisk, captions, games, instruments, zero_ad
from ldm_jax.data.corpus.recordings import words

SHIPPED = pathlib.Path(captions.__file__).parent / "music_tags.tsv"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("door_openSlow-03", "door open slow"),
        ("Alarm clock", "alarm clock"),
        ("default_dirt_footstep.2", "default dirt footstep"),
        ("behemoth_attack1a", "behemoth attack"),
        ("A440", "a"),
        ("afterburner~", "afterburner"),
        ("808", ""),
    ],
)
def test_words(name, said):
    assert words(name) == said


ZERO_AD = {
    "actor/fauna/animal/elephant_death1.ogg": ("the sound of an elephant dying", 3),
    "actor/fauna/animal/pig_10.ogg": ("the sound of a pig", 3),
    "actor/human/movement/Footsteps/Foorstep_Sand_Running.ogg": ("footsteps running on sand", 3),
    "actor/human/death/death_11.ogg": ("a man crying out and dying", 3),
    "actor/human/death/female_death_01.ogg": ("a woman crying out and dying", 3),
    "actor/ship/warship_death_01.ogg": ("a wooden warship sinking", 3),
    "ambient/water/river_med_21.ogg": ("a flowing river", 3),
    "attack/impact/sling_metal_01.ogg": ("a sling stone hitting metal", 3),
    "attack/weapon/spear_attack_01.ogg": ("a spear thrust", 3),
    "resource/mining/mine_metal_11.ogg": ("a pickaxe mining rock", 2),
}
RED_ECLIPSE = {
    "s/ambience/forest1.ogg": ("forest ambience with birds", 3),
    "s/weapons/pistol/reload.ogg": ("a futuristic pistol reloading", 2),
    "s/sfx/shell3.ogg": ("a bullet shell hitting the floor", 2),
}
MINETEST = {
    "default/sounds/default_snow_footstep.3.ogg": ("a footstep on snow", 2),
    "default/sounds/default_dug_node.1.ogg": ("digging node", 2),
    "doors/sounds/doors_steel_door_open.ogg": ("steel door open", 2),
}
HYPERROGUE = {
    "h/sounds/seen-frog1.ogg": ("game sound effect: the call of a frog", 1),
    "h/sounds/pickup-gem.ogg": ("game sound effect: picking up a gem", 1),
    "h/sounds/die-troll.ogg": ("game sound effect: a troll dying", 1),
}
MEGAGLEST = {
    "m/sounds/archer_die12.wav": ("an archer dying", 2),
    "m/sounds/sheep3.wav": ("the sound of sheep", 2),
}
ENDLESS_SKY = {"e/sounds/ion cannon~.wav": ("space game sound effect: ion cannon", 1)}
SONIC_PI = {
    "p/samples/bd_808.flac": ("a bass drum hit, hit style", 2),
    "p/samples/misc_crow.flac": ("crow", 2),
}
DESKTOP = {"u/sounds/Yaru/battery-low.oga": ("desktop event sound: battery low", 2)}
TELEPHONE = {
    "s/ringtones/Sam's Song.ogg": ("a phone ringtone melody, sam's song", 2),
    "s/notifications/LowBattery.ogg": ("a short phone notification sound, low battery", 2),
}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (zero_ad.describe, {f"a/audio/{name}": said for name, said in ZERO_AD.items()}),
        (games.red_eclipse, RED_ECLIPSE),
        (games.minetest, MINETEST),
        (games.hyperrogue, HYPERROGUE),
        (games.megaglest, MEGAGLEST),
        (games.endless_sky, ENDLESS_SKY),
        (instruments.sonic_pi, SONIC_PI),
        (instruments.desktop, DESKTOP),
        (instruments.telephone, TELEPHONE),
    ],
)
def test_captions_of_sounds(rule, expected):
    said = {name: rule(name) for name in expected}
    assert {name: (each.caption, each.quality) for name, each in said.items()} == expected
    assert {each.kind for each in said.values()} == {"sound"}
    assert {each.transcript for each in said.values()} == {None}


@pytest.mark.parametrize(
    ("rule", "name", "caption"),
    [
        (zero_ad.describe, "a/audio/music/Ammon-Ra.ogg", "ancient world themed game music"),
        (games.red_eclipse, "s/music/track_01.ogg", "electronic action game music"),
        (games.hyperrogue, "h/music/hr3-hell.ogg", "atmospheric game music"),
        (games.openclonk, "o/Music.ocg/LucidDream.ogg", "game music"),
        (instruments.sonic_pi, "p/samples/loop_amen_full.flac", "a musical loop, amen full"),
    ],
)
def test_captions_of_tracks(rule, name, caption):
    assert (rule(name).kind, rule(name).caption) == ("music", caption)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (zero_ad.describe, "a/audio/voice/greek/hoplite.ogg"),
        (zero_ad.describe, "a/audio/interface/alarm/alarmnoresource_1.ogg"),
        (zero_ad.describe, "a/elsewhere/wave.ogg"),
        (games.red_eclipse, "s/ambience/something.ogg"),
        (games.minetest, "m/sounds/silence.ogg"),
        (games.megaglest, "m/sounds/archer_select1.wav"),
        (games.megaglest, "m/sounds/cow1.wav"),
        (games.openclonk, "o/Sound.ocg/Bell.ogg"),
        (instruments.sonic_pi, "p/buffers/rand-stream.wav"),
        (instruments.desktop, "u/sounds/404.wav"),
        (instruments.telephone, "s/camera/click.ogg"),
    ],
)
def test_names_that_say_nothing(rule, name):
    assert rule(name) is None


def test_prompts_of_telephones():
    texts = asterisk.read_texts(
        "; a comment: no\nhello: Hello, [pause] caller.\n digits/1 : one\n\nbeep: [this is a simple beep tone]\n"
        "tt-monkeys: [sound of monkeys screaming]\nsilence/1: [one second]\n"
    )
    assert texts["digits/1"] == "one"

    def said(name, language="en"):
        return asterisk.describe(f"usr/share/asterisk/sounds/en_US/{name}.g722", texts, language)

    assert said("hello").transcript == "Hello, caller."
    assert (said("hello").speaker, said("hello").language) == ("asterisk-en", "en")
    assert said("digits/1", "it").caption == "a man speaking a telephone voice prompt in Italian"
    assert said("beep").caption == "a telephone tone: simple beep tone"
    assert (said("beep").kind, said("beep").transcript) == ("sound", None)
    assert said("tt-monkeys").caption == "sound of monkeys screaming"
    assert said("beep", "fr") is None
    assert said("silence/1") is None
    assert said("unknown") is None


@pytest.mark.parametrize(
    ("tags", "caption"),
    [
        ((), "music, X"),
        (("beat",), "music with a beat, X"),
        (("beat", "drums"), "music with drums, X"),
        (("fast", "slow", "rock", "pop", "metal"), "fast rock pop music, X"),
        (("classic", "rock", "pop"), "classical rock pop music, X"),
        (("classic", "classical", "violin", "harp"), "classical music with violin and harp, X"),
        (("harp", "cello", "flute", "piano", "woman"), "music with harp, cello and flute and vocals, X"),
        (("quiet", "vocal"), "quiet music with vocals, X"),
        (("choir",), "music with choir and vocals, X"),
        (("no vocals", "solo"), "music, X"),
    ],
)  # fmt: skip
def test_captions_of_music(tags, caption):
    assert captions.music_caption(tags, "X") == caption


def test_reading_tags():
    ((first, tags), (second, others)) = captions.read_tags(
        "p\tabc\t0:techno55,new age18,harp|rock9\t12:|slow7\n"
    )
    assert (first, second) == (("p/abc", 0), ("p/abc", 12))
    assert tags.likely == ("techno", "new age", "harp")
    assert tags.probabilities == {"techno": 0.55, "new age": 0.18, "rock": 0.09}
    assert (others.likely, others.probabilities) == ((), {"slow": 0.07})


def test_shipped_tags():
    entries = captions.read_tags(SHIPPED.read_text())
    assert len(entries) == len(captions.music_tags()) == 1415
    for _, tags in entries:
        values = list(tags.probabilities.values())
        assert len(values) == 6
        assert values == sorted(values, reverse=True)
        assert all(tags.probabilities.get(name, 0.18) > 0.17 for name in tags.likely)
