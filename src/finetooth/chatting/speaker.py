"""`Speaker`: a loaded model with what it takes to talk to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from finetooth.config import Config, config_of
from finetooth.errors import DataError
from finetooth.labels import Setup, make_setup
from finetooth.messages import say
from finetooth.probing.judging import terminators_of
from finetooth.probing.loading import load, model_path
from finetooth.template import CONTROL_LITERAL, ChatTemplate
from finetooth.tokenizer import Tokenizer, TokenizerFiles


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """A model that answers, by what the user typed for it."""

    name: str
    model: Any
    setup: Setup
    template_option: str | None = None
    """The template that was asked for; `None` where it is the tokenizer's own."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that reads and writes."""
        return self.setup.tokenizer

    @cached_property
    def template(self) -> ChatTemplate:
        """The chat template.

        Raises:
            DataError: There is none.
        """
        if self.setup.template is None:
            raise DataError(say("chatting.no_template"), where=self.name, help="--template chatml")
        return self.setup.template

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The ids at which generation stops."""
        from finetooth.probing.generating import stop_ids_of

        return stop_ids_of(self.model)

    @cached_property
    def terminators(self) -> tuple[str, ...]:
        """The literals that end a turn, the longest first: of the tokenizer, and what the template prints as one."""
        found = {*terminators_of(self.tokenizer), *CONTROL_LITERAL.findall(self._after_answers)}
        return tuple(sorted(found, key=lambda literal: (-len(literal), literal)))

    @cached_property
    def _after_answers(self) -> str:
        """What the template prints after an answer, up to where a user's turn begins."""
        after, user = self.template.next_user_header, self.template.user_header
        mark = user.removeprefix(self.tokenizer.bos_token or "").strip()
        return after.partition(mark)[0] if mark else after

    @cached_property
    def blanks(self) -> tuple[str, str]:
        """What the template prints between the prompt and an answer's words, and between them and the terminator.

        The model writes both, and the template adds them anew when the answer is part of the history.
        """
        header, whole = self.template.generation_prompt_header, self.template.answer_header
        before = whole[len(header) :] if whole.startswith(header) else ""
        match = self.tokenizer.stops.match(self._after_answers, 0, len(self._after_answers))
        after = self._after_answers[: match.start()] if match else ""
        return before, after if not after.strip() else ""

    @cached_property
    def context(self) -> int | None:
        """How many tokens prompt and answer may have together; `None` where the model sets no limit."""
        config = self.model.config
        inner = config.get_text_config() if hasattr(config, "get_text_config") else config
        length = getattr(inner, "max_position_embeddings", None)
        return int(length) if isinstance(length, int) and length > 0 else None

    def stop_file(self, token_id: int) -> str:
        """Return the file that makes an id a stop id."""
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        own = Path(str(getattr(base, "name_or_path", "")))
        files = TokenizerFiles(own) if own.is_dir() else self.tokenizer.files
        for name, ids in files.stop_ids.items() if files is not None else ():
            if token_id in ids:
                return name
        return "generation_config"


def load_speaker(model: str | Path, *, adapter: str | Path | None = None, config: Config | None = None) -> Speaker:
    """Load a model with its tokenizer and chat template.

    Args:
        model: A directory or hub id; the directory of a run stands for the model in it.
        adapter: A directory with an adapter for the model.
        config: How tokenizer and template are read.

    Raises:
        FinetoothError: It cannot be loaded, or has no chat template.
    """
    config = config or config_of({})
    path = model_path(model)
    setup = make_setup(config.tokenizer.path or path, config)
    # Before the weights are read: it is what is missing most often.
    if setup.template is None:
        raise DataError(say("chatting.no_template"), where=str(model), help="--template chatml")
    return Speaker(name=str(model), model=load(path, adapter), setup=setup, template_option=config.tokenizer.template)
