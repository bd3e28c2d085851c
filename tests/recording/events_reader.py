"""A TensorBoard in a process of its own: a line that it gets makes it look, one that it prints is what it saw."""

import json
import sys

sys.modules["tensorflow"] = None  # TensorBoard does without it, ten seconds faster

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402

accumulator = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
for _ in sys.stdin:
    accumulator.Reload()
    scalars = {tag: accumulator.Scalars(tag) for tag in accumulator.Tags()["scalars"]}
    print(json.dumps({tag: [[e.step, repr(e.value), e.wall_time] for e in found] for tag, found in scalars.items()}))
    sys.stdout.flush()
