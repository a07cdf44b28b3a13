"""The networks that metrics hear with, beside PyTorch's originals: VGGish, PANNs' Cnn14 and CLAP's audio tower.

    make .venv-parity/.ready
    .venv-parity/bin/python benchmarks/backbones.py

Clips of 10 s a second, "whole" from the wave on, "network" from its input on; random weights, both sides the same.
The peers are torchvggish, panns_inference (with torchlibrosa's front end) and transformers' ClapModel with its feature
extractor, as they come. Both sides take turns; rates are medians, and so is the ratio of times, pair by pair: below 1
ours is faster. What is loaded once (weights; ours prepared, compiled) is not in the times.
"""

import argparse
import functools
import importlib
import importlib.util
import pathlib
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ldm_jax.audio.clap_features import clap_features
from ldm_jax.audio.panns_features import PANNS, panns_log_mel
from ldm_jax.audio.vggish_features import vggish_examples
from ldm_jax.convert import clap, cnn14, vggish
from ldm_jax.convert.checkpoint import abstract_params
from ldm_jax.convert.rules import convert
from ldm_jax.models.cnn14 import Cnn14
from ldm_jax.models.vggish import VGGish

SECONDS = 10
MAX_ERROR = 1e-3


class Pair(NamedTuple):
    """Ours and the peer's front end and network, arrays of all clips in, arrays out."""

    name: str
    sample_rate: int
    our_front: Callable[[np.ndarray], np.ndarray]
    our_network: Callable[[np.ndarray], Any]
    their_front: Callable[[np.ndarray], Any]
    their_network: Callable[[Any], Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, nargs="+", default=[1, 8], help="at a time")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=("vggish", "cnn14_16k", "cnn14_32k", "clap"))
    arguments = parser.parse_args()
    import torch  # pyright: ignore[reportMissingImports]

    title = f"clips of {SECONDS} s a second, {torch.get_num_threads()} threads"
    print(f"{title:44s} {'ours':>8s} {'theirs':>8s} {'time':>6s}")
    with torch.inference_mode():
        for pair in pairs(arguments.only):
            for clips in arguments.clips:
                compare(pair, clips, arguments.rounds)
            jax.clear_caches()


def compare(pair: Pair, clips: int, rounds: int) -> None:
    """Prints a line for the whole and one for the network alone, after checking that both give the same."""
    random = np.random.default_rng(0)
    loudness = 10 ** random.uniform(-3, -1, (clips, 1))
    waves = loudness * random.standard_normal((clips, SECONDS * pair.sample_rate))
    waves = waves.astype(np.float32)
    ours_in, theirs_in = pair.our_front(waves), pair.their_front(waves)
    ours, theirs = np.asarray(pair.our_network(ours_in)), np.asarray(pair.their_network(theirs_in))
    error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    assert error < MAX_ERROR, f"{pair.name} differs by {error:.1e}"
    for part, mine, their in (
        (
            "whole",
            lambda: pair.our_network(pair.our_front(waves)),
            lambda: pair.their_network(pair.their_front(waves)),
        ),
        (
            "network",
            lambda: pair.our_network(ours_in),
            lambda: pair.their_network(theirs_in),
        ),
    ):
        times = [(_seconds(mine), _seconds(their)) for _ in range(rounds + 1)][1:]
        rates = [clips / statistics.median(side) for side in zip(*times, strict=True)]
        ratio = statistics.median(us / them for us, them in times)
        label = f"{pair.name}, {part}, {clips} at a time"
        print(f"{label:44s} {rates[0]:8.2f} {rates[1]:8.2f} {ratio:6.2f}", flush=True)


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def pairs(only: str | None) -> Iterator[Pair]:
    """One after another, so that the weights of one lie in memory."""
    if only in (None, "vggish"):
        yield vggish_pair()
    for rate in (16_000, 32_000):
        if only in (None, f"cnn14_{rate // 1000}k"):
            yield cnn14_pair(rate)
    if only in (None, "clap"):
        yield clap_pair()


