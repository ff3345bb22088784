"""Edit: inference stops at what training teaches as the end.

Engines stop at `eos_token_id` of generation_config.json, which may be a list; where it is silent, at that of
config.json (transformers; vLLM #4180, PR #4182). The tokens in which the answers of the data end are added to that
list, and none is taken out of it.

Safe: no label changes, and inference stops nowhere that the answers of the data do not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from finetooth.fix.edits import Edit, Outcome
from finetooth.fix.workbench import Workbench
from finetooth.messages import say

CODES = ("RUN001",)
FILE = "generation_config.json"


def repair_stop_list(bench: Workbench) -> Iterator[Outcome]:
    """Add the tokens that training teaches as the end to the stop list of generation_config.json."""
    if not bench.wants(*CODES):
        return
    tokenizer, files = bench.facts().tokenizer, bench.copy.files
    listed = next(iter(files.stop_ids.values()), None)
    if listed is None:
        # No file lists any: every engine then stops at the tokenizer's EOS.
        listed = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    taught = [token_id for token_id, _ in sorted(bench.survey().taught.items())]
    missing = [token_id for token_id in taught if token_id not in listed]
    if not missing:
        return
    wanted = [*listed, *missing]
    if bench.copy.read(FILE) is None:
        bench.copy.write(FILE, json.dumps({"eos_token_id": wanted}, indent=2) + "\n")
    else:
        bench.copy.put(FILE, ["eos_token_id"], wanted)
    bench.changed()
    tokens = " ".join(f"{tokenizer.piece(token_id)} ({token_id})" for token_id in missing)
    yield Edit(name="stop-list", codes=CODES, text=say("fix.stop_list", tokens=tokens, file=FILE))
