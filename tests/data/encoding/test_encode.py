"""What is stored against each network run alone, on one clip, from the clip's own samples."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
import soxr

from ldm_jax.audio.clap_features import clap_features
from ldm_jax.audio.kaldi import audiomae_input
from ldm_jax.audio.log_mel import MEL_16K, log_mel
from ldm_jax.convert import random_checkpoint
from ldm_jax.data.encoding import windows
from ldm_jax.data.encoding.reading import open_encoding
from ldm_jax.data.encoding.writing import encode
from ldm_jax.parallel.mesh import data_mesh
from ldm_jax.text.tokenizers import load_tokenizer
from tests.data.encoding.conftest import CLIPS, RATE, SETTINGS, WINDOW, waves

HALF = 2**-11  # relative rounding error of float16


@pytest.fixture(scope="module")
def train(prepared, folder):
    return open_encoding(prepared)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def by_hand(train):
    """(window, its samples as they lie in the file, shaped as the published training code does) of every window."""
    samples = [wave for wave, clip in zip(waves(), CLIPS, strict=True) if clip[3] == "train"]
    for number, (row, start, count) in enumerate(zip(*train.windows, strict=True)):
        wave = samples[row][start : start + count] / 32768
        wave = wave - wave.mean()
        yield number, 0.5 * wave / (np.abs(wave).max() + 1e-8)


def close(stored, exact, *, rounding=HALF):
    """To float16's rounding, and 1e-5 of the largest for float32's order of summation."""
    bound = rounding * np.abs(exact) + 1e-5 * np.abs(exact).max() + 2**-25
    assert stored.shape == exact.shape
    assert (np.abs(stored - exact) <= bound).all()


def test_windows_and_captions(train):
    lengths = [round(seconds * RATE) for seconds, *_, split in CLIPS if split == "train"]
    expected = [
        (0, 0, lengths[0]),
        (1, 0, WINDOW),
        (2, 0, WINDOW),
        (2, WINDOW, WINDOW),
        (2, 2 * WINDOW, lengths[2] - 2 * WINDOW),
        (3, 0, WINDOW),
        (4, 0, WINDOW),
        (4, WINDOW, lengths[4] - WINDOW),
        (5, 0, WINDOW),
        (5, WINDOW, lengths[5] - WINDOW),
    ]
    assert list(zip(*(column.tolist() for column in train.windows), strict=True)) == expected
    said = [[train.captions[i] for i in train.captions_of(window)] for window in range(len(train))]
    texts = [
        captions or ("Dog, Rain.",) * bool(labels) or ("",) for _, captions, labels, _ in CLIPS
    ]
    assert said == [list(texts[row]) for row, _, _ in expected]
    assert len(set(train.captions)) == len(train.captions) == 9


def test_latents_are_the_encoders_means_and_deviations(train, checkpoint):
    vae, params = checkpoint.networks["vae"], {"params": checkpoint.params["vae"]}
    encoder = jax.jit(lambda mel: vae.apply(params, mel, method="encode"))
    for window, wave in by_hand(train):
        padded = np.pad(wave, (0, WINDOW - len(wave))).astype(np.float32)
        mean, logvar = encoder(log_mel(padded, MEL_16K)[None, ..., None])
        stored = train.batch([window], what=["latents"])["latents"]
        assert stored.shape == (1, 32, 16, 16)
        close(stored[..., :8], np.asarray(mean))
        close(stored[..., 8:], np.exp(0.5 * np.asarray(logvar)))


def test_short_windows_may_be_repeated(make, checkpoint):
    vae, params = checkpoint.networks["vae"], {"params": checkpoint.params["vae"]}
    encoder = jax.jit(lambda mel: vae.apply(params, mel, method="encode"))
    prepared = make(count=2)
    settings = dataclasses.replace(SETTINGS, what=("latents",), padding="repeat")
    encode(prepared, checkpoint, settings=settings, batch=1)
    repeated = open_encoding(prepared)
    (short, wave), _ = itertools.islice(by_hand(repeated), 2)
    assert len(wave) < WINDOW
    whole = np.resize(wave, WINDOW).astype(np.float32)
    mean, _ = encoder(log_mel(whole, MEL_16K)[None, ..., None])
    stored = repeated.batch([short], what=["latents"])["latents"]
    close(stored[..., :8], np.asarray(mean))


def test_what_a_neighbour_has_is_not_computed_again(make, checkpoint, monkeypatch):
    prepared = make(count=3)
    some = dataclasses.replace(SETTINGS, what=("latents", "t5"))
    more = dataclasses.replace(SETTINGS, what=("latents", "t5", "clap_text"))
    first = encode(prepared, checkpoint, settings=some, batch=1)
    other = random_checkpoint.random_params(checkpoint.networks["vae"], name="vae", seed=1)
    changed = dataclasses.replace(checkpoint, params={**checkpoint.params, "vae": other})
    second = encode(prepared, changed, settings=some, batch=1)
    with monkeypatch.context() as patch:  # nothing may be left to do for the windows
        patch.setattr(windows, "encoded", None)
        third = encode(prepared, checkpoint, settings=more, batch=1)
    kept = {name: x for name, x in contents(first).items() if name != "encoding.json"}
    assert kept.items() <= contents(third).items()
    files = [name for name in kept if name.endswith(".npy") and "latents" in name]
    assert files
    assert all(contents(second)[name] != kept[name] for name in files)
    assert (first / "t5-00000.npy").stat().st_ino == (second / "t5-00000.npy").stat().st_ino


def test_loa_is_audiomaes_features_pooled(train, audiomae):
    module = audiomae.networks["audiomae"]
    apply = jax.jit(
        lambda x: module.apply({"params": audiomae.params["audiomae"]}, x, method="features")
    )
    for window, wave in by_hand(train):
        padded = np.pad(wave, (0, WINDOW - len(wave))).astype(np.float32)
        grid = np.asarray(apply(audiomae_input(padded, frames=256)[None].astype(np.float32)))
        halves = grid.reshape(2, 8 * 8, 32)  # 8 patches in time, all in frequency
        stored = train.batch([window], what=["loa"])["loa"][0]
        close(stored, (halves.mean(axis=1) + halves.max(axis=1)) / 2)


def test_clap_hears_the_window_without_its_padding(train, checkpoint):
    clap, params = checkpoint.networks["clap"], {"params": checkpoint.params["clap"]}
    apply = jax.jit(lambda params, x: clap.apply(params, x, method="embed_audio"))
    for window, wave in by_hand(train):
        at_48k = soxr.resample(wave.astype(np.float32), RATE, 48_000, quality="HQ")
        features = clap_features(at_48k, padding="repeatpad")[None].astype(np.float32)
        stored = train.batch([window], what=["clap_audio"])["clap_audio"]
        close(stored, np.asarray(apply(params, features)), rounding=1e-6)


def test_captions_are_encoded_without_padding(train, checkpoint):
    numbers = np.arange(len(train.captions))
    stored = train.batch(0 * numbers, captions=numbers, what=["t5", "clap_text"])
    tokenize = {name: load_tokenizer(folder) for name, folder in checkpoint.tokenizers.items()}
    ids, mask, _ = tokenize["t5"](train.captions, 128)
    t5, params = checkpoint.networks["t5"], checkpoint.params["t5"]
    states = np.asarray(jax.jit(t5.apply)({"params": params}, ids, mask))
    assert train.text_length == 128  # of the caption that is longer
    np.testing.assert_array_equal(stored["t5_mask"], mask)
    close(stored["t5"][mask], states[mask])
    assert not stored["t5"][~mask].any()
    ids, mask, _ = tokenize["clap"](train.captions, 512)
    clap, params = checkpoint.networks["clap"], checkpoint.params["clap"]
    embed = jax.jit(
        lambda ids, mask: clap.apply({"params": params}, ids, mask, method="embed_text")
    )
    close(stored["clap_text"], np.asarray(embed(ids, mask)), rounding=1e-6)


def stopping(read, times):
    """`read` that is stopped, as by Ctrl-C, when it is called for one time more than `times`."""
    calls = itertools.count()

    def stops(*arguments, **options):
        if next(calls) == times:
            raise KeyboardInterrupt
        return read(*arguments, **options)

    return stops


def test_what_was_interrupted_is_gone_on_with(make, folder, checkpoint, audiomae, monkeypatch):
    again = make()
    run = {"settings": SETTINGS, "audiomae": audiomae, "batch": 2}
    place = again.folder / "encodings" / folder.name
    with monkeypatch.context() as patch:
        # Both clips of the test split, and for the first two files of training three clips each.
        patch.setattr(windows, "sound_of", stopping(windows.sound_of, 2 + 3 + 3))
        with pytest.raises(KeyboardInterrupt):
            encode(again, checkpoint, **run)
    part = contents(place)
    with pytest.raises(ValueError, match=r"not encoded \(or not to the end\)"):
        open_encoding(again)
    assert encode(again, checkpoint, **run) == place
    whole = contents(place)
    assert whole == contents(folder)
    assert part.items() < whole.items()
    # Of windows, three files and one; of captions, three; three tables a split; encoding.json and captions.json.
    assert len(whole) == 3 * (3 + 1) + 3 * 3 + 3 * 2 + 2
    assert len(part) == len(whole) - 3 - 1


@pytest.mark.slow
def test_one_device_writes_what_eight_do(make, folder, checkpoint, audiomae):
    mesh = data_mesh(jax.devices()[:1])
    one = encode(make(), checkpoint, settings=SETTINGS, audiomae=audiomae, mesh=mesh, batch=2)
    assert contents(one) == contents(folder)
