"""`AudioLDM2`: load a checkpoint, generate clips."""

import dataclasses
import functools
import hashlib
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float
from tqdm import tqdm

from ldm_jax import config, students
from ldm_jax.convert import diffusers_folder, native
from ldm_jax.convert.checkpoint import Checkpoint
from ldm_jax.convert.files import content_hash
from ldm_jax.convert.lazy import CheckpointError
from ldm_jax.convert.load import load
from ldm_jax.diffusion import sampling
from ldm_jax.diffusion.sampling import Plan
from ldm_jax.parallel import mesh as devices_mesh
from ldm_jax.parallel.host_memory import give_memory_back_after_compilation, settled
from ldm_jax.pipeline import ranking, synthesis
from ldm_jax.pipeline.networks import AllParams, Networks, with_dtype
from ldm_jax.pipeline.noise import starting_noise
from ldm_jax.pipeline.plans import make_plan
from ldm_jax.pipeline.prompting import ENCODERS, condition
from ldm_jax.pipeline.tokens import Branches, Tokenizers
from ldm_jax.pipeline.weights import Weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clips:
    """What `AudioLDM2.generate` drew, a row a prompt.

    Attributes:
        audio: waves, full scale 1.
        sample_rate: in Hz.
        scores: cosine of CLAP's embeddings of clip and prompt; None where one candidate was drawn.
        mel: natural-log mel spectrograms.
        latents: what the sampler ended on, scaled as the UNet sees them.
    """

    audio: Float[np.ndarray, "prompts samples"]
    sample_rate: int
    scores: Float[np.ndarray, " prompts"] | None
    mel: Float[np.ndarray, "prompts frames mels"]
    latents: Float[np.ndarray, "prompts time freq channels"]


