"""The controls of an explorable: named, wide, and told apart by keyboard and screen reader.

A slider goes over whole numbers, since one over a list announces a place in the list and one over powers an exponent;
it redraws on a key, and while it is dragged; its number can be typed too. What has few values is a list to choose from.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_WIDE = {"width": "100%", "max_width": "60em"}
_NAME = {"description_width": "7em"}
_NONE = ""  # a list whose value is None has nothing chosen, so that None goes by another name there


def toolkit() -> Any:
    """The package of widgets.

    Raises:
        ImportError: without it.
    """
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError("explorables need ipywidgets: pip install ipywidgets, then restart the kernel") from error
    return ipywidgets


def slider(name: str, value: int, most: int, step: int = 1, least: int | None = None) -> Any:
    """Whole numbers from `least`, or one step, to `most`.

    While it is dragged, the page sends a value when the kernel is through with the one before: a slow picture skips
    values, and the last one always arrives.
    """
    return toolkit().IntSlider(
        value=value,
        min=step if least is None else least,
        max=most,
        step=step,
        description=name,
        continuous_update=True,
        readout_format=",d",
        style=_NAME,
        layout=_WIDE,
    )


def choice(name: str, options: Sequence[Any] | Mapping[str, Any], value: Any) -> Any:
    """One of a few; words of their own come with them as {words: value}."""
    words = options if isinstance(options, Mapping) else {str(option): option for option in options}
    pairs = [(word, _NONE if each is None else each) for word, each in words.items()]
    layout = {"width": "18em", "max_width": "100%"}
    control = toolkit().Dropdown(options=pairs, description=name, style=_NAME, layout=layout)
    put(control, value)
    return control


def switch(name: str, value: bool) -> Any:
    """On or off."""
    layout = {"width": "auto", "margin": "2px 1.2em 2px 0"}
    return toolkit().Checkbox(value=value, description=name, indent=False, layout=layout)


def panel(shown: Any, controls: Iterable[Any], below: Any) -> Any:
    """What is shown, under it the controls (lists side by side, sliders one under the other, switches), and what may
    grow and shrink below them, so that no control moves away from the mouse."""
    widgets, every = toolkit(), list(controls)

    def those(kind: Any) -> list[Any]:
        return [control for control in every if isinstance(control, kind)]

    wrap = {"flex_flow": "row wrap", "width": "100%", "max_width": "60em"}
    lists, switches = (widgets.Box(those(kind), layout=wrap) for kind in (widgets.Dropdown, widgets.Checkbox))
    return widgets.VBox([shown, lists, *those(widgets.IntSlider), switches, below])


def values(controls: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """What each control says; a disabled one says the usual."""
    return {name: usual[name] if control.disabled else _value(control) for name, control in controls.items()}


def put(control: Any, value: Any) -> None:
    """Move a control."""
    control.value = _NONE if value is None else value


def _value(control: Any) -> Any:
    return None if control.value == _NONE else control.value
