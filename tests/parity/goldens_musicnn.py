r"""Writes tests/golden/musicnn.npz, musicnn_features.npz and tf_bundle from the package musicnn and TensorFlow.

    pip download --no-deps musicnn==0.1.0 && python -m zipfile -e musicnn-0.1.0-py3-none-any.whl build/musicnn
    pip install --target build/tensorflow tensorflow-cpu==2.21.0 tf_keras==2.21.0
    MUSICNN_SOURCE=build/musicnn PYTHONPATH=build/tensorflow .venv/bin/python -m tests.parity.goldens_musicnn

Without the variable the files stay as they are. Two things are set from outside: TensorFlow's older layers, which are
in tf_keras now, and librosa's reflection at a clip's ends, which was its default when the package was made.
"""

import functools
import os
import pathlib
import sys
import tempfile
import warnings
from collections.abc import Mapping
from typing import Any
from unittest import mock

import numpy as np
import soundfile

from tests import cases_audio, golden
from tests import cases_musicnn as cases

SOURCE = os.environ.get("MUSICNN_SOURCE")
BUNDLE = golden.FOLDER / "tf_bundle"


def write() -> None:
    if not SOURCE:
        print("MUSICNN_SOURCE is not set: tests/golden/musicnn*.npz and tf_bundle stay as they are")
        return
    outputs = {}
    for frames in cases.FRAMES:
        logits, embedding, shapes = run(cases.log_mel(frames), cases.weights)
        outputs |= {f"{frames}_logits": logits, f"{frames}_embedding": embedding}
    golden.save("musicnn", shapes=shapes, outputs=outputs)
    outputs = {}
    for name, samples in cases.WAVES.items():
        patches, log_mel = features(cases.LEVEL * cases_audio.wave(samples, 16_000))
        outputs[f"{name}_shape"] = np.array(log_mel.shape)
        outputs[f"{name}_patches"] = np.array(0 if patches is None else len(patches))
        outputs[name] = log_mel[cases_audio.kept(len(log_mel))]
    golden.save("musicnn_features", shapes={}, outputs=outputs)
    save_bundle(BUNDLE / "small")


def run(
    log_mel: np.ndarray, weights: Any, *, checkpoint: str = ""
) -> tuple[np.ndarray, np.ndarray, dict[str, tuple[int, ...]]]:
    """(logits, embedding, shapes by name) of the package's own graph, in the type of `log_mel`.

    Args:
        log_mel: (batch, frames, 96).
        weights: a function of the variables' shapes that gives them.
        checkpoint: what TensorFlow restores in their place; float32.
    """
    tf = tensorflow()
    from musicnn import models

    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        x = tf.compat.v1.placeholder(log_mel.dtype, [None, *log_mel.shape[1:]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = models.define_model(x, tf.constant(False), "MTT_musicnn", 50)
        variables = {v.op.name: v for v in tf.compat.v1.global_variables()}
        shapes = {name: tuple(map(int, v.shape)) for name, v in variables.items()}
        if checkpoint:
            tf.compat.v1.train.Saver().restore(session, checkpoint)
        else:
            for name, value in weights(shapes).items():
                variables[name].load(value, session)
        logits, embedding = session.run((outputs[0], outputs[-1]), {x: log_mel})
    return logits, embedding, shapes


def features(wave: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """(patches, log-mel), in 16 bits, of the package; no patches where it cuts none."""
    tensorflow()
    import librosa
    from musicnn import extractor

    reflected = functools.partial(librosa.feature.melspectrogram, pad_mode="reflect")
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(librosa.feature, "melspectrogram", reflected),
    ):
        path = pathlib.Path(folder) / "a.wav"
        soundfile.write(path, wave.astype(np.float32), 16_000, subtype="FLOAT")
        if len(wave) // 256 + 1 < 187:  # where the package stops with an error
            return None, extractor.batch_data(str(path), 1, 1)[1]
        return extractor.batch_data(str(path), 187, 187)


def tags(wave: np.ndarray, network: str) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities, embeddings) by patch of the whole published program with its own weights.

    It gives the embedding of the first patch for all.
    """
    tensorflow()
    import librosa
    from musicnn import extractor

    reflected = functools.partial(librosa.feature.melspectrogram, pad_mode="reflect")
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(librosa.feature, "melspectrogram", reflected),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        path = pathlib.Path(folder) / "a.wav"
        soundfile.write(path, wave.astype(np.float32), 16_000, subtype="FLOAT")
        taggram, _, found = extractor.extractor(str(path), model=network)
    return taggram, found["penultimate"]


def save_bundle(prefix: pathlib.Path, tensors: Mapping[str, np.ndarray] | None = None) -> None:
    """TensorFlow's own file of `cases.bundle()` and a string, or of `tensors`."""
    tf = tensorflow()
    content = {**cases.bundle(), "text": np.array(b"a string")} if tensors is None else tensors
    prefix.parent.mkdir(exist_ok=True)
    names = sorted(content)
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        values = [tf.constant(content[name]) for name in names]
        session.run(tf.raw_ops.SaveV2(
            prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=values,
        ))  # fmt: skip


def read_bundle(prefix: pathlib.Path) -> dict[str, np.ndarray]:
    """What TensorFlow reads."""
    reader = tensorflow().train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def tensorflow() -> Any:
    assert SOURCE
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if SOURCE not in sys.path:
        sys.path.insert(0, SOURCE)
    import tensorflow as tf

    return tf


if __name__ == "__main__":
    write()
