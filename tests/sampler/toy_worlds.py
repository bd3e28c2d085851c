"""A world whose every number is known beforehand, and policies whose rows do not depend on one another."""

import numpy as np
from gymnasium import spaces

from garage.core.ports import Group, Rung
from garage.core.streams import Streams
from garage.core.types import End, EnvSpec, Transition

OBSERVATIONS = spaces.Box(-np.inf, np.inf, (2,), np.float64)


def five_to_twelve(seed):
    return 5 + seed % 8


class Ladder:
    """Starts at a place that the seed says; an action moves it; ends after as many steps as the seed says.

    Args:
        length_of: steps of the episode of a seed.
        faults: what goes wrong, by (seed, step).
        aliasing: whether lanes hand out their own arrays, read-only.
    """

    lane_width = 64
    rung = Rung.ARRAYS

    def __init__(self, length_of=lambda seed: 1 + seed % 7, faults=None, *, aliasing=False):
        self.length_of, self.faults, self.aliasing = length_of, faults or {}, aliasing
        self.spec = EnvSpec(OBSERVATIONS, spaces.Box(-np.inf, np.inf, (1,), np.float64))
        self.made = []

    def make_lanes(self, n):
        self.made.append(LadderLanes(self, n))
        return self.made[-1]

    def __repr__(self):
        return "Ladder()"

    def start(self, seed):
        return np.array([seed / 2**31, 0.0])

    def move(self, observation, action):
        """The next observation and the reward, by operations that round each number for itself."""
        position, age = observation
        moved = position + 0.25 * action
        return np.array([moved, age + 1.0]), moved * action

    def end(self, seed, age):
        """How the episode ends after so many steps, or None."""
        if age < self.length_of(seed):
            return None
        return End.TERMINATED if seed % 2 else End.TRUNCATED


class LadderLanes:
    """Keeps a journal of what was asked."""

    def __init__(self, env, n):
        self.env, self.n = env, n
        self.journal = []
        self.closed = 0
        self.seeds = [None] * n
        self.state = np.full((n, 2), np.nan)  # what was never reset must not matter

    def reset(self, lanes, seeds):
        self.journal.append(("reset", lanes.tolist(), list(seeds)))
        self.state = self.state.copy()
        for lane, seed in zip(lanes.tolist(), seeds, strict=True):
            self.raise_if_asked(seed, "reset")
            self.seeds[lane] = seed
            self.state[lane] = self.broken(self.env.start(seed), seed, 0)
        return self.state[lanes]

    def step(self, lanes, actions):
        self.journal.append(("step", lanes.tolist(), None))
        assert actions.shape == (len(lanes), 1)
        assert lanes.tolist() == sorted(lanes.tolist())
        rewards, ends = np.empty(len(lanes)), []
        self.state = self.state.copy()
        for row, lane in enumerate(lanes.tolist()):
            seed, age = self.seeds[lane], int(self.state[lane, 1])
            self.raise_if_asked(seed, age)
            observation, reward = self.env.move(self.state[lane], actions[row, 0])
            self.state[lane] = self.broken(observation, seed, age + 1)
            rewards[row] = self.env.faults.get((seed, age, "reward"), reward)
            ends.append(self.env.end(seed, age + 1))
        terminated = np.array([end is End.TERMINATED for end in ends])
        truncated = np.array([end is End.TRUNCATED for end in ends])
        observations = self.state if self.env.aliasing and len(lanes) == self.n else self.state[lanes]
        if self.env.aliasing:
            observations.flags.writeable = False
        return Transition(observations, rewards, terminated, truncated, {"age": observations[:, 1].copy()})

    @property
    def rung(self):
        return self.env.rung

    def state_dict(self, lanes):
        self.journal.append(("capture", lanes.tolist(), None))
        return {"seeds": np.array([self.seeds[lane] for lane in lanes.tolist()]), "state": self.state[lanes]}

    def load_state_dict(self, lanes, state):
        self.journal.append(("restore", lanes.tolist(), None))
        self.state = self.state.copy()
        self.state[lanes] = state["state"]
        for lane, seed in zip(lanes.tolist(), state["seeds"].tolist(), strict=True):
            self.seeds[lane] = seed
        return self.state[lanes]

    def raise_if_asked(self, seed, step):
        error = self.env.faults.get((seed, step, "raise"))
        if error is not None:
            raise error

    def broken(self, observation, seed, age):
        observation = observation.copy()
        observation[0] = self.env.faults.get((seed, age, "observation"), observation[0])
        return observation

    def close(self):
        self.closed += 1


class Rows:
    """Each row's action is made of its own observation, memory and noise, by sums and products."""

    name = "rows"
    initialised = True

    def __init__(self, spec, gain=0.5):
        self.spec, self.gain = spec, gain
        self.widths = set()

    def initial_memory(self, n):
        return np.tile([1.0, -1.0], (n, 1))

    def draw_noise(self, generator, n_steps):
        return generator.standard_normal((n_steps, 1))

    def act(self, observations, memory, noise):
        self.widths.add(len(observations))
        actions = -self.gain * observations[:, :1] + 0.125 * memory[:, :1] + noise
        after = memory + np.concatenate([actions, observations[:, 1:]], axis=1)
        return actions, after, {"memory": memory, "noise": noise, "after": after}


class Noise(Rows):
    """Acts by its noise, and hands out the very arrays that it was given."""

    name = "noise"

    def initial_memory(self, n):
        return np.zeros((n, 0))

    def act(self, observations, memory, noise):
        return noise, memory, {"seen": observations}


def group_of(env, *, n_lanes=4, n_steps=None, n_episodes=None, mean_length=0.0, policy=None, index=0, seed=1):
    streams = Streams(seed).at("episode", "train")
    policy = Rows(env.spec) if policy is None else policy
    return Group(
        env, policy, streams, 0, 0, index, n_lanes, n_steps, n_episodes, mean_length, fragments=False, carried={}
    )


def streams_of(group):
    """Those of the episodes that the group starts."""
    return group.streams.at(group.epoch, group.call, group.index)


def episode_alone(group, index):
    """The rows of one episode, from the definitions: one lane, noise by blocks of 256 steps."""
    env, policy = group.env, group.policy
    seed = streams_of(group).world_seed(index)
    observation, memory = env.start(seed), policy.initial_memory(1)
    rows = {name: [] for name in ("observations", "actions", "rewards", "noise", "memory", "after")}
    end, step = None, 0
    while end is None:
        if step % 256 == 0:
            block = policy.draw_noise(streams_of(group).generator(index, step // 256), 256)
        noise = block[step % 256][np.newaxis]
        actions, after, _ = policy.act(observation[np.newaxis], memory, noise)
        for name, row in (
            ("observations", observation),
            ("actions", actions[0]),
            ("noise", noise[0]),
            ("memory", memory[0]),
            ("after", after[0]),
        ):
            rows[name].append(row)
        observation, reward = env.move(observation, actions[0, 0])
        rows["rewards"].append(reward)
        memory, step = after, step + 1
        end = env.end(seed, step)
    return {name: np.array(values) for name, values in rows.items()}, observation, end


def bits(result):
    """A result as something that is equal only if every bit is; seconds are left out."""
    batch = result.batch
    columns = {name: getattr(batch, name) for name in batch.__dataclass_fields__ if not name.endswith("infos")}
    columns |= {f"env/{key}": value for key, value in batch.env_infos.items()}
    columns |= {f"agent/{key}": value for key, value in batch.agent_infos.items()}
    return {name: (value.dtype.str, value.shape, value.tobytes()) for name, value in columns.items()}
