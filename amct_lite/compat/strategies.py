"""AMCT's search strategies: objects that are told how the last candidate did and name the next one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from amct_lite.accuracy.candidates import Strategy
from amct_lite.accuracy.evaluation import source_of
from amct_lite.analysis.ranking import Ranking
from amct_lite.calibration.user_code import running_user_code
from amct_lite.errors import ConfigError, DataError
from amct_lite.registry import did_you_mean
from amct_lite.search.rollback import roll_back
from amct_lite.search.trials import BudgetSpentError, Found, Layers, Trials

_LOG = logging.getLogger(__name__)
NAMES = ("BinarySearch",)
_REMEDY = "Correct the strategy."
_MOST_STEPS = 1000
"""A strategy that names known candidates for ever spends nothing, so its steps are counted, too."""


class AmctStrategy(Protocol):
    """roll_back_config: layer → whether it is quantized; layers that are left out stay quantized."""

    def initialize(self, ranking_info: dict[str, float], /) -> None: ...

    def update_quant_config(self, metric_eval: tuple[bool, float], /) -> Mapping[str, Any]: ...


def strategy_of(strategy: str | AmctStrategy) -> Strategy:
    """What a search follows. Raises ConfigError for a name that is not there, and for an object that is no strategy."""
    if isinstance(strategy, str):
        if strategy not in NAMES:
            hint = did_you_mean(strategy, NAMES)
            raise ConfigError(f"unknown strategy {strategy!r}{hint}; choose {', '.join(NAMES)}, or pass an object.")
        return lambda ranking, trials: roll_back([name for name, _ in ranking], trials)
    missing = [name for name in ("initialize", "update_quant_config") if not callable(getattr(strategy, name, None))]
    if missing:
        raise ConfigError(
            f"the strategy {type(strategy).__name__} has no {' and no '.join(missing)}. Derive it from "
            "amct_lite.common.auto_calibration.AutoCalibrationStrategyBase."
        )
    return lambda ranking, trials: follow(strategy, ranking, trials)


def follow(strategy: AmctStrategy, ranking: Ranking, trials: Trials) -> Found:
    """Where `strategy` stops; where that is not acceptable, the acceptable candidate with the fewest layers in float.

    It is asked only when the model with everything quantized is not acceptable. Raises DataError for what it is to blame for.
    """
    judgement = trials(())
    if judgement.acceptable:
        return Found(frozenset(), minimal=True)
    layers = [name for name, _ in ranking]
    source = source_of(strategy.update_quant_config)
    spent = False
    rolled_back: Layers = frozenset()
    try:
        with running_user_code(source, _REMEDY, when="initialize"):
            strategy.initialize(dict(ranking))
        for _ in range(_MOST_STEPS):
            with running_user_code(source, _REMEDY, when="update_quant_config"):
                step = strategy.update_quant_config((judgement.acceptable, judgement.loss))
            stop, rolled_back = _read(step, layers, str(source))
            judgement = trials(rolled_back)
            if stop:
                break
        else:
            spent = True
    except BudgetSpentError:
        spent = True
    if spent or not judgement.acceptable:
        rolled_back = trials.fewest()
        _LOG.warning(
            "the strategy %s: the candidate with the fewest layers in float that was acceptable is taken.",
            "was stopped by the limit of evaluations" if spent else "ended with a candidate that is not acceptable",
        )
    return Found(rolled_back, minimal=False, budget_spent=spent)


def _read(step: object, layers: Iterable[str], source: str) -> tuple[bool, Layers]:
    """(whether to stop, the layers in float)."""
    config = step.get("roll_back_config") if isinstance(step, Mapping) else None
    if not isinstance(step, Mapping) or "stop_flag" not in step or not isinstance(config, Mapping):
        raise DataError(
            f"{source}: update_quant_config returned {step!r}; it must return "
            "{'stop_flag': bool, 'roll_back_config': {layer: whether it is quantized}}. " + _REMEDY
        )
    known = set(layers)
    for name in config:
        if name not in known:
            raise DataError(f"{source}: roll_back_config names {name!r}, no quantized layer{did_you_mean(str(name), known)}.")
    return bool(step["stop_flag"]), frozenset(str(name) for name, quantized in config.items() if not quantized)
