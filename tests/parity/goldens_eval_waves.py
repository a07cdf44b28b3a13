r"""Writes tests/golden/eval_waves.npz: what evaluation tools make of files, by their own code, kept elsewhere.

    git clone https://github.com/haoheliu/audioldm_eval            # at 8dc07ee
    git clone https://github.com/Bai-YT/ConsistencyTTA             # at 8ea43b6
    git clone https://github.com/hkchengrex/av-benchmark           # at 050a5cd
    git clone https://github.com/microsoft/fadtk                   # at ec74b1f
    git clone https://github.com/Stability-AI/stable-audio-metrics # at fd55536
    pip install --no-deps --target build/extra torchaudio==2.11.0 resampy==0.4.3 pyloudnorm==0.2.0
    EVAL_TOOLS_SOURCE=. PYTHONPATH=build/extra .venv-parity/bin/python -m tests.parity.goldens_eval_waves

Without the variable the file stays as it is. torchaudio reads and writes by soundfile, which fadtk asks for; what the
tools import beside that is not run here.
"""

import functools
import importlib.util
import logging
import os
import pathlib
import shutil
import sys
import tempfile
import types
from typing import Any
from unittest import mock

import numpy as np
import soundfile
import torch

from tests import cases_eval_waves as cases
from tests import golden
from tests.parity.presets.networks import stub, torchaudio_by_soundfile

SOURCE = os.environ.get("EVAL_TOOLS_SOURCE")


def write() -> None:
    if not SOURCE:
        print("EVAL_TOOLS_SOURCE is not set: tests/golden/eval_waves.npz stays as it is")
        return
    torchaudio_by_soundfile()
    oracles = _audioldm_eval() | _consistencytta() | _av_benchmark() | _fadtk() | _stable()
    outputs = {}
    with tempfile.TemporaryDirectory() as folder:
        for file in cases.FILES:
            path = cases.write(file, pathlib.Path(folder))
            for name, oracle in oracles.items():
                made = np.asarray(oracle(path)).reshape(-1)
                kept = made[cases.places(f"{name}/{file}", len(made))]
                outputs[f"{name}/{file}"] = kept.astype(np.float32)
                outputs[f"{name}/{file}/length"] = np.array(len(made))
    golden.save("eval_waves", shapes={}, outputs=outputs)


def _module(path: str, name: str | None = None) -> Any:
    name = name or path.replace("/", "_").removesuffix(".py")
    assert SOURCE
    spec = importlib.util.spec_from_file_location(name, pathlib.Path(SOURCE) / path)
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _dataset(cls: Any, rate: int, **fields: Any) -> Any:
    """Without its listing of a folder."""
    made = cls.__new__(cls)
    made.__dict__ |= {"sr": rate, "resampler": {}, **fields}
    return made


def _audioldm_eval() -> dict[str, Any]:
    cls = _module("audioldm_eval/audioldm_eval/datasets/load_mel.py").WaveDataset
    rates = {"vggish": 16_000, "16k": 16_000, "32k": 32_000}
    return {
        f"audioldm_eval_{name}": _dataset(cls, rate).read_from_file for name, rate in rates.items()
    }


def _consistencytta() -> dict[str, Any]:
    stub("tools.mix", mix=None)
    reading = _module("ConsistencyTTA/audioldm_eval/datasets/load_mel.py")
    tools = _module("ConsistencyTTA/tools/torch_tools.py")

    def panns(path):  # WaveDataset.read_from_file, whose padding takes tensors alone
        wave = torch.from_numpy(reading.read_centered_wav(path, target_sr=16_000))
        return reading.pad_short_audio(wave[:160_000])

    return {
        "consistencytta_16k": panns,
        "consistencytta_lsd": lambda path: reading.read_centered_wav(path, 16_000),
        "consistencytta_vggish": _module(
            "ConsistencyTTA/audioldm_eval/metrics/fad.py"
        ).load_audio_task,
        "consistencytta_clap": lambda path: tools.read_wav_file(path, 480_000, [16_000, 48_000]),
    }


