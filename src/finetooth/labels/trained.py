"""`Trained`: where the weights of a model lie, and which of them are trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The weights of a model, and what a recipe trains of them; names of modules are matched as peft 0.21 does."""

    directory: Path | None
    """Where the weights lie; `None` where they are not at hand."""
    method: Literal["lora", "full"] | None = None
    """`None` where no recipe says."""
    target_modules: tuple[str, ...] = ()
    modules_to_save: tuple[str, ...] = ()

    def trains(self, module: str) -> bool:
        """Return whether a module's weights are known to change in training, whole or by an adapter."""
        return self.method == "full" or self.adapts(module) or self.copies(module)

    def adapts(self, module: str) -> bool:
        """Return whether a module gets an adapter; of `all-linear` neither side of the embeddings does."""
        return self.method == "lora" and any(_is_called(module, target) for target in self.target_modules)

    def copies(self, module: str) -> bool:
        """Return whether a module is trained whole beside the adapter, as a copy."""
        return self.method == "lora" and any(module.endswith(name) for name in self.modules_to_save)

    def unmatched(self, modules: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return those names of `target_modules`, and of `modules_to_save`, that no module has."""
        known = tuple(modules)
        lora = self.method == "lora"
        targets = self.target_modules if lora and self.target_modules != ("all-linear",) else ()
        saved = self.modules_to_save if lora else ()
        return (
            tuple(name for name in targets if not any(_is_called(module, name) for module in known)),
            tuple(name for name in saved if not any(module.endswith(name) for module in known)),
        )


def _is_called(module: str, name: str) -> bool:
    # The last: weights of GPT-2 are saved without the `transformer.` that their modules have.
    return module == name or module.endswith(f".{name}") or name.endswith(f".{module}")
