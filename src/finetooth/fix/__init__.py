"""Mend what a check finds: the model's small files and the rows of the data, on a copy that is checked again.

repair            the whole of it: check, edit, check
added_tokens padding generation_block stop_list     edits of the model's files, one each
rowedits          edits of rows; rowpass makes them in one pass over the data, columns says where the words stand
workbench         the model and data that edits look at, read anew after each
modelcopy datacopy        what is changed: copies of the small files, and of the rows
jsontext jinjasource      changes in the text of JSON files and templates that leave the rest as it is
difference        unified differences of files and rows
install           the result put in place, whole or not at all
edits             the nouns: `Edit`, `Left`

An edit is safe where the labels of rows in which nothing was found stay as they are; others wait for `--unsafe`. Each
is tried on the copy before it is kept, and what cannot be mended is named with its reason.
"""

from __future__ import annotations

from finetooth.fix.edits import Edit, Left
from finetooth.fix.repair import Repaired, repair

__all__ = ["Edit", "Left", "Repaired", "repair"]
