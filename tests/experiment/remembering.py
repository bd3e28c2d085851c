"""An algorithm that learns nothing and remembers everything."""

from garage.core.recipe import Component
from garage.replay import ReplayBuffer


class Remembering(Component):
    """Puts every batch into a replay buffer, and reports what it draws from it."""

    def __init__(self, env, policy, baseline, capacity=200):
        self.policy, self.discount = policy, 0.99
        self.buffer = ReplayBuffer(env.spec, capacity)

    def initialise(self, streams):
        self.policy.initialise(streams.generator("policy"))

    def policies(self):
        return {"policy": self.policy}

    def epoch(self, collect, streams):
        self.buffer.add(collect(self.policy))
        drawn = self.buffer.sample(streams.generator("replay"), 16)
        return {"Drawn": float(drawn.next_observations.sum())}

    def state_dict(self):
        return {"policy": self.policy.state_dict(), "buffer": self.buffer.state_dict()}

    def load_state_dict(self, state):
        self.policy.load_state_dict(state["policy"])
        self.buffer.load_state_dict(state["buffer"])
