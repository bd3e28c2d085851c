"""What a policy of garage's is, in values: JSON in a snapshot's manifest, from which it is built without its recipe.

The MLP policies of every framework are described alike, because they act alike: in NumPy, by a flat theta. What is
built from a description is NumPy's, so it needs no framework and unpickles nothing. See *Policies* in
``docs/storage-format.md``.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypeGuard

import msgspec
import numpy as np
from gymnasium import spaces

from garage.algos.normalised import Normalised
from garage.core.mlp_actors import CategoricalMLPActor, GaussianMLPActor
from garage.core.normalising_policy import NormalisingPolicy
from garage.core.ports import Algorithm, Policy, Stateful
from garage.core.state import differences, json_scalar, take
from garage.core.statistics import Statistics
from garage.core.types import Array, EnvSpec, State
from garage.errors import DamagedError, GarageError
from garage.np.policies import CategoricalMLPPolicy, GaussianMLPPolicy

_HOMES = {f"garage.{framework}.policies" for framework in ("np", "torch", "tf")}
_DTYPES = {np.dtype(name).str for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")}
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_LONGEST = 1 << 16
"""Bytes of a description: every manifest holds it."""
_MOST_AXES = 64

Number: TypeAlias = int | float | str
"""As strict JSON has it: what it lacks is the string NaN, Infinity or -Infinity."""
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Shape: TypeAlias = Annotated[tuple[Annotated[int, msgspec.Meta(ge=0)], ...], msgspec.Meta(max_length=_MOST_AXES)]


class Box(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="Box"):
    """See `gymnasium.spaces.Box`."""

    dtype: str
    """NumPy's little-endian name."""
    shape: Shape
    low: Number | tuple[Number, ...]
    """One bound for all numbers, or one each, in C order."""
    high: Number | tuple[Number, ...]


class Discrete(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="Discrete"):
    """See `gymnasium.spaces.Discrete`; of int64."""

    n: Count
    start: int


class MultiBinary(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="MultiBinary"):
    """See `gymnasium.spaces.MultiBinary`."""

    n: Count | Shape


Space: TypeAlias = Box | Discrete | MultiBinary


class Normalisation(msgspec.Struct, frozen=True, kw_only=True):
    """By what the observations are normalised before the policy sees them; see `NormalisingPolicy`."""

    statistics: str
    """Their place in the state tree."""
    clip: Number


class _MLP(msgspec.Struct, frozen=True, kw_only=True):
    """What the MLP policies have in common; the arguments of their constructors, and where their state is."""

    state: str
    """Its place in the state tree."""
    name: str
    hidden_sizes: tuple[Count, ...]
    dtype: Literal["float32", "float64"]
    observation_space: Space
    action_space: Space
    max_episode_length: int | None
    normalised: tuple[Normalisation, ...] = ()
    """The outermost first."""


class CategoricalMLP(_MLP, frozen=True, kw_only=True, tag_field="kind", tag="CategoricalMLPPolicy"):
    """See `CategoricalMLPActor`."""


class GaussianMLP(_MLP, frozen=True, kw_only=True, tag_field="kind", tag="GaussianMLPPolicy"):
    """See `GaussianMLPActor`."""

    init_std: float
    min_std: float


Description: TypeAlias = CategoricalMLP | GaussianMLP

_KINDS = {"CategoricalMLPPolicy", "GaussianMLPPolicy"}


def described(algo: Algorithm) -> dict[str, Any]:
    """The descriptions, as JSON, of those of an algorithm's policies that can be built from one; by name.

    These are garage's own MLP policies whose state the algorithm's state has below their name, in `Normalised` or not.
    """
    place, normalised = "algo", list[Normalisation]()
    while type(algo) is Normalised:
        if algo.observations:
            normalised.append(Normalisation(statistics=f"{place}/observations", clip=_json(algo.clip)))
        algo, place = algo.algo, f"{place}/algo"
    if not isinstance(algo, Stateful):
        return {}
    state, found = algo.state_dict(), dict[str, Any]()
    for name, policy in algo.policies().items():
        if _is_ours(policy) and not differences({name: state.get(name)}, {name: policy.state_dict()}):
            document = _document(policy, f"{place}/{name}", normalised)
            if document is not None:
                found[name] = document
    return found


def read(documents: Mapping[str, Any], name: str) -> Description | None:
    """The description of a policy in a manifest; None if there is none, or one of a kind that is not known here.

    Raises:
        DamagedError: there is one, and it is not as any writer writes it.
    """
    document = documents.get(name)
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        return None
    try:
        made: Description = msgspec.convert(document, Description)
    except msgspec.ValidationError as error:
        raise DamagedError(_unlike(name, error)) from error
    return made


def places(description: Description) -> list[str]:
    """Where in the state tree the values are that `built` needs."""
    return [description.state, *(each.statistics for each in description.normalised)]


def built(description: Description, state: State) -> Policy:
    """The policy, with its values.

    Args:
        description: what it is.
        state: the state tree, or the part of it that `places` names.

    Raises:
        DamagedError: nothing can be as described.
        MismatchError: the values are missing, or are not those of such a policy.
    """
    own = _at(state, description.state)
    theta = take(own, "theta", f"`{description.name}`")
    # What is allocated below is bounded by what was read, whatever the description claims.
    sizes = [_size(description.observation_space), _size(description.action_space), *description.hidden_sizes]
    if not isinstance(theta, np.ndarray) or max(*sizes, len(description.hidden_sizes)) > theta.size:
        msg = f"its layers and spaces have more numbers than its parameters, which are {np.shape(theta)}"
        raise DamagedError(_unlike(description.name, msg))
    try:
        policy = _unlearned(description)
        clips = [_number(each.clip) for each in description.normalised]
    except (ArithmeticError, AssertionError, TypeError, ValueError) as error:
        raise DamagedError(_unlike(description.name, error)) from error
    policy.load_state_dict(own)
    acting: Policy = policy
    for each, clip in zip(reversed(description.normalised), reversed(clips), strict=True):
        shape = policy.spec.observation_space.shape or ()
        statistics = Statistics.from_state(_at(state, each.statistics), f"`{each.statistics}`", shape)
        acting = NormalisingPolicy(acting, statistics.mean, statistics.variance, clip)
    return acting


