"""A conversation as a file of data, which finetooth reads, checks and trains on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetooth.chatting.conversation import Conversation
from finetooth.errors import DataError
from finetooth.messages import say
from finetooth.types import Message
from finetooth.writing import whole_file


def transcript(conversation: Conversation) -> dict[str, Any]:
    """Return a conversation as a row of `messages`.

    An answer that did not end as answers should (cut, interrupted, with a leaked terminator) has `"train": false`:
    nothing is to be learned from it.
    """
    messages: list[Message] = (
        [] if conversation.system is None else [{"role": "system", "content": conversation.system}]
    )
    for turn in conversation.turns:
        messages.append({**turn.prompt.messages[-1]})
        answer: Message = {"role": "assistant", "content": turn.text}
        messages.append(answer if turn.is_sound else {**answer, "train": False})
    return {"messages": messages, "model": conversation.speaker.name}


def save(conversations: Sequence[Conversation], path: Path, *, force: bool = False) -> None:
    """Write conversations, one a line, whole or not at all.

    Args:
        conversations: What is written.
        path: The file.
        force: Whether a file that is there is written over.

    Raises:
        FinetoothError: There is nothing to write, the file is there, or it cannot be written.
    """
    if not any(conversation.turns for conversation in conversations):
        raise DataError(say("chatting.nothing_said"))
    if path.exists() and not force:
        raise DataError(say("chatting.file_exists"), where=str(path), help=f"/save! {path}")
    with whole_file(path) as file:
        for conversation in conversations:
            file.write(json.dumps(transcript(conversation), ensure_ascii=False) + "\n")
