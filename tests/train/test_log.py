"""What a run leaves to be looked at."""

import matplotlib.image
import numpy as np

from ldm_jax.train.log import Log
from ldm_jax.train.previews import Preview


def test_pictures_of_one_preview_have_one_scale_of_colours(tmp_path):
    """A half of -4 has the same colour beside a half of -9 as beside one of 0, which alone would make it darker."""
    soft, loud = np.full((2, 64, 64), -4.0)
    soft[32:], loud[32:] = -9.0, 0.0
    log = Log(tmp_path, steps=1, start=0, writes=True, tensorboard=False)
    log.show(1, Preview(images={"soft": soft, "loud": loud}))
    log.close()
    pictures = [
        matplotlib.image.imread(tmp_path / f"previews/00000001/{name}.png")
        for name in ("soft", "loud")
    ]
    row, quarter = len(pictures[0]) // 2, pictures[0].shape[1] // 4
    ours, theirs = (picture[row, quarter] for picture in pictures)
    np.testing.assert_array_equal(ours, theirs)
    assert ours[:3].sum() < 2.5  # a colour, not the white around