def _is_ours(policy: Policy) -> TypeGuard[CategoricalMLPActor | GaussianMLPActor]:
    """Whether it is of garage's own classes, and no subclass of a user's."""
    ours = isinstance(policy, CategoricalMLPActor | GaussianMLPActor) and type(policy).__module__ in _HOMES
    return ours and policy.initialised


def _document(
    policy: CategoricalMLPActor | GaussianMLPActor, place: str, normalised: Sequence[Normalisation]
) -> dict[str, Any] | None:
    """What is written of a policy; None if it would be too long, or would not give the same policy again."""
    try:
        data = msgspec.json.encode(_description(policy, place, normalised))
        document: dict[str, Any] = msgspec.json.decode(data)
        again = _unlearned(msgspec.convert(document, Description))
    except (GarageError, ArithmeticError, AssertionError, TypeError, ValueError):
        return None
    same = again.spec == policy.spec and again.n_parameters == policy.n_parameters
    return document if same and len(data) <= _LONGEST else None


def _description(
    policy: CategoricalMLPActor | GaussianMLPActor, place: str, normalised: Sequence[Normalisation]
) -> Description:
    parts: dict[str, Any] = {
        "state": place,
        "name": policy.name,
        "hidden_sizes": policy.hidden_sizes,
        "dtype": policy.dtype.name,
        "observation_space": _space(policy.spec.observation_space),
        "action_space": _space(policy.spec.action_space),
        "max_episode_length": policy.spec.max_episode_length,
        "normalised": tuple(normalised),
    }
    if isinstance(policy, GaussianMLPActor):
        return GaussianMLP(**parts, init_std=float(policy.init_std), min_std=float(policy.min_std))
    return CategoricalMLP(**parts)


def _unlearned(description: Description) -> CategoricalMLPPolicy | GaussianMLPPolicy:
    spec = EnvSpec(
        _made(description.observation_space), _made(description.action_space), description.max_episode_length
    )
    if isinstance(description, CategoricalMLP):
        return CategoricalMLPPolicy(spec, description.hidden_sizes, name=description.name, dtype=description.dtype)
    return GaussianMLPPolicy(
        spec,
        description.hidden_sizes,
        init_std=description.init_std,
        min_std=description.min_std,
        name=description.name,
        dtype=description.dtype,
    )


def _space(space: "spaces.Space[Any]") -> Space:
    """A space as values.

    Raises:
        ValueError: there are none for it.
    """
    if type(space) is spaces.Discrete and space.dtype == np.int64:
        return Discrete(n=int(space.n), start=int(space.start))
    if type(space) is spaces.MultiBinary:
        return MultiBinary(n=space.n if isinstance(space.n, int) else tuple(space.n))
    if type(space) is spaces.Box and space.dtype.str in _DTYPES:
        return Box(dtype=space.dtype.str, shape=space.shape, low=_bounds(space.low), high=_bounds(space.high))
    msg = f"{space} has no description"
    raise ValueError(msg)


def _bounds(bounds: Array) -> Number | tuple[Number, ...]:
    values = [_json(value) for value in bounds.reshape(-1).tolist()]
    return values[0] if len(set(values)) == 1 else tuple(values)


def _json(value: float) -> Number:
    return json_scalar(value)  # type: ignore[return-value] # that of a number is a number, or one of the three strings


def _made(space: Space) -> "spaces.Space[Any]":
    if isinstance(space, Discrete):
        return spaces.Discrete(space.n, start=space.start)
    if isinstance(space, MultiBinary):
        return spaces.MultiBinary(space.n)
    if space.dtype not in _DTYPES:
        msg = f"a Box has the dtype {space.dtype!r}"
        raise ValueError(msg)
    dtype = np.dtype(space.dtype)
    return spaces.Box(_array(space.low, space.shape, dtype), _array(space.high, space.shape, dtype), dtype=dtype.type)


def _array(bounds: Number | tuple[Number, ...], shape: tuple[int, ...], dtype: "np.dtype[Any]") -> Array:
    with np.errstate(all="raise"):
        if isinstance(bounds, tuple):
            return np.array([_number(bound) for bound in bounds], dtype).reshape(shape)
        return np.full(shape, _number(bounds), dtype)


def _number(value: Number) -> float:
    if isinstance(value, str):
        if value not in _NON_FINITE:
            msg = f"{value!r} is no number"
            raise ValueError(msg)
        return _NON_FINITE[value]
    return value


def _size(space: Space) -> int:
    """How many numbers it takes to be built."""
    if isinstance(space, Box):
        return math.prod(space.shape)
    if isinstance(space, Discrete):
        return space.n
    return space.n if isinstance(space.n, int) else math.prod(space.n)


def _at(state: State, place: str) -> State:
    node = state
    for key in place.split("/"):
        node = take(node, key, f"the run, in which a policy's values should be at `{place}`")
    return node


def _unlike(name: str, problem: object) -> str:
    return f"its manifest describes the policy {name!r} as nothing that can be: {problem}"