def vggish_pair() -> Pair:
    import torch  # pyright: ignore[reportMissingImports]
    from torchvggish import (  # pyright: ignore[reportMissingImports]
        torchvggish,
        vggish_input,
    )

    net = torchvggish.VGG(torchvggish.make_layers(), postprocess=False).eval()
    net.embeddings = net.embeddings[:-1]  # as FAD's tools
    module = VGGish()
    params = convert(_tensors(net), vggish.TORCHVGGISH, abstract_params(module), network="VGGish")
    run = _prepared(module, params)

    def their_front(waves: np.ndarray) -> Any:
        clips = [vggish_input.waveform_to_examples(x, 16_000, return_tensor=False) for x in waves]
        return torch.from_numpy(np.concatenate(clips)).float()[:, None]

    return Pair(
        "VGGish",
        16_000,
        lambda waves: np.asarray(vggish_examples(waves)).reshape(-1, 96, 64),
        run,
        their_front,
        net,
    )


def cnn14_pair(rate: int) -> Pair:
    import torch  # pyright: ignore[reportMissingImports]

    settings = PANNS[rate]
    net = _panns_models().Cnn14(rate, settings.n_fft, settings.hop, 64, 50, int(settings.fmax), 527)
    net.eval()
    front = torch.nn.Sequential(net.spectrogram_extractor, net.logmel_extractor)
    tensors = _tensors(net)
    net.spectrogram_extractor = net.logmel_extractor = torch.nn.Identity()
    module = Cnn14()
    params = convert(tensors, cnn14.OFFICIAL, abstract_params(module), network="Cnn14")
    run = _prepared(module, params)
    return Pair(
        f"Cnn14, {rate // 1000} kHz",
        rate,
        lambda waves: np.asarray(panns_log_mel(waves, settings)),
        lambda x: run(x).embedding,
        lambda waves: front(torch.from_numpy(waves)),
        lambda x: net(x)["embedding"],
    )


def clap_pair() -> Pair:
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    net: Any = ClapModel(ClapConfig()).eval()
    module = clap.from_config(net.config.to_dict())
    params = convert(_tensors(net), clap.TRANSFORMERS, abstract_params(module), network="CLAP")
    params = jax.tree.map(jnp.asarray, params)
    extractor = ClapFeatureExtractor(**clap.FEATURE_EXTRACTOR)
    run = jax.jit(functools.partial(module.apply, method="embed_audio"))

    def their_front(waves: np.ndarray) -> Any:
        made = extractor(list(waves), sampling_rate=48_000, return_tensors="pt")
        return made["input_features"].float()

    def their_network(features: Any) -> Any:
        return torch.nn.functional.normalize(net.get_audio_features(features), dim=-1)

    return Pair(
        "CLAP, HTSAT-tiny",
        48_000,
        lambda waves: np.asarray(clap_features(waves)),
        lambda x: run({"params": params}, x),
        their_front,
        their_network,
    )


def _tensors(net: Any) -> dict[str, np.ndarray]:
    return {name: x.detach().numpy() for name, x in net.state_dict().items()}


def _prepared(module: Any, params: Any) -> Callable[[Any], Any]:
    prepare = jax.jit(functools.partial(module.apply, method="prepare"))
    prepared = jax.block_until_ready(prepare({"params": jax.tree.map(jnp.asarray, params)}))
    run = jax.jit(lambda x, prepared: module.apply({}, x, prepared=prepared))
    return lambda x: run(x, prepared)


@functools.cache
def _panns_models() -> Any:
    """`panns_inference.models`; the package itself, when it is imported, downloads a list of classes."""
    spec = importlib.util.find_spec("panns_inference")
    if spec is None or spec.origin is None:
        sys.exit("panns_inference is missing; run this with .venv-parity/bin/python")
    package = types.ModuleType("panns_inference")
    package.__path__ = [str(pathlib.Path(spec.origin).parent)]
    sys.modules["panns_inference"] = package
    return importlib.import_module("panns_inference.models")


if __name__ == "__main__":
    main()
