"""How a group runs where its policy and its world are kernels: as in `garage.sampler.rollout`, to the bit."""

from typing import final

from garage.core.ports import Group, Lanes
from garage.core.types import EpisodeBatch, State
from garage.kernels.rollout import CompiledActing, CompiledWorld, Need, Quota, Rollout
from garage.sampler.episodes import Episodes
from garage.sampler.in_flight import InFlight
from garage.sampler.noise_blocks import NOISE_BLOCK_STEPS, Block, NoiseBlocks
from garage.sampler.patience import Patience


@final
class CompiledRollout:
    """The lanes of one group while a kernel runs them; what the kernel has no bits of, such as noise, is drawn here.

    Args:
        group: what to run.
        lanes: where.
        kernels: the policy's and the lanes' own.
    """

    def __init__(self, group: Group, lanes: Lanes, kernels: tuple[CompiledActing, CompiledWorld]) -> None:
        self._group, self._lanes, self._acting = group, lanes, kernels[0]
        quota = Quota(group.n_steps, group.n_episodes, group.mean_length, group.fragments)
        self._rollout = Rollout(*kernels, quota)
        self._episodes = Episodes(group)
        self._noise = NoiseBlocks(group.policy)
        self._patience = Patience(group)
        if group.carried:
            carried = InFlight.from_state(group.carried)
            self._episodes.take_up(carried)
            self._rollout.take_up(carried.lanes, carried.observations)

    def run(self) -> None:
        """Run it to its end."""
        while need := self._rollout.run():
            if need is Need.EPISODES:
                self._draw_episodes(self._rollout.n_wanted)
            else:
                self._draw_noise()
            if self._rollout.n_steps >= self._patience.ends_at:
                self._patience.lose(self._rollout.n_steps)

    @property
    def seconds(self) -> tuple[float, float]:
        """Spent in the world and in the policy."""
        return self._rollout.seconds

    def results(self) -> tuple[EpisodeBatch, State]:
        """The segments in the order in which their episodes started, and how to go on with those in flight.

        Raises:
            NonFiniteError: an observation or a reward is NaN or infinite.
        """
        happened, policy = self._rollout.happened(), self._group.policy
        n_segments = len(happened.lengths)
        batch = EpisodeBatch(
            observations=happened.observations,
            actions=happened.actions,
            rewards=happened.rewards,
            lengths=happened.lengths,
            last_observations=happened.last_observations,
            ends=happened.ends,
            first_steps=self._episodes.n_before(n_segments),
            memories=policy.initial_memory(n_segments),
            agent_infos={self._acting.outputs_are: happened.outputs},
        )
        self._episodes.check_finite(batch)
        lanes, numbers, observations = self._rollout.in_flight()
        if not numbers.size:
            return batch, {}
        shown = observations, policy.initial_memory(len(lanes))
        return batch, self._episodes.in_flight(numbers, lanes, happened.lengths[numbers], shown, self._lanes)

    def _draw_episodes(self, n_missing: int) -> None:
        episodes = self._episodes.start(self._noise.n_at_once(n_missing, self._episodes.n_started))
        noise = self._noise.drawn([Block(episode.streams, episode.ordinal, 0) for episode in episodes])
        self._rollout.draw([episode.world_seed for episode in episodes], noise)

    def _draw_noise(self) -> None:
        lanes, blocks, steps_passed = [], [], []
        for lane, number, length in self._rollout.starved():
            episode = self._episodes[number]
            block, passed = divmod(episode.n_before + length, NOISE_BLOCK_STEPS)
            lanes.append(lane)
            blocks.append(Block(episode.streams, episode.ordinal, block))
            steps_passed.append(passed)
        for lane, noise, passed in zip(lanes, self._noise.drawn(blocks), steps_passed, strict=True):
            self._rollout.lend(lane, noise[passed:])
