"""One answer, id by id, while transformers' own `generate` makes it.

Every answer begins from the whole prompt: keys and values of an earlier turn were computed in other shapes, differ in
their last bits from those of the whole prompt, and a near tie between two tokens then falls otherwise. What `/why`
shows could no longer be made again from the ids that it shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

import torch

from finetooth.chatting.settings import Settings
from finetooth.probing.generating import dense_attention, pad_id_of

_POLL_S = 0.2
"""A wait without a limit of time cannot be interrupted on every system."""


class _Ids:
    """A streamer of transformers: passes on ids as they are, special tokens included."""

    def __init__(self, queue: SimpleQueue[int | BaseException | None]) -> None:
        self._queue = queue
        self._is_prompt = True

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt, which comes first, and then each new id."""
        if self._is_prompt:
            self._is_prompt = False
            return
        for one in value.flatten().tolist():
            self._queue.put(int(one))

    def end(self) -> None:
        """Do nothing: the thread tells its end by itself, whether or not it failed."""


def answer(
    model: Any, prompt_ids: Sequence[int], *, max_tokens: int, settings: Settings, seed: int, stop: Event
) -> Iterator[int]:
    """Yield the ids of an answer, its stop token included.

    Args:
        model: The model; it is left as it was.
        prompt_ids: The prompt, whole.
        max_tokens: How many ids are generated at most.
        settings: How they are chosen.
        seed: For the random numbers of this answer, where there are any; those of the process are left alone.
        stop: Ends the answer after the id that is being made.
    """
    queue: SimpleQueue[int | BaseException | None] = SimpleQueue()

    def work() -> None:
        try:
            _generate(model, prompt_ids, max_tokens, settings, seed, stop, _Ids(queue))
            queue.put(None)
        except BaseException as error:
            queue.put(error)

    thread = Thread(target=work, name="answer", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = queue.get(timeout=_POLL_S)
            except Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _generate(
    model: Any,
    prompt_ids: Sequence[int],
    max_tokens: int,
    settings: Settings,
    seed: int,
    stop: Event,
    streamer: _Ids,
) -> None:
    device = next(model.parameters()).device
    ids_BT = torch.tensor([list(prompt_ids)], device=device)  # B = 1 prompt, T tokens
    chosen: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if not settings.is_greedy:
        chosen = {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p or 1.0, "top_k": 0}

    def is_stopped(input_ids: torch.Tensor, scores: Any, **more: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), stop.is_set(), dtype=torch.bool, device=input_ids.device)

    was_training = model.training
    model.eval()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices), dense_attention(model):
            torch.manual_seed(seed)
            model.generate(
                ids_BT,
                attention_mask=torch.ones_like(ids_BT),
                max_new_tokens=max_tokens,
                num_beams=1,
                pad_token_id=pad_id_of(model),
                streamer=streamer,
                stopping_criteria=[is_stopped],
                **chosen,
            )
    finally:
        model.train(was_training)


def stop_probabilities(
    model: Any, prompt_ids: Sequence[int], ids: Sequence[int], stop_ids: frozenset[int]
) -> list[float]:
    """Return how probable it was, before each id of an answer, that a stop id came in its place."""
    if not ids or not stop_ids:
        return [0.0] * len(ids)
    device = next(model.parameters()).device
    ids_BT = torch.tensor([[*prompt_ids, *ids[:-1]]], device=device)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), dense_attention(model):
            logits_TV = model(ids_BT, use_cache=False).logits[0, len(prompt_ids) - 1 :].float()  # V: vocabulary
    finally:
        model.train(was_training)
    chosen = torch.tensor(sorted(stop_ids), device=device)
    chosen = chosen[chosen < logits_TV.shape[-1]]
    found: list[float] = logits_TV.softmax(-1)[:, chosen].sum(-1).tolist()
    return found
