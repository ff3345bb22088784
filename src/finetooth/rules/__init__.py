"""The rules: one file each, found by their names.

rule       how a rule is written: the decorators, `Hit`, `Because`
facts      what rules ask of a set-up
merge_facts   what rules ask of a merge
row        what rules ask of a record
endings    how a record's answer ends: one branch of a tree for each record
lab... tok... tpl... dat... seq... run... mrg...   a rule each
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from finetooth.errors import ConfigError
from finetooth.messages import say
from finetooth.rules.rule import Because, Hit, NotRun, Rule

__all__ = ["Because", "Hit", "NotRun", "Rule", "all_rules", "rule_of", "select_rules"]


@cache
def all_rules(stage: str = "") -> tuple[Rule, ...]:
    """Return every rule, by code; or those of a stage alone (`MRG`), the others' modules not being imported."""
    found = []
    for module in iter_modules(__path__):
        if re.match(r"[a-z]{3}\d{3}_", module.name) and module.name.startswith(stage.lower()):
            rules = [
                value for value in vars(import_module(f"{__name__}.{module.name}")).values() if isinstance(value, Rule)
            ]
            assert len(rules) == 1, f"{module.name} holds {len(rules)} rules"
            found += rules
    return tuple(sorted(found, key=lambda rule: rule.code))


def rule_of(name: str) -> Rule:
    """Return the rule of a code or name.

    Raises:
        ConfigError: There is none.
    """
    for rule in all_rules():
        if name.lower() in (rule.code.lower(), rule.name):
            return rule
    from finetooth.config import closest

    near = closest(name, [word for rule in all_rules() for word in (rule.code, rule.name)])
    raise ConfigError(
        say("check.no_such_rule", name=name),
        help=say("cli.did_you_mean", name=near) if near else "finetooth rule --all",
    )


def select_rules(select: tuple[str, ...] = (), ignore: tuple[str, ...] = ()) -> tuple[Rule, ...]:
    """Return the rules that are chosen by codes, beginnings of codes (`LAB`), or names.

    Raises:
        ConfigError: A word chooses no rule.
    """

    def chosen(words: tuple[str, ...]) -> set[str]:
        codes: set[str] = set()
        for word in words:
            stage = {rule.code for rule in all_rules() if rule.code.startswith(word.upper())}
            codes |= stage or {rule_of(word).code}
        return codes

    selected = chosen(select) if select else {rule.code for rule in all_rules()}
    return tuple(rule for rule in all_rules() if rule.code in selected - chosen(ignore))
