"""Plug-ins by name: entry points held unloaded and loaded on use, so that a broken one takes nothing down."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from earthinstruct.contract import ControlMethod, Method, optional_member
from earthinstruct.errors import EarthInstructError, UnknownNameError, checked_arguments
from earthinstruct.texts import error_in_words, redacted, secret_values, secrets_hidden

METHODS = "earthinstruct.methods"
DATASETS = "earthinstruct.datasets"
FOLDERS = "earthinstruct.folders"
LABEL_MAPPERS = "earthinstruct.label_mappers"
WEIGHTS = "earthinstruct.weights"
OWN_METHOD = "A method of your own is given as package.module:Class or path/file.py:Class."
MORE_METHODS = (
    "Only the controls are installed. InstructSAM and the baselines, in a clone: "
    "pip install -e methods/models -e methods/instructsam -e methods/baselines"
)


class PluginError(EarthInstructError):
    """A plug-in that cannot be loaded or made."""


@dataclass(frozen=True)
class Plugin:
    """A registered plug-in, loaded or not. `distribution` is what to uninstall or repair when it is broken."""

    name: str
    distribution: str
    entry_point: EntryPoint

    def load(self) -> Any:
        """Load the plug-in: a class, a function, or for a dataset a `DatasetSource`.

        Raises:
            PluginError: importing it failed.
        """
        try:
            return self.entry_point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            kind = self.entry_point.group.rpartition(".")[2].rstrip("s")
            raise PluginError(
                f"{kind} {self.name!r} of distribution {self.distribution!r} cannot be loaded: {error_in_words(error)}"
            ) from error


def plugins(group: str) -> dict[str, Plugin]:
    """The plug-ins of a group by name; none is imported.

    Raises:
        PluginError: two distributions register one name.
    """
    found: dict[str, Plugin] = {}
    for entry_point in entry_points(group=group):
        distribution = entry_point.dist.name if entry_point.dist else "unknown"
        plugin = Plugin(entry_point.name, distribution, entry_point)
        other = found.get(plugin.name)
        if other is not None and other.entry_point != entry_point:
            raise PluginError(
                f"{group}: the name {plugin.name!r} is registered by {other.distribution!r} and by {distribution!r}; "
                "uninstall one of them"
            )
        found[plugin.name] = plugin
    return dict(sorted(found.items()))


def method_factory(name: str) -> Any:
    """The class or function that makes a method.

    Args:
        name: a registered name, `package.module:Class` or `path/file.py:Class`.

    Raises:
        UnknownNameError: no such method.
        PluginError: it cannot be imported.
    """
    if ":" in name or name.endswith(".py"):
        return load_class("method", name)
    known = plugins(METHODS)
    if name not in known:
        more = more_methods()
        raise UnknownNameError("method", name, known, f"{more}. {OWN_METHOD}" if more else OWN_METHOD)
    return known[name].load()


def more_methods() -> str:
    """How to get more methods, if only the controls are installed; otherwise empty."""
    ours = __name__.partition(".")[0]
    return "" if any(plugin.distribution != ours for plugin in plugins(METHODS).values()) else MORE_METHODS


def load_class(kind: str, name: str) -> Any:
    """A class, or a function, by where it is.

    Args:
        kind: what it is for, such as "method".
        name: `package.module:Class` or `path/file.py:Class`.

    Raises:
        UnknownNameError: the module or file has no such class.
        PluginError: it cannot be imported, or `name` is of neither form.
    """
    module_name, _, attribute = name.rpartition(":")
    if not module_name:
        if name.endswith(".py"):
            raise PluginError(f"{kind} {name!r} is a file, without a class; give {name}:Class")
        raise PluginError(f"{kind} {name!r} has no class; give package.module:Class or path/file.py:Class")
    try:
        if module_name.endswith(".py"):
            module = _module_from_file(Path(module_name), kind)
        else:
            module = importlib.import_module(module_name)
    except (PluginError, KeyboardInterrupt):
        raise
    except BaseException as error:  # also sys.exit(), which would end the command as if all were done, and panics
        file = Path(*module_name.split(".")).with_suffix(".py")
        hint = f"; a file is given as {file}:{attribute}" if file.is_file() else ""
        raise PluginError(f"{kind} {name!r} cannot be loaded: {error_in_words(error)}{hint}") from error
    if not hasattr(module, attribute):
        raise UnknownNameError(f"name in {module_name}:", attribute, _made_in(module))
    return getattr(module, attribute)


def _made_in(module: Any) -> list[str]:
    """The classes and functions that a module defines itself: what may have been meant."""
    return [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and callable(value) and not name.startswith("_")
    ]


def _module_from_file(path: Path, kind: str) -> Any:
    if not path.is_file():
        raise PluginError(f"{kind} file {path} does not exist")
    # a name of its own: a file `statistics.py` must not become everybody's `statistics`
    spec = importlib.util.spec_from_file_location(f"{kind}_file_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def make_method(name: str, parameters: Mapping[str, Any] | None = None) -> Method | ControlMethod:
    """Make a method, if nothing that it needs is missing.

    Args:
        name: as for `method_factory`.
        parameters: its keyword arguments.

    Raises:
        UnknownNameError: no such method or parameter.
        PluginError: it cannot be imported, something that it needs is missing, or it refuses its parameters.
    """
    parameters = dict(parameters or {})
    with secrets_hidden(parameters):
        factory = method_factory(name)
        _refuse_missing(name, _missing_before(name, factory, parameters))
        try:
            method = factory(**parameters)
            getattr(method, "name", None)  # may be a property, which raises
            made = method if isinstance(method, Method | ControlMethod) else None
        except (EarthInstructError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise PluginError(f"method {name!r} cannot be made: {error_in_words(error)}") from error
        if made is None:
            raise PluginError(
                f"method {name!r} has no `name` and `predict(image, instruction)`; see earthinstruct.contract.Method"
            )
        refuse_incomplete(made)
        return made


@checked_arguments
def missing_for(name: str, parameters: Mapping[str, Any] | None = None) -> list[str]:
    """What a method that is not made yet would miss on this machine.

    Args:
        name: as for `method_factory`.
        parameters: its keyword arguments.

    Returns:
        One line each: what is missing, a colon, what to do about it. Parameters that must be given are among them.

    Raises:
        UnknownNameError: no such method or parameter.
        PluginError: it cannot be imported, or its `missing` fails.
    """
    with secrets_hidden(parameters):
        return _missing_before(name, method_factory(name), dict(parameters or {}))


def missing_in(method: object) -> list[str]:
    """What a method that is made misses on this machine, by its plain method `missing()`.

    A `missing` with parameters belongs to the class: it was asked before the method was made.

    Raises:
        PluginError: `missing` fails.
    """
    ask = optional_member(method, "missing")
    if inspect.signature(ask).parameters:
        return []
    return _asked(str(getattr(method, "name", type(method).__name__)), ask, {})


def refuse_incomplete(method: object) -> None:
    """Refuse a method that is made and misses something.

    Raises:
        PluginError: with all that is missing.
    """
    _refuse_missing(str(getattr(method, "name", type(method).__name__)), missing_in(method))


def list_methods() -> list[dict[str, str]]:
    """Every registered method: `name`, `from` (its distribution), `state`, `summary` and what is `missing`.

    The state is `ready`; `missing`: something is lacking on this machine, or a parameter must be given; `control`: it
    is given the ground truth; or `broken`: it cannot be loaded, and `missing` says why, after "warning:".
    """
    rows = []
    for plugin in plugins(METHODS).values():
        try:
            factory = plugin.load()
            summary = (factory.__doc__ or "").strip().partition("\n")[0]
            missing = "; ".join(missing_for(plugin.name))
            control = hasattr(factory, "predict_with_targets")
            state = "control" if control else "missing" if missing else "ready"
        except EarthInstructError as error:
            state, summary, missing = "broken", "", f"warning: {error}"
        row = {"name": plugin.name, "from": plugin.distribution, "state": state, "summary": summary}
        rows.append({**row, "missing": missing})
    return rows


@dataclass(frozen=True)
class Parameter:
    """A parameter of a method. `default` is None, too, where it is `required`."""

    name: str
    default: Any
    required: bool
    meaning: str  # from the docstring of the class; empty: it says nothing


@dataclass(frozen=True)
class MethodDetails:
    """A method with its parameters.

    Attributes:
        name: as it was given.
        summary: the first sentence of its docstring.
        missing: as `missing_for` gives it.
        parameters: those of the class or function that makes it.
        parts: part -> the names that may be chosen for it -> the parameters of the part.
        presets: name -> the parameters that it stands for.
    """

    name: str
    summary: str
    missing: list[str]
    parameters: list[Parameter]
    parts: Mapping[str, Mapping[str, list[Parameter]]]
    presets: Mapping[str, Mapping[str, Any]]


@checked_arguments
def method_details(name: str) -> MethodDetails:
    """The parameters of a method, with defaults and presets. The method is not made.

    Args:
        name: as for `method_factory`.

    Raises:
        UnknownNameError: no such method.
        PluginError: it cannot be imported, or one of its optional members fails.
    """
    import docstring_parser

    factory = method_factory(name)
    texts = [docstring_parser.parse(each.__doc__ or "") for each in getattr(factory, "__mro__", [factory])]
    meanings = {taken.arg_name: _in_one_line(taken.description) for text in reversed(texts) for taken in text.params}
    try:
        parts = {
            part: {choice: _parameters(taken, {}) for choice, taken in named.items()}
            for part, named in optional_member(factory, "choices")().items()
        }
        presets = dict(optional_member(factory, "presets")())
    except (Exception, SystemExit) as error:
        raise PluginError(f"method {name!r}: choices() or presets() failed: {error_in_words(error)}") from error
    return MethodDetails(
        name=name,
        summary=_in_one_line(texts[0].short_description),
        missing=missing_for(name),
        parameters=_parameters(inspect.signature(factory).parameters.values(), meanings),
        parts=parts,
        presets=presets,
    )


def _in_one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _parameters(taken: Iterable[inspect.Parameter], meanings: Mapping[str, str]) -> list[Parameter]:
    return [
        Parameter(
            parameter.name,
            None if parameter.default is parameter.empty else parameter.default,
            parameter.default is parameter.empty,
            meanings.get(parameter.name, ""),
        )
        for parameter in taken
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def weights_known() -> dict[str, tuple[Any, Callable[..., Path]]]:
    """All weights that methods use, by name, each with the function that downloads it.

    A plug-in of this group is a module with `WEIGHTS`, a mapping of names to objects with `name`, `licence`, `page`,
    `url`, `path` and `here`, and `fetch(name, progress)`, which returns the path.

    Raises:
        PluginError: no plug-in knows weights, two know the same name, or one cannot be loaded.
    """
    found: dict[str, tuple[Any, Callable[..., Path]]] = {}
    for plugin in plugins(WEIGHTS).values():
        module = plugin.load()
        for name, weights in module.WEIGHTS.items():
            if name in found:
                raise PluginError(
                    f"the weights {name!r} are known to two distributions, one of them {plugin.distribution}"
                )
            found[name] = (weights, module.fetch)
    if not found:
        raise PluginError(f"no installed distribution knows weights. {more_methods()}".strip())
    return found


def tells_missing(name: str) -> bool:
    """Whether a method that is not made yet says what it would miss."""
    return _missing_of_class(method_factory(name)) is not None


def _missing_before(name: str, factory: Callable[..., Any], parameters: Mapping[str, Any]) -> list[str]:
    accepted = _accepted(factory)
    for given in parameters:
        if accepted is not None and given not in accepted:
            raise UnknownNameError(f"parameter of method {name!r}:", given, accepted)
    needed = parameters_needed(factory, parameters)
    lines = [f"parameter {key}: give -M {key}=VALUE" for key in needed]
    ask = _missing_of_class(factory)
    if ask is None or set(parameters_needed(ask, parameters)) & set(needed):
        return lines
    accepted = _accepted(ask)
    return lines + _asked(
        name, ask, {key: value for key, value in parameters.items() if accepted is None or key in accepted}
    )


def _missing_of_class(factory: Callable[..., Any]) -> Callable[..., Any] | None:
    """The `missing` that can be asked before a method is made; a plain method of a class needs the object."""
    if isinstance(factory, type) and inspect.isfunction(inspect.getattr_static(factory, "missing", None)):
        return None
    ask = getattr(factory, "missing", None)
    return ask if callable(ask) else None


def _asked(name: str, ask: Callable[..., Any], parameters: Mapping[str, Any]) -> list[str]:
    try:
        lines = ask(**parameters)
    except (EarthInstructError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(f"method {name!r}: missing() failed: {error_in_words(error)}") from error
    if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
        raise PluginError(f"method {name!r}: missing() must return a list of strings, got {lines!r}")
    secrets = secret_values(parameters)
    return list(dict.fromkeys(redacted(line, secrets) for line in lines))


def _refuse_missing(name: str, lines: Iterable[str]) -> None:
    listed = "".join(f"\n  {line}" for line in lines)
    if listed:
        raise PluginError(f"method {name!r} cannot run on this machine. Nothing was run. Missing:{listed}")


def _accepted(factory: Callable[..., Any]) -> list[str] | None:
    """The names of the parameters that it takes; None: any."""
    parameters = inspect.signature(factory).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters]


def parameters_needed(factory: Callable[..., Any], given: Iterable[str]) -> list[str]:
    """The parameters without a default that are not given."""
    return [
        parameter.name
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name not in given
    ]


def parse_parameters(pairs: Iterable[str]) -> dict[str, Any]:
    """`key=value` pairs as keyword arguments; a value that is JSON is read as JSON, any other is text.

    A key may have dots, as in `proposer.device=cuda`, where a method takes such keys.

    >>> parse_parameters(["counts=answers/", "scale=1.2", "fill=true"])
    {'counts': 'answers/', 'scale': 1.2, 'fill': True}

    Raises:
        EarthInstructError: a pair without `=`.
    """
    parameters: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not all(name.isidentifier() for name in key.split(".")):
            raise EarthInstructError(f"parameter {key!r} must be key=value, for example -M seed=1")  # no value is shown
        try:
            parameters[key] = json.loads(value)
        except ValueError:
            parameters[key] = value
    return parameters
