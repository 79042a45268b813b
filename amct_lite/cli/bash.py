"""Completion in bash, which breaks words at `=` and `:`. Click takes the pieces for words; here they are one word again, and of
what is offered bash gets the part behind the last break. Importing this replaces click's own."""

from __future__ import annotations

import os
import re
from typing import Any, ClassVar

from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

_SCRIPT = r"""%(complete_func)s() {
    local response completion type value
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" %(complete_var)s=bash_complete $1)
    while IFS=',' read -r type value; do
        if [[ $type == 'dir' ]]; then
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("$value")
            if [[ $value == *[=:] ]]; then compopt -o nospace; fi
        fi
    done <<< "$response"
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""
_SPECIAL = re.compile(r"([^\w@%+=:,./-])")


class WholeWords(BashComplete):
    """Of the command line up to the cursor, COMP_LINE; COMP_WORDBREAKS: the characters that bash breaks words at."""

    source_template: ClassVar[str] = _SCRIPT
    _option = ""
    _kept = 0
    _in_quotes = False

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words behind the command, and the one that is begun."""
        line = os.environ.get("COMP_LINE", "")
        words = split_arg_string(line)
        begun = words.pop() if words and not line[-1:].isspace() else ""
        self._in_quotes = any(line.count(quote) % 2 for quote in "\"'")
        breaks = "" if self._in_quotes else set("=:") & set(os.environ.get("COMP_WORDBREAKS", ""))
        self._kept = max((begun.rfind(char) + 1 for char in breaks), default=0)
        if begun.startswith("-"):  # what stands behind it is completed as a word of its own
            self._option = "".join(begun.partition("=")[:2]) if "=" in begun else ""
        return words[1:], begun

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """What bash puts in the place of what it takes for the word."""
        value = f"{self._option}{item.value}"[self._kept :]
        return f"{item.type},{value}" if self._in_quotes else f"{item.type}," + _SPECIAL.sub(r"\\\1", value)


add_completion_class(WholeWords)
