"""The stages' losses written out in PyTorch, float64, a clip at a time, on the peers' own networks.

Line by line after haoheliu/AudioLDM-training-finetuning: `Sequence2AudioMAE` (training_step,
calculate_ahead_k_step_loss, generate), `SequenceGenAudioMAECond.forward`, `AudioMAEConditionCTPoolRand.pool`,
`LatentDiffusion.shared_step` and `p_losses`. A clip at a time, because those pad the text of a batch with positions.
"""

import numpy as np
import torch
from diffusers.pipelines.audioldm2.modeling_audioldm2 import AudioLDM2ProjectionModel

from tests import cases_joint as cases
from tests.parity import oracle_gpt2, oracle_phoneme_encoder, oracle_unet


def shapes(kind: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        front = AudioLDM2ProjectionModel.from_config(cases.FRONTS[kind]).state_dict()
    parts = {
        "unet": oracle_unet.shapes(cases.UNETS[kind]),
        "gpt2": oracle_gpt2.shapes(cases.GPT2),
        "translator": {name: tuple(x.shape) for name, x in front.items()},
        "phoneme_encoder": {},
    }
    if kind == "speech":
        parts["phoneme_encoder"] = oracle_phoneme_encoder.shapes(cases.PHONEMES)
    return {f"{part}.{name}": x for part, found in parts.items() for name, x in found.items()}


class Networks:
    def __init__(self, kind: str, tensors: dict[str, np.ndarray]):
        def part(name):
            return {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}  # fmt: skip

        self.unet = oracle_unet.load(cases.UNETS[kind], part("unet"), dtype="float64")
        self.gpt2 = oracle_gpt2.build(cases.GPT2, part("gpt2"), dtype="float64")
        self.translator = AudioLDM2ProjectionModel.from_config(cases.FRONTS[kind]).double()
        state = {name: torch.tensor(x) for name, x in part("translator").items()}
        self.translator.load_state_dict(state, strict=True)
        self.phoneme_encoder = None
        if kind == "speech":
            self.phoneme_encoder = oracle_phoneme_encoder.build(
                cases.PHONEMES, part("phoneme_encoder"), dtype="float64"
            )

    def named(self) -> dict[str, torch.nn.Module]:
        found = {"unet": self.unet, "gpt2": self.gpt2, "translator": self.translator}
        return found | ({"phoneme_encoder": self.phoneme_encoder} if self.phoneme_encoder else {})


def pooled(loa: torch.Tensor, pool: int) -> torch.Tensor:
    rows, columns = cases.GRID
    x = loa.transpose(1, 2).reshape(1, cases.WIDTH, rows, columns)
    window = (pool, min(columns, pool))
    x = (torch.nn.functional.avg_pool2d(x, window) + torch.nn.functional.max_pool2d(x, window)) / 2
    return x.flatten(2).transpose(1, 2)


def penalty(name: str):
    return torch.nn.functional.l1_loss if name == "l1" else torch.nn.functional.mse_loss


class Clip:
    """One clip's losses."""

    def __init__(self, networks: Networks, batch: dict[str, np.ndarray], i: int, settings: dict):
        self.networks, self.settings = networks, settings
        self.x = {name: torch.tensor(np.array(x[i : i + 1])) for name, x in batch.items()}
        self.text = self.x["t5"][:, self.x["t5_mask"][0]]

    def condition(self) -> tuple[torch.Tensor, torch.Tensor]:
        clap, mask = self.x["clap_text"][:, None], torch.ones(1, 1, dtype=torch.long)
        text, text_mask = self.text, torch.ones(self.text.shape[:2], dtype=torch.long)
        if self.networks.phoneme_encoder is not None:
            text_mask = self.x["phoneme_mask"].long()
            text = self.networks.phoneme_encoder(
                self.x["phoneme_ids"].long(),
                attention_mask=text_mask,
                padding_mask=text_mask.unsqueeze(-1),
            ).last_hidden_state
        joined = self.networks.translator(
            hidden_states=clap,
            hidden_states_1=text,
            attention_mask=mask,
            attention_mask_1=text_mask,
        )
        return joined.hidden_states, joined.attention_mask

    def gpt2(self, embeds: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        extra = mask.new_ones(1, embeds.shape[1] - mask.shape[1])
        mask = torch.cat([mask, extra], dim=1)
        return self.networks.gpt2(inputs_embeds=embeds, attention_mask=mask).last_hidden_state

    def continued(self, embeds: torch.Tensor, mask: torch.Tensor, steps: int) -> torch.Tensor:
        for _ in range(steps):
            embeds = torch.cat([embeds, self.gpt2(embeds, mask)[:, -1:]], dim=1)
        return embeds[:, -steps:]

    def teacher_forced(self, target: torch.Tensor) -> torch.Tensor:
        embeds, mask = self.condition()
        out = self.gpt2(torch.cat([embeds, target], dim=1), mask)[:, embeds.shape[1] - 1 : -1]
        return penalty(self.settings.get("penalty", "l1"))(out, target)

    def ahead(self, target: torch.Tensor, start: int, steps: int) -> torch.Tensor:
        embeds, mask = self.condition()
        out = self.continued(torch.cat([embeds, target[:, :start]], dim=1), mask, steps)
        wanted = target[:, start : start + steps]
        return penalty(self.settings.get("penalty", "l1"))(out, wanted)

    def diffusion(self, loa: torch.Tensor, text: torch.Tensor, noises: dict) -> torch.Tensor:
        mean, deviation = self.x["latents"].chunk(2, dim=-1)
        x0 = cases.SCALE * (mean + deviation * noises["posterior"])
        t = noises["timesteps"]
        betas = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64) ** 2
        alpha_bar = torch.cumprod(1 - betas, dim=0)[t].reshape(1, 1, 1, 1)
        noise = noises["noise"]
        noisy = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise
        texts = {}
        if self.networks.phoneme_encoder is None:
            ones = torch.ones(text.shape[:2], dtype=torch.bool)
            texts = {"encoder_hidden_states_1": text, "encoder_attention_mask_1": ones}
        out = self.networks.unet(
            noisy.movedim(-1, 1), t, encoder_hidden_states=loa, **texts
        ).sample.movedim(1, -1)
        if self.settings.get("prediction", "eps") == "eps":
            return ((out - noise) ** 2).mean()
        v = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * x0
        snr = alpha_bar / (1 - alpha_bar)
        weight = torch.clamp(snr, max=5.0) / (snr + 1)
        return (weight * (out - v) ** 2).mean()


def losses(clip: Clip, stage: str, drawn: dict, noises: dict) -> dict[str, torch.Tensor]:
    settings = clip.settings
    pools = settings.get("time_pools", (2,))
    target = pooled(clip.x["loa"], pools[drawn.get("pool", 0)])
    if stage == "translator":
        teacher, ahead = settings.get("teacher_weight", 2.0), settings.get("ahead_weight", 0.0)
        loss = torch.zeros(())
        if teacher:
            loss = loss + teacher * clip.teacher_forced(target)
        if ahead:
            loss = loss + ahead * clip.ahead(target, drawn["start"], drawn["steps"])
        return {"loss": loss}
    empty = clip.x["empty_t5"]
    if drawn.get("drop"):
        diffusion = clip.diffusion(torch.zeros_like(target), empty, noises)
        return {"loss": diffusion, "diffusion": diffusion}
    text = clip.text if settings.get("captions", True) else empty
    if stage == "diffusion":
        diffusion = clip.diffusion(target, text, noises)
        return {"loss": diffusion, "diffusion": diffusion}
    loa = target if drawn["true"] else clip.continued(*clip.condition(), target.shape[1])
    diffusion, teacher = clip.diffusion(loa, text, noises), clip.teacher_forced(target)
    return {"loss": diffusion + 2 * teacher, "diffusion": diffusion, "teacher_forced": teacher}


def run(name: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`NAME/loss` and other parts of it, and `NAME/NETWORK`, the gradients' `cases.summary`."""
    stage, settings, drawn = cases.CASES[name]
    with oracle_gpt2.default_dtype("float64"):
        networks = Networks(cases.kind(name), tensors)
        parts: dict[str, list] = {}
        for i in range(3):
            noises = {k: torch.tensor(x[i : i + 1]) for k, x in cases.noises().items()}
            found = losses(Clip(networks, cases.batch(), i, settings), stage, drawn, noises)
            for key, value in found.items():
                parts.setdefault(key, []).append(value)
        means = {key: torch.stack(values).mean() for key, values in parts.items()}
        means["loss"].backward()
    out = {f"{name}/{key}": np.array(value.item()) for key, value in means.items()}
    for network, module in networks.named().items():
        gradients = {
            key: (torch.zeros_like(p) if p.grad is None else p.grad).numpy()
            for key, p in module.named_parameters()
            if not key.startswith("project.")
        }
        out[f"{name}/{network}"] = cases.summary(gradients, network)
    return out
