"""Losses of a discriminator and of whom it judges. Scores are high for what looks real; each mean is over all scores.

The hinge (Lim & Ye, arXiv 1705.02894) and the logistic loss (Goodfellow et al., arXiv 1406.2661) as taming-transformers
has them, for the VAE; least squares (Mao et al., arXiv 1611.04076) and feature matching (Larsen et al., arXiv
1512.09300) as HiFi-GAN has them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Scalar = Float[Array, ""]


def hinge(*, real: Float[Array, "..."], fake: Float[Array, "..."]) -> Scalar:
    """(mean max(0, 1 - real) + mean max(0, 1 + fake)) / 2."""
    return 0.5 * (jax.nn.relu(1 - real).mean() + jax.nn.relu(1 + fake).mean())


def logistic(*, real: Float[Array, "..."], fake: Float[Array, "..."]) -> Scalar:
    """(mean ln(1 + exp(-real)) + mean ln(1 + exp(fake))) / 2."""
    return 0.5 * (jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean())


DiscriminatorLoss = Callable[..., Scalar]
DISCRIMINATOR_LOSSES: dict[str, DiscriminatorLoss] = {"hinge": hinge, "logistic": logistic}


def score_loss(fake: Float[Array, "..."]) -> Scalar:
    """-mean fake: of whom either of the two above judges."""
    return -fake.mean()


def least_squares(
    *, real: Sequence[Float[Array, "..."]], fake: Sequence[Float[Array, "..."]]
) -> Scalar:
    """Of several discriminators, sum_k mean (1 - real_k)^2 + mean fake_k^2."""
    pairs = zip(real, fake, strict=True)
    return _total([jnp.square(1 - r).mean() + jnp.square(f).mean() for r, f in pairs])


def least_squares_of_fakes(fake: Sequence[Float[Array, "..."]]) -> Scalar:
    """sum_k mean (1 - fake_k)^2: of whom `least_squares` judges."""
    return _total([jnp.square(1 - f).mean() for f in fake])


def feature_distance(
    *, real: Sequence[Float[Array, "..."]], fake: Sequence[Float[Array, "..."]]
) -> Scalar:
    """Over all layers of all discriminators, sum_l mean |real_l - fake_l|."""
    return _total([jnp.abs(r - f).mean() for r, f in zip(real, fake, strict=True)])


def once_heard(
    judged: Callable[[Any], Any], argument: Any, *, step: Int[Array, ""], start: int
) -> Any:
    """What `judged` makes of `argument`; zeros, at no cost, before the step `start`.

    A figure of the log is a sum and a count, so that one of zeros counts nowhere.
    """
    if start <= 0:
        return judged(argument)

    def unheard(argument: Any) -> Any:
        shapes = jax.eval_shape(judged, argument)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    return jax.lax.cond(step >= start, judged, unheard, argument)


def _total(terms: Sequence[Scalar]) -> Scalar:
    return sum(terms, start=jnp.zeros((), jnp.float32))