def _av_benchmark() -> dict[str, Any]:
    stub("torchvision.transforms.v2")
    stub("torchvision.transforms", v2=None)
    stub("pytorchvideo.data.clip_sampling", ConstantClipsPerVideoSampler=None)
    cls = _module("av-benchmark/av_bench/data/audio_dataset.py").AudioDataset
    at = functools.partial(_dataset, cls, audio_length=8.0)

    def passt(path):  # the rest is done in `extract`
        wave = at(32_000).read_from_file(path)
        return torch.nn.functional.pad(wave, (0, 320_000 - wave.size(-1)))

    return {
        "av_benchmark_16k": at(16_000).read_from_file,
        "av_benchmark_clap": at(48_000).read_from_file,
        "av_benchmark_passt": passt,
    }


def _fadtk() -> dict[str, Any]:
    stub("hypy_utils", write=None)
    stub("hypy_utils.downloader", download_file=None)
    stub("hypy_utils.tqdm_utils", tq=None, tmap=None, pmap=None)
    stub("hypy_utils.logging_utils", setup_logger=logging.getLogger)
    stub("hypy_utils.nlp_utils", substr_between=None)
    package = types.ModuleType("fadtk")
    package.__path__ = [f"{SOURCE}/fadtk/fadtk"]
    sys.modules["fadtk"] = package
    loader = _module("fadtk/fadtk/model_loader.py", "fadtk.model_loader")
    cls = _module("fadtk/fadtk/fad.py", "fadtk.fad").FrechetAudioDistance
    clap = loader.CLAPLaionModel
    import torchaudio

    def save(file, wave, rate, *, encoding, bits_per_sample):
        assert (encoding, bits_per_sample) == ("PCM_S", 16)
        soundfile.write(file, wave.numpy().T, rate, subtype="PCM_16")

    def read(path, rate, least):
        model = types.SimpleNamespace(sr=rate, min_len=least, name="")
        model.enforce_min_len = functools.partial(loader.ModelLoader.enforce_min_len, model)
        model.load_wav = functools.partial(loader.ModelLoader.load_wav, model)
        tool = cls.__new__(cls)
        tool.ml = model
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(torchaudio, "save", save),
        ):
            return tool.load_audio(shutil.copy(path, folder))

    return {
        "fadtk_vggish": lambda path: read(path, 16_000, 1),
        "fadtk_clap": lambda path: clap.int16_to_float32(
            None, clap.float32_to_int16(None, read(path, 48_000, -1))
        ),
    }


def _stable() -> dict[str, Any]:
    """Both read within long functions; they are run to where they call the network."""
    stub("laion_clap", CLAP_Module=None)
    stub("clap_module.factory", load_state_dict=lambda _: {})
    stub("hear21passt.base", get_basic_model=None)
    clap = _module("stable-audio-metrics/src/clap_score.py")
    passt = _module("stable-audio-metrics/src/passt_kld.py")

    def by_clap(path):
        model = mock.MagicMock()
        model.get_text_embedding.side_effect = lambda texts, **_: torch.ones(len(texts), 4)
        model.get_audio_embedding_from_data.side_effect = lambda **_: torch.ones(1, 4)
        with (
            mock.patch.object(clap.laion_clap, "CLAP_Module", return_value=model),
            mock.patch.object(clap.os.path, "exists", return_value=True),
        ):
            clap.clap_score({path.stem: ""}, str(path.parent), path.suffix)
        return model.get_audio_embedding_from_data.call_args.kwargs["x"]

    def by_passt(path):
        whole = []
        peak = passt.pyln.normalize.peak

        def keep(*args):
            whole.append(peak(*args))
            return whole[-1]

        with (
            mock.patch.object(passt.pyln.normalize, "peak", keep),
            mock.patch.object(torch.Tensor, "cuda", lambda x: x),
        ):
            passt.return_probabilities(lambda _: torch.zeros(1, 527), path)
        return whole[0]

    return {"stable_audio_metrics_clap": by_clap, "stable_audio_metrics_passt": by_passt}


if __name__ == "__main__":
    write()
