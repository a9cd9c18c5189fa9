"""Dynamic weights: how strongly each of two LoRAs counts in a module, from its spectral norms.

Each function makes a rule (module name, spectral norm 1, spectral norm 2) -> (multiplier 1,
multiplier 2); a norm is None where that file lacks the module. The file that has it alone gets all
of the strength; (1, 1) where both lack it. Where there is no strength to rescale (a norm of zero,
and no other) the shares are the multipliers.

The rules, their defaults and what a floor lifts are the notebook's; it was right in all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import exp, inf, isfinite, log

from ..errors import SettingError, one_of

Norm = float | None
WeightRule = Callable[[str, Norm, Norm], tuple[float, float]]


@dataclass(frozen=True)
class Balance:
    """A `rule` of weights with its `name` and its `settings`.

    Called with a module's name and the spectral norms of it in both files (None: not in it), it
    gives the multipliers of both weights. As text it is `name(setting=value, ...)`, every setting
    named: equal rules read alike, wherever they were asked for.

    >>> rule = core.balance("proportional")
    >>> print(rule, rule("double_blocks.0.img_mlp.0", 3.0, 1.0))
    proportional(target_strength=1, floor=0.02) (0.3..., 0.1)
    """

    name: str
    settings: Mapping[str, float]
    rule: WeightRule = field(compare=False)

    def __call__(self, name: str, norm_1: Norm, norm_2: Norm) -> tuple[float, float]:
        return self.rule(name, norm_1, norm_2)

    def __str__(self) -> str:
        settings = ", ".join(f"{key}={value:g}" for key, value in self.settings.items())
        return f"{self.name}({settings})"


def softmax_spectral_weight_fn(temperature: float = 1.0, floor: float = 0.0) -> Balance:
    """Shares by softmax of the norms over `temperature`. Not rescaled.

    Shares are lifted to `floor` and divided by their sum, that of a file that lacks the module too:
    the other one counts 1 / (1 + floor) there. Raises SettingError for a temperature that is not
    above 0.

    >>> [round(share, 3) for share in core.softmax_spectral_weight_fn()("x", 3.0, 1.0)]
    [0.881, 0.119]
    """
    _check_temperature(temperature)
    rule = _rule(lambda s1, s2: _softmax(s1, s2, temperature), floor, None)
    return Balance("softmax", {"temperature": temperature, "floor": floor}, rule)


def dyn_weights_proportional(target_total_strength: float = 1.0, floor: float = 0.02) -> Balance:
    """Shares proportional to max(norm, `floor`), rescaled to the target strength.

    w1 norm 1 + w2 norm 2 = `target_total_strength`, as for all of the dyn_weights functions.

    >>> core.dyn_weights_proportional()("x", 3.0, 1.0)
    (0.3..., 0.1)
    """
    rule = _rule(
        lambda s1, s2: _normalised(max(s1, floor), max(s2, floor)), 0.0, target_total_strength
    )
    settings = {"target_strength": target_total_strength, "floor": floor}
    return Balance("proportional", settings, rule)


def dyn_weights_softmax(
    target_total_strength: float = 1.0, temperature: float = 1.0, floor: float = 0.0
) -> Balance:
    """Shares by softmax of the norms over `temperature`, each at least `floor`, rescaled to
    `target_total_strength`. Raises SettingError for a temperature that is not above 0.

    >>> [round(share, 3) for share in core.dyn_weights_softmax()("x", 3.0, 1.0)]
    [0.319, 0.043]
    """
    _check_temperature(temperature)
    rule = _rule(lambda s1, s2: _softmax(s1, s2, temperature), floor, target_total_strength)
    settings = {"target_strength": target_total_strength, "temperature": temperature}
    return Balance("softmax", settings | {"floor": floor}, rule)


def dyn_weights_powerlaw(
    target_total_strength: float = 1.0, p: float = 0.5, floor: float = 0.02
) -> Balance:
    """Shares proportional to max(norm, `floor`) ** `p`, rescaled to `target_total_strength`.

    >>> [round(share, 3) for share in core.dyn_weights_powerlaw()("x", 3.0, 1.0)]
    [0.28, 0.161]
    """
    rule = _rule(
        lambda s1, s2: _softmax(_log_power(max(s1, floor), p), _log_power(max(s2, floor), p), 1.0),
        0.0,
        target_total_strength,
    )
    settings = {"target_strength": target_total_strength, "power": p, "floor": floor}
    return Balance("powerlaw", settings, rule)


def dyn_weights_margin_sigmoid(
    target_total_strength: float = 1.0,
    temperature: float = 1.0,
    bias: float = 0.0,
    floor: float = 0.02,
) -> Balance:
    """The first share is sigmoid((norm 1 - norm 2 + `bias`) / `temperature`), rescaled to
    `target_total_strength`.

    Both norms count as `floor` at least, as in the proportional rule. Raises SettingError for a
    temperature that is not above 0.

    >>> [round(share, 3) for share in core.dyn_weights_margin_sigmoid()("x", 1.0, 1.0)]
    [0.5, 0.5]
    """
    _check_temperature(temperature)
    rule = _rule(
        lambda s1, s2: _softmax(max(s1, floor) + bias, max(s2, floor), temperature),
        0.0,
        target_total_strength,
    )
    settings = {"target_strength": target_total_strength, "temperature": temperature}
    return Balance("sigmoid", settings | {"bias": bias, "floor": floor}, rule)


def _rule(
    share: Callable[[float, float], tuple[float, float]], floor: float, target: float | None
) -> WeightRule:
    def weights(name: str, norm_1: Norm, norm_2: Norm) -> tuple[float, float]:
        if norm_1 is None and norm_2 is None:
            return 1.0, 1.0
        if norm_1 is None or norm_2 is None:
            first, second = (0.0, 1.0) if norm_1 is None else (1.0, 0.0)
        else:
            first, second = share(norm_1, norm_2)
        if target is None or None not in (norm_1, norm_2):
            first, second = _normalised(max(first, floor), max(second, floor))
        # The family of dyn_weights: weight 1 * norm 1 + weight 2 * norm 2 == target.
        strength = first * (norm_1 or 0.0) + second * (norm_2 or 0.0)
        factor = 1.0 if target is None or not strength > 0 else target / strength
        # What is so faint that no number lifts it to the target stays as it is.
        return (first * factor, second * factor) if isfinite(factor) else (first, second)

    return weights


def _normalised(first: float, second: float) -> tuple[float, float]:
    largest = max(first, second)
    if not largest > 0:
        return 0.5, 0.5
    first, second = first / largest, second / largest  # Their sum can be more than any float.
    return first / (first + second), second / (first + second)


def _log_power(norm: float, power: float) -> float:
    """log(norm^power): powers themselves leave the range of floats."""
    return power * (log(norm) if norm > 0 else -inf) if power else 0.0


def _softmax(first: float, second: float, temperature: float) -> tuple[float, float]:
    difference = 0.0 if first == second else (first - second) / temperature
    # Written with the exponent that cannot overflow.
    small = exp(-abs(difference))
    large_share = 1 / (1 + small)
    return (large_share, 1 - large_share) if difference >= 0 else (1 - large_share, large_share)


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise SettingError(f"temperature {temperature:g} must be above 0", fix="1 is a good start")


BALANCES: dict[str, Callable[..., Balance]] = {
    "softmax": softmax_spectral_weight_fn,
    "proportional": dyn_weights_proportional,
    "powerlaw": dyn_weights_powerlaw,
    "sigmoid": dyn_weights_margin_sigmoid,
}
# Settings are called as the command line and the node call them; the functions keep their own.
ARGUMENTS = {"target_strength": "target_total_strength", "power": "p"}


def balance(name: str, **settings: float | None) -> Balance:
    """A rule by its `name`: softmax, proportional, powerlaw or sigmoid.

    `settings` are those that the rule has of target_strength, temperature, power, bias, floor;
    those that are None have their defaults. A softmax with a target strength is the rescaled one.
    Raises SettingError for an unknown name, TypeError for a setting that it has not got.

    >>> print(core.balance("softmax", temperature=0.5, target_strength=2.0))
    softmax(target_strength=2, temperature=0.5, floor=0)
    """
    one_of("balance", name, BALANCES)
    given = {ARGUMENTS.get(k, k): value for k, value in settings.items() if value is not None}
    rescaled = name == "softmax" and "target_total_strength" in given
    return (dyn_weights_softmax if rescaled else BALANCES[name])(**given)
