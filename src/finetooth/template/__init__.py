"""Chat templates: compiling and rendering them in a sandbox, and finding who says what in the text.

source --compile--> ChatTemplate --render--> text
Record --Renderer--> Rendered(text, spans)
"""

from finetooth.template.chat import ChatTemplate, part_text, read_template
from finetooth.template.rendering import Renderer
from finetooth.template.spans import common_length, conversation_text, prompt_text
from finetooth.template.stops import CONTROL_LITERAL, Stops
from finetooth.template.texts import text_spans
from finetooth.template.turns import ASSISTANT_ROLES, TURN_KEYS, learned_turns, turn_flag

__all__ = [
    "ASSISTANT_ROLES",
    "CONTROL_LITERAL",
    "TURN_KEYS",
    "ChatTemplate",
    "Renderer",
    "Stops",
    "common_length",
    "conversation_text",
    "learned_turns",
    "part_text",
    "prompt_text",
    "read_template",
    "text_spans",
    "turn_flag",
]