class AudioLDM2:
    """A checkpoint ready to generate; made by `from_pretrained`."""

    def __init__(
        self, checkpoint: Checkpoint, *, preset: str | None, dtype: str | None, mesh: Mesh
    ):
        """Puts a checkpoint on the devices of `mesh`, and takes the parameters out of it."""
        if missing := [
            name for name in ("unet", "vae", "vocoder") if name not in checkpoint.networks
        ]:
            raise CheckpointError(
                f"{checkpoint.source} cannot generate: it has no {', '.join(missing)}"
            )
        native.check_guidance(checkpoint.networks, checkpoint.distilled, source=checkpoint.source)
        on_cpu = mesh.devices.flat[0].platform == "cpu"
        self.preset = config.preset(preset or checkpoint.preset or "official")
        self.dtype = jnp.dtype(dtype or ("float32" if on_cpu else "bfloat16"))
        networks: dict[str, Any] = {
            name: with_dtype(module, self.dtype) for name, module in checkpoint.networks.items()
        }
        if self.preset.head_dim is not None and checkpoint.preset is None:
            networks["unet"] = networks["unet"].clone(heads=None, head_dim=self.preset.head_dim)
        checkpoint = dataclasses.replace(checkpoint, networks=networks, preset=self.preset.name)
        self.mesh = mesh
        fields = (field.name for field in dataclasses.fields(Networks))
        self.networks = Networks(**{name: networks[name] for name in fields if name in networks})
        self.weights = Weights(checkpoint.params, mesh, self.dtype)
        # The decoders follow when they are needed: until then their memory serves to compile the rest.
        self.weights.of(*ENCODERS, "unet")
        self.checkpoint = checkpoint
        self.tokenizers = Tokenizers.load(list(networks), checkpoint.tokenizers)

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | pathlib.Path,
        *,
        preset: str | None = None,
        dtype: str | None = None,
        devices: Sequence[Any] | None = None,
        revision: str | None = None,
    ) -> "AudioLDM2":
        """Loads a checkpoint in any known layout and puts it on the devices.

        Args:
            path_or_id: our own folder, a folder in the diffusers layout, an official `.pth` file, or a Hub id.
            preset: "official" or "diffusers" (`ldm_jax.config.PRESETS`); None is what the checkpoint was saved
                with, and "official" for a published one.
            dtype: of computation and weights: "float32", "bfloat16" or "float16"; None is float32 on a CPU and
                bfloat16 elsewhere.
            devices: to shard clips over; None is all.
            revision: of a Hub id.

        Raises:
            CheckpointError: a file that is missing, broken, or not a checkpoint.
            ConversionError: configs or weights that do not fit; each is named.
        """
        devices_mesh.enable_compilation_cache()
        give_memory_back_after_compilation()
        if preset is not None:
            config.preset(preset)
        mesh = devices_mesh.data_mesh(devices)
        return cls(load(path_or_id, revision=revision), preset=preset, dtype=dtype, mesh=mesh)

    def save_pretrained(
        self, folder: str | pathlib.Path, *, layout: str = "ldm_jax", overwrite: bool = False
    ) -> None:
        """Writes our own folder, or with layout "diffusers" one that AudioLDM2Pipeline loads; whole or not at all."""
        layouts = {"ldm_jax": native.save, "diffusers": diffusers_folder.save}
        if layout not in layouts:
            raise ValueError(f"unknown layout {layout!r}; there are {', '.join(layouts)}")
        whole = dataclasses.replace(self.checkpoint, params=self.weights.gathered())
        layouts[layout](whole, pathlib.Path(folder), overwrite=overwrite)

    @property
    def params(self) -> AllParams:
        """All parameters of `networks`, by their names, on the devices."""
        return self.weights.of(*(f.name for f in dataclasses.fields(self.networks)), rare=True)

    @functools.cached_property
    def _hash(self) -> str:
        """SHA-256 of the checkpoint's files."""
        of = [
            content_hash(place) for place in (self.checkpoint.source, self.checkpoint.rest) if place
        ]
        return of[0] if len(of) == 1 else hashlib.sha256("".join(of).encode()).hexdigest()

    @property
    def seconds_per_frame(self) -> float:
        """Seconds between two mel frames."""
        return self.checkpoint.hop / self.checkpoint.sample_rate

    @property
    def description(self) -> dict[str, Any]:
        """What made a clip, for records: source and its hash, how it was distilled, preset, compute type, devices."""
        first, distilled = self.mesh.devices.flat[0], self.checkpoint.distilled
        return {
            "source": self.checkpoint.source,
            "checkpoint_hash": self._hash,
            "distilled": None if distilled is None else distilled.to_json(),
            "preset": self.preset.name,
            "dtype": self.dtype.name,
            "devices": f"{self.mesh.size} x {first.device_kind}",
        }

    def latent_shape(self, seconds: float) -> tuple[int, int, int]:
        """(time, frequency, channels) of the latents of a clip; time is rounded up to whole latent frames."""
        vae = self.networks.vae
        factor = 2 ** (len(vae.block_out_channels) - 1)
        frames = -(-round(seconds * self.checkpoint.sample_rate) // self.checkpoint.hop)
        time = max(1, -(-frames // factor))
        return time, self.networks.vocoder.mel_channels // factor, vae.latent_channels

    def plan(self, asked: config.Generation) -> Plan:
        """The sampler's run for settings from `students.settings`; see `pipeline.plans.make_plan`."""
        checkpoint = self.checkpoint
        return make_plan(asked, self.preset, checkpoint.scheduler, checkpoint.distilled)

    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] = "",
        transcript: str | Sequence[str] | None = None,
        seconds: float | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        sampler: str | None = None,
        eta: float | None = None,
        spacing: str | None = None,
        karras: bool = False,
        seed: int | Sequence[int] = 0,
        candidates: int = 1,
        latents: Float[np.ndarray, "rows time freq channels"] | None = None,
        progress: bool = False,
    ) -> Clips:
        """Draws a clip for every prompt.

        A clip depends on its prompt, settings and seed alone, not on the others of its batch or on the devices.

        Args:
            prompts: what is to be heard.
            negative_prompt: what is not; one for all or one a prompt.
            transcript: words to be spoken, for text-to-speech checkpoints; one for all or one a prompt.
            seconds: length of the clips; None is that of what the checkpoint was trained on, 10.24 if published.
            steps: of the sampler; None is the checkpoint's own, 200 unless it is distilled.
            guidance_scale: w in eps_u + w (eps_c - eps_u); 1 or less switches guidance off. None is the checkpoint's
                own, 3.5 unless it is distilled.
            sampler: one of `ldm_jax.diffusion.samplers.SAMPLERS`, or of a student's own (`ldm_jax.students.SAMPLERS`);
                None is the checkpoint's own, "ddim" unless it is distilled.
            eta: noise of DDIM from 0 to 1; None is the preset's.
            spacing: of the timesteps, "leading", "trailing", "linspace" or "official"; None is the preset's.
            karras: whether noise levels are spaced as Karras et al. do, where the sampler can.
            seed: of the noise; one for all or one a prompt.
            candidates: clips drawn a prompt; the one whose CLAP embedding lies nearest to the prompt's is kept.
            latents: initial noise of unit variance in place of `seed`'s, a row a candidate of each prompt.
            progress: shows a bar over the sampler's calls.

        Raises:
            ValueError: an empty prompt, a value out of range, shapes that do not fit, a transcript for a model
                without a phoneme encoder (or none for one with it), or what a distilled checkpoint was not made for.
        """
        distilled = self.checkpoint.distilled
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        count = len(prompts)
        seeds = _one_each("seed", seed, count)
        asked = students.settings(
            distilled,
            seconds=self.checkpoint.seconds if seconds is None else seconds,
            steps=steps,
            guidance_scale=guidance_scale,
            sampler=sampler,
            eta=eta,
            spacing=spacing,
            karras=karras,
            seed=max(seeds, default=0),
            candidates=candidates,
        )
        config.Generation(seed=min(seeds, default=0))
        if candidates > 1 and self.networks.clap is None:
            raise ValueError("candidates are ranked by CLAP, which this checkpoint does not have")
        negatives = _one_each("negative_prompt", negative_prompt, count)
        students.check_negatives(distilled, asked, negatives)
        branches = self.tokenizers.branches(
            prompts,
            negatives=negatives,
            transcripts=None if transcript is None else _one_each("transcript", transcript, count),
            pad_negative=self.preset.unconditional_loa == "generated",
        )
        for sentence in (*students.remarks(distilled, asked), *branches.cuts):
            warnings.warn(sentence, stacklevel=2)
        plan = self.plan(asked)
        shape = self.latent_shape(asked.seconds)
        noise, keys = starting_noise(
            seeds, candidates=candidates, shape=shape, mesh=self.mesh, latents=latents
        )
        final = self._sample(branches, plan, noise, keys, asked, progress)
        return self._finish(final, branches, asked, count)

    def _sample(
        self,
        branches: Branches,
        plan: Plan,
        noise: Array,
        keys: Array,
        asked: config.Generation,
        progress: bool,
    ) -> Array:
        """Final latents, a row a candidate and padding."""
        guided = students.has_two_branches(self.checkpoint.distilled, asked)
        whole = devices_mesh.replicated(self.mesh)
        everything = condition(
            self.networks,
            self.weights,
            branches.positive,
            branches.negative if guided else None,
            loa_tokens=self.checkpoint.loa_tokens,
            generated_loa=self.preset.unconditional_loa == "generated",
        )
        owner = np.minimum(np.arange(noise.shape[0]) // asked.candidates, branches.count - 1)
        row = owner if not guided else np.stack([2 * owner, 2 * owner + 1], axis=1).reshape(-1)
        spread = jax.tree.map(
            lambda x: devices_mesh.place(x[row], devices_mesh.rows(self.mesh)), everything
        )
        plan = devices_mesh.place(plan, whole)
        params = self.weights.of("unet")
        scale = devices_mesh.place(np.float32(asked.guidance_scale), whole)
        told = None if self.networks.unet.guidance_features is None else scale
        projected, table = synthesis.prepare(self.networks, params, spread, plan.timesteps, told)
        carry = sampling.init(plan, noise)
        length = synthesis.segment_length(plan.calls) if progress else plan.calls
        with tqdm(total=plan.calls, unit="call", leave=False, disable=not progress) as bar:
            for start in range(0, plan.calls, length):
                piece = plan.segment(start, start + length)
                carry = synthesis.denoise(
                    self.networks,
                    params,
                    piece,
                    carry,
                    projected,
                    jax.tree.map(lambda x, at=start: x[at : at + length], table),
                    keys if plan.stochastic else None,
                    scale,
                    guided=guided,
                )
                if progress:
                    jax.block_until_ready(carry)
                bar.update(length)
        return settled(sampling.latents_of(carry))

    def _finish(
        self, final: Array, branches: Branches, asked: config.Generation, count: int
    ) -> Clips:
        """Latents to clips, the best candidate a prompt."""
        mel = settled(synthesis.decode(self.networks, self.weights.of("vae"), final))
        wave = settled(synthesis.vocode(self.networks, self.weights.of("vocoder"), mel))
        rows = count * asked.candidates
        samples = round(asked.seconds * self.checkpoint.sample_rate)
        audio, mel, latents = (np.asarray(x)[:rows] for x in (wave, mel, final))
        audio = audio[:, :samples]
        scores, best = None, np.arange(count)
        if asked.candidates > 1:
            table = ranking.score(
                self.networks,
                self.weights.of("clap", rare=True),
                branches.positive,
                audio,
                self.checkpoint.sample_rate,
                padding=self.preset.ranking_padding,
            )
            best = table.argmax(axis=1)
            scores = table.max(axis=1)
            best = best + np.arange(count) * asked.candidates
        return Clips(
            audio=audio[best],
            sample_rate=self.checkpoint.sample_rate,
            scores=scores,
            mel=mel[best],
            latents=latents[best],
        )


def _one_each(name: str, value: Any, count: int) -> list[Any]:
    """`value` for each of `count` prompts."""
    if isinstance(value, (str, int)):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"{len(value)} values of {name} for {count} prompts; give one, or one a prompt"
        )
    return list(value)
