"""Pages taken apart, and clips to make them of."""

import base64
import html.parser
import io
import pathlib

import numpy as np
import soundfile
from PIL import Image

from ldm_jax.data.clip import Clip
from ldm_jax.data.locations import AudioFile

RATE = 16_000


class Page(html.parser.HTMLParser):
    """What a browser would see: each element with its attributes, and the text in it."""

    VOID = ("meta", "img", "input", "path", "rect")

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.elements, self._open = [], []
        self.feed(content)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        element = {
            "tag": tag,
            "text": "",
            "inside": tuple(x["tag"] for x in self._open),
            **dict(attrs),
        }
        self.elements.append(element)
        if tag not in self.VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        assert self._open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self._open:
            element["text"] += data

    def all(self, tag, cls=None):
        return [
            element
            for element in self.elements
            if element["tag"] == tag and (cls is None or cls in element.get("class", "").split())
        ]


def of_uri(uri):
    """(media type, content) of a data URI."""
    head, _, content = uri.partition(";base64,")
    assert head.startswith("data:")
    return head.removeprefix("data:"), base64.b64decode(content, validate=True)


def samples_of(player):
    """The samples of an <audio>, 16-bit."""
    kind, content = of_uri(player["src"])
    samples, rate = soundfile.read(io.BytesIO(content), dtype="int16")
    return kind, samples, rate


def picture_of(image):
    """(height, width, 3) of an <img>."""
    kind, content = of_uri(image["src"])
    assert kind == "image/png"
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def tone(hertz, seconds, rate=RATE, level=0.25):
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def clip(folder, name, wave, rate=RATE, **fields):
    path = pathlib.Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate)
    return Clip(name=name, audio=AudioFile(str(path)), **fields)
