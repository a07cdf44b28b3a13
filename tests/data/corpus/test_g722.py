"""`g722.npz` holds codes (random ones, and a CC0 recording that ffmpeg encoded) and what ffmpeg 5.1 decodes of them."""

import pathlib

import numpy as np

from ldm_jax.data.corpus import g722

GOLDEN = np.load(pathlib.Path(__file__).parent / "g722.npz")


def test_every_sample_is_that_of_ffmpeg():
    recordings = [GOLDEN["noise_codes"].tobytes(), b"", GOLDEN["crow_codes"].tobytes()]
    noise, nothing, crow = g722.decode(recordings)
    assert noise.dtype == np.int16
    assert nothing.shape == (0,)
    np.testing.assert_array_equal(noise, GOLDEN["noise"])
    np.testing.assert_array_equal(crow, GOLDEN["crow"])


def test_recordings_beside_a_longer_one_and_over_several_blocks():
    codes = np.concatenate([GOLDEN["noise_codes"], GOLDEN["crow_codes"], GOLDEN["crow_codes"]])
    assert len(codes) > g722.BLOCK
    (long,) = g722.decode([codes.tobytes()])
    np.testing.assert_array_equal(long[: len(GOLDEN["noise"])], GOLDEN["noise"])
    many = g722.decode([codes[:n].tobytes() for n in range(9000, 9000 + g722.BATCH + 3)])
    for n, wave in enumerate(many, start=9000):
        np.testing.assert_array_equal(wave, long[: 2 * n])
