"""TensorBoard's own reader in a process of its own: for each line, a folder and who looks, it prints what they see."""

import json
import sys

sys.modules["tensorflow"] = None  # TensorBoard does without it, ten seconds faster

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402

accumulators = {}
for line in sys.stdin:
    folder, _ = who = json.loads(line)
    accumulator = accumulators.setdefault(tuple(who), EventAccumulator(folder, size_guidance={"scalars": 0}))
    accumulator.Reload()
    scalars = {tag: accumulator.Scalars(tag) for tag in accumulator.Tags()["scalars"]}
    print(json.dumps({tag: [[e.step, repr(e.value), e.wall_time] for e in found] for tag, found in scalars.items()}))
    sys.stdout.flush()
