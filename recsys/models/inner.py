"""Models that are made of other models: what is said of an inner one, read by one rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recsys.errors import UserError
from recsys.inputs.train_settings import TrainSettings
from recsys.models.base import Model
from recsys.settings import Settings, build, divide


def inner_settings(kind: type[Model], values: Mapping[str, Any], where: str) -> tuple[Any, dict[str, Any]]:
    """The settings of an inner model, and what `values` say of its training; of one in closed form that is nothing.

    Args:
        where: the setting that holds the values, for messages.

    Raises:
        UserError: an unknown setting, or a value out of its range.
    """
    groups: dict[str, type[Settings]] = {"model": kind.Settings}
    if not kind.closed_form:
        groups["train"] = TrainSettings
    try:
        own = divide(values, **groups)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    training = own.get("train", {})
    build(TrainSettings, training, where)
    settings = build(kind.Settings, own["model"], where)
    if getattr(settings, "calibrate_cold_scale", "none") != "none":
        raise UserError(
            f"{where}: calibrate_cold_scale is of whole models, and this one is a part; leave it out"
        )
    return settings, training


def inner_training(
    kind: type[Model], given: TrainSettings, own: Mapping[str, Any], where: str
) -> TrainSettings:
    """How an inner model is trained where the outer one has no ways of its own: as the inner model by default, but for
    what the run says otherwise than the defaults, but for what is said of the inner model itself."""
    values = {**kind.train_defaults, **given.model_dump(exclude_defaults=True), **own}
    made: TrainSettings = build(TrainSettings, values, where)
    return made


def own_settings(kind: type[Model], values: Mapping[str, Any]) -> Any:
    """The settings of `kind` among a run's, those of its training left out."""
    fields = kind.Settings.model_fields
    own = {key: value for key, value in values.items() if key.partition(".")[0] in fields}
    return build(kind.Settings, own, kind.__name__)
