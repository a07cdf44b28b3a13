"""What a training stage is: the networks that it moves, down which losses, on which batches.

A stage is a dataclass of what can be configured, with the methods below; each has a file of its own here. All that is
random in a step is drawn by `draw` for the whole batch at once, before it is divided into microbatches, and so does
not depend on how many of those there are, nor on the devices. The losses are then functions of arrays alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float, Int, Key

from ldm_jax.audio.log_mel import LogMelSettings
from ldm_jax.convert.checkpoint import Checkpoint
from ldm_jax.data.features import Feature, TextTokenizers
from ldm_jax.train.metrics import Metrics
from ldm_jax.train.previews import Preview
from ldm_jax.train.representation import Representation

Params = dict[str, Any]  # of a network
AllParams = dict[str, Params]  # by network
Networks = Mapping[str, nn.Module]  # by the same names
Arrays = dict[str, Any]


class Given(NamedTuple):
    """All that a loss depends on beside the parameters that are trained.

    Attributes:
        frozen: parameters of the networks that stay as they are.
        batch: what the data pipeline made, rows first.
        draws: what `Stage.draw` made. Arrays with axes have the batch's rows first; scalars hold for all rows.
        constants: what `Stage.measure` found before the first step.
        step: how many updates lie behind.
        followers: parameters of the networks that follow trained ones; see `Stage.followers`.
        round: number of the round that the run is in; see `Stage.rounds`.
    """

    frozen: AllParams
    batch: Arrays
    draws: Arrays
    constants: Arrays
    step: Any
    followers: AllParams = {}  # noqa: RUF012  # nobody writes to it
    round: Any = 0


@dataclass(frozen=True, kw_only=True)
class Follower:
    """A network that follows a trained one, and that losses may read.

    Attributes:
        of: the trained network.
        decay: d of f <- d f + (1 - d) p, after each update. At 1 it stands still until the round ends.
    """

    of: str
    decay: float = 1.0


Loss = Callable[[AllParams, Given], tuple[Float[Array, ""], Metrics]]


@dataclass(frozen=True, kw_only=True)
class Player:
    """One loss, and the networks that go down its gradient by an optimiser of their own.

    Players move one after the other in each step; the second sees what the first has become.

    Attributes:
        name: "generator", "discriminator"; of a stage with one player "model".
        networks: that it moves.
        loss: of (parameters of all trained networks, `Given`): a scalar in float32, a mean over the batch's rows, and
            figures for the log.
    """

    name: str
    networks: tuple[str, ...]
    loss: Loss


class Stage:
    """What the loop asks of a stage.

    `networks` has every network of `trained` and `frozen`, and of `consulted` those that there are.
    """

    __slots__ = ()

    def trained(self) -> tuple[str, ...]:
        """Names of the networks that it moves."""
        raise NotImplementedError

    def averaged(self) -> tuple[str, ...]:
        """Those of them whose moving average is kept: all that are used afterwards, so no discriminator."""
        return self.trained()

    def frozen(self) -> tuple[str, ...]:
        """Names of the networks that it needs as they are."""
        return ()

    def consulted(self) -> tuple[str, ...]:
        """Names of networks that it runs without, but knows more with, where weights of them are named."""
        return ()

    def given(self) -> tuple[str, ...]:
        """Those of the trained networks that need weights to begin with; the others may start from scratch."""
        return ()

    def kept_as(self) -> dict[str, str]:
        """Under which name checkpoints have a network, where it is not its own: {"teacher": "unet"}.

        Where no weights are named for it, it starts from where that one does.
        """
        return {}

    def followers(self) -> dict[str, Follower]:
        """Networks that follow trained ones by their own rule: a target network, the teacher of a round."""
        return {}

    def rounds(self) -> int:
        """How many rounds a run has; each lasts as long as the others.

        A round begins as the run did, optimiser and learning rate included, at the averaged parameters that the one
        before has come to; followers begin there too.
        """
        return 1

    def informed(self, origins: Mapping[str, Checkpoint]) -> "Stage":
        """The stage, with what only checkpoints know.

        Args:
            origins: the checkpoint that each network is read from; none of a network that starts from scratch.
        """
        return self

    def held_out(self) -> "Stage":
        """The stage whose losses are taken of held-out clips: as in use, nothing dropped and nothing augmented."""
        return self

    def adapted(self, networks: Networks) -> Networks:
        """The networks, as this stage changes those that it is given."""
        return networks

    def accumulates(self) -> bool:
        """Whether a batch's gradient is the mean of its microbatches' gradients."""
        return True

    def representation(self) -> Representation | None:
        """What is trained in place of the parameters, if not these themselves."""
        return None

    def sampled(self, networks: Networks, *, round: int = -1) -> dict[str, Any]:
        """Fields of `convert.checkpoint.Checkpoint` that the stage decides: how what it trains is to be sampled.

        Args:
            networks: all.
            round: after which; -1 is the last.
        """
        return {}

    def features(
        self, text: TextTokenizers, mel: LogMelSettings, seconds: float
    ) -> tuple[Feature, ...]:
        """What a batch from sound holds."""
        raise NotImplementedError

    def check(self, networks: Networks) -> None:
        """Raises ValueError, in one sentence, where settings and networks do not fit each other."""

    def measure(self, networks: Networks, frozen: AllParams, batch: Arrays) -> Arrays:
        """Constants that are measured once, on the first batch, and kept with the run (mostly none)."""
        return {}

    def draw(
        self, networks: Networks, key: Key[Array, ""], batch: Arrays, step: Int[Array, ""]
    ) -> Arrays:
        """All that is random in a step, for the whole batch: see `Given.draws`."""
        return {}

    def players(self, networks: Networks) -> tuple[Player, ...]:
        """Who moves, in order."""
        raise NotImplementedError

    def after(self, networks: Networks, params: AllParams, given: Given) -> AllParams:
        """Parameters that no gradient moves (running statistics), as they are after this batch: a partial tree."""
        return {}

    def preview(
        self, networks: Networks, params: AllParams, given: Given, key: Key[Array, ""]
    ) -> Preview:
        """What a person would look at, from averaged parameters and a batch of held-out clips."""
        return Preview()
