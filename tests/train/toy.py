"""A stage whose losses and gradients can be written down."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ldm_jax.data.features import STAGES
from ldm_jax.train.metrics import banded, mean
from ldm_jax.train.previews import Preview
from ldm_jax.train.stages.stage import Follower, Player, Stage

MELS = 64
ROUND = 4  # steps of a round of `Chase`


class Line(nn.Module):
    """One number a clip from its mean log-mel. The ballast makes its checkpoints as long as real ones' least."""

    dtype: object = jnp.float32
    ballast: int = 8192

    @nn.compact
    def __call__(self, x):
        self.param("ballast", nn.initializers.normal(1.0), (self.ballast,))
        return nn.Dense(1, dtype=self.dtype, name="line")(x)

    def example(self):
        return (jnp.zeros((1, MELS)),)


@dataclasses.dataclass(kw_only=True, slots=True)
class Fit(Stage):
    """Predicts a random number from each clip; `rival` predicts the first one's error."""

    noise: float = 0.1
    rivals: bool = False
    poison: tuple[int, ...] = ()  # steps whose loss is not a number
    poisoned: str = "model"  # or "rival": whose

    def trained(self):
        return ("line", "rival") if self.rivals else ("line",)

    def averaged(self):
        return ("line",)

    def held_out(self):
        return dataclasses.replace(self, noise=0.0)

    def features(self, text, mel, seconds):
        return STAGES["vae"](text, mel, seconds)

    def draw(self, networks, key, batch, step):
        rows = batch["log_mel"].shape[0]
        wrong = jnp.isin(step, jnp.asarray(self.poison or (-1,)))
        return {
            "target": self.noise * jax.random.normal(key, (rows,)),
            "factor": jnp.where(wrong, jnp.nan, 1.0),
        }

    def players(self, networks):
        def value(name, params, given):
            x = given.batch["log_mel"].mean(1) / 10
            return networks[name].apply({"params": params[name]}, x)[:, 0]

        def fit(params, given):
            error = (value("line", params, given) - given.draws["target"]) ** 2
            bands = (given.draws["target"] > 0).astype(jnp.int32)
            figures = {"error": mean(error), "by_sign": banded(error, bands, count=2)}
            return factor("model", given) * error.mean(), figures

        def chase(params, given):
            aim = jax.lax.stop_gradient(value("line", params, given))
            error = (value("rival", params, given) - aim) ** 2
            return factor("rival", given) * error.mean(), {}

        def factor(player, given):
            return given.draws["factor"] if player == self.poisoned else 1.0

        one = Player(name="model", networks=("line",), loss=fit)
        return (
            (one, Player(name="rival", networks=("rival",), loss=chase)) if self.rivals else (one,)
        )

    def preview(self, networks, params, given, key):
        return Preview(figures={"weight": float(jnp.abs(params["line"]["line"]["kernel"]).sum())})


@dataclasses.dataclass(kw_only=True, slots=True)
class Chase(Fit):
    """Predicts a random number more than its first follower does; the error counts once in the first round, then twice.

    A batch with `behind` is one of a run of its own that comes after so many rounds.
    """

    decays: tuple[float, ...] = (1.0,)
    students: int = 1

    def followers(self):
        names = {d: "still" if d == 1 else "slow" for d in self.decays}
        return {names[d]: Follower(of="line", decay=d) for d in self.decays}

    def rounds(self):
        return self.students

    def draw(self, networks, key, batch, step):
        step = step + ROUND * batch.get("behind", 0)
        return Fit.draw(self, networks, jax.random.fold_in(jax.random.key(5), step), batch, step)

    def players(self, networks):
        leader = next(iter(self.followers()))

        def chase(params, given):
            def value(params):
                return networks["line"].apply({"params": params}, x)[:, 0]

            x = given.batch["log_mel"].mean(1) / 10
            aim = jax.lax.stop_gradient(value(given.followers[leader])) + given.draws["target"]
            times = 1 + given.round + given.batch.get("behind", 0)
            error = times * (value(params["line"]) - aim) ** 2
            return given.draws["factor"] * error.mean(), {"error": mean(error)}

        return (Player(name="model", networks=("line",), loss=chase),)
