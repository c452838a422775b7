"""Models by name: `recsys.MMHCL(layers=3)`, from defaults, keywords or a Settings object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recsys.errors import UserError, nearest
from recsys.models import MODELS
from recsys.settings import Settings


@dataclass(frozen=True)
class ModelSpec:
    """A model and its settings, not built yet: it meets its data in `recsys.train` or `recsys.compare`.

    Attributes:
        name: of a registered model.
        settings: of the model and its training, those that differ from the defaults.

    Stability: stable.

    Example:
        >>> ModelSpec("lightgcn", {"layers": 3}).label
        'lightgcn (layers=3)'
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The row that it is in a table."""
        values = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.name} ({values})" if values else self.name


class ModelMaker:
    """Makes specs of one model; `recsys.EASE` is one.

    Stability: stable.

    Example:
        >>> import recsys
        >>> recsys.EASE(content=1.0)
        ModelSpec(name='ease', settings={'content': 1.0})
    """

    def __init__(self, name: str):
        self.name = name

    def __call__(self, settings: Settings | None = None, /, **values: Any) -> ModelSpec:
        """The model with these settings, of the model or of its training.

        Args:
            settings: an object of the model's own `Settings`; keywords override it.

        Raises:
            UserError: an unknown setting, a value out of range, or the settings of another model.
        """
        from recsys.runs.config import resolve_settings

        model_class = MODELS.get(self.name)
        given: dict[str, Any] = {}
        if settings is not None:
            if not isinstance(settings, model_class.Settings):
                expected = model_class.Settings.__name__
                raise UserError(
                    f"{self.name}: expected settings of type {expected}, got {type(settings).__name__}"
                )
            given = settings.model_dump()
        given |= values
        resolve_settings(model_class, given)
        return ModelSpec(self.name, given)

    def __repr__(self) -> str:
        return f"<model {self.name}: call it with settings, or see `recsys show model {self.name}`>"


def model(name: str, settings: Settings | None = None, /, **values: Any) -> ModelSpec:
    """A model by its registered name, also one of a plug-in, or of RecBole such as "recbole:SGL".

    Args:
        name: as `recsys list models` shows it.
        settings: an object of the model's own `Settings`.
        **values: settings by keyword, of the model or of its training; they override `settings`.

    Raises:
        UserError: no such model (the nearest names are offered), and as `ModelMaker`.

    Stability: stable.

    Example:
        >>> import recsys
        >>> recsys.model("lightgcn", layers=2)
        ModelSpec(name='lightgcn', settings={'layers': 2})
    """
    return ModelMaker(name)(settings, **values)


def model_names() -> dict[str, str]:
    """Class name -> registered name, of the models that have one class for themselves."""
    names: dict[str, str] = {}
    for name in MODELS.builtin:
        names.setdefault((MODELS.target(name) or "").rpartition(":")[2], name)
    return names


def spec_of(given: Any) -> ModelSpec:
    """What a user gives for a model as a spec: a name, a spec, or `recsys.EASE` itself.

    Raises:
        UserError: it is none of these, or there is no such model.
    """
    if isinstance(given, ModelSpec):
        return given
    if isinstance(given, ModelMaker):
        return given()
    if isinstance(given, str):
        return model(given)
    known = [*MODELS]
    hint = nearest(getattr(given, "__name__", "").lower(), known) if isinstance(given, type) else ""
    raise UserError(
        f"expected a model's name such as 'ease', or recsys.EASE(...), got {type(given).__name__}{hint}"
    )
