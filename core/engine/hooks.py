"""Forward hooks that are removed together; every hook of the project on a model is registered here."""

from collections.abc import Callable
from types import TracebackType
from typing import Any

from torch import nn
from torch.nn.modules import module as torch_module
from torch.utils.hooks import RemovableHandle


class ForwardHooks:
    """Hooks on modules of a model, until `remove` or the end of a `with` block."""

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []

    def before(self, module: nn.Module, hook: Callable[[nn.Module, tuple[Any, ...]], Any]) -> None:
        """Call `hook(module, inputs)` before each pass of a module; a result other than None replaces its inputs."""
        self._handles.append(module.register_forward_pre_hook(hook))

    def after(
        self, module: nn.Module, hook: Callable[[nn.Module, tuple[Any, ...], Any], Any], *, first: bool = False
    ) -> None:
        """Call `hook(module, inputs, output)` after each pass; a result other than None replaces the output.

        With `first` it is called before the hooks that the module has already, so that these see its result.
        """
        self._handles.append(module.register_forward_hook(hook, prepend=first))

    def remove(self) -> None:
        """Remove all hooks that were registered; more can be registered afterwards."""
        while self._handles:
            self._handles.pop().remove()

    def __bool__(self) -> bool:
        """Whether a hook is registered."""
        return bool(self._handles)

    def __enter__(self) -> "ForwardHooks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


class HookWatch:
    """Tells whether any module of a model has a hook that is to be called, in a microsecond where none was added."""

    def __init__(self, model: nn.Module) -> None:
        modules = list(model.modules())
        self._after = [(each, each._forward_hooks) for each in modules]
        self._others: list[Any] = [each._forward_pre_hooks for each in modules]
        self._others += [torch_module._global_forward_hooks, torch_module._global_forward_pre_hooks]
        self._unhooked = -1
        """The id of the next hook that anybody registers, as it was when there was no hook here."""

    @property
    def hooked(self) -> bool:
        """Whether there is one."""
        following = RemovableHandle.next_id
        if following != self._unhooked and not any(self._others) and not self.after():
            self._unhooked = following
        return following != self._unhooked

    @property
    def has_others(self) -> bool:
        """Whether there is a hook that is not called after one of the modules."""
        return any(self._others)

    def after(self) -> list[tuple[nn.Module, Any]]:
        """The hooks that are called after each pass of a module, with that module."""
        return [(module, hook) for module, hooks in self._after for hook in hooks.values()]
