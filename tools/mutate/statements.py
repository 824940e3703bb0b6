"""Finds the statements of C++ function bodies in which an expression can be replaced.

No parser: the project's formatting (clang-format, one blank around binary operators) makes text enough. What is found
wrongly does not compile, and is then left out.
"""

import dataclasses
import re

_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'')
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_START = re.compile(r"(?<=[;{}:])[ \n]+(?=[a-z*(])|(?<=\) )(?=[a-z*])")
_DECLARATION = re.compile(r"(?:const )?[\w:<>]+[&*]? \w+ = ", re.DOTALL)
_ASSIGNMENT = re.compile(r"[\w.\[\]>()*-]+ (?:=|\+=|-=|\*=) ")
_KEYWORDS = ("return ", "case ", "default", "using ", "namespace ", "class ", "struct ", "for ", "while ", "switch ",
             "else", "if ", "static ", "constexpr ", "template ", "explicit ", "virtual ", "public", "private", "break",
             "do ",
             "catch ", "try ", "throw ", "auto ")


@dataclasses.dataclass
class Statement:
    """text[begin:end] with the expression text[expression_begin:expression_end] in it.

    Kinds: "return" (return E;), "value" (T name = E;), "effect" (an assignment or a call), "condition" (if (E)).
    """

    kind: str
    begin: int
    end: int
    expression_begin: int
    expression_end: int


def blank(text):
    """`text` with strings and comments replaced by blanks of the same length, newlines kept."""
    def cover(match):
        return "".join("\n" if character == "\n" else "_" for character in match.group())

    # Strings first, unless they stand in a comment: one pass over both.
    both = re.compile(f"{_COMMENT.pattern}|{_STRING.pattern}", re.DOTALL)
    return both.sub(lambda m: re.sub(r"[^\n]", " ", m.group()) if m.group().startswith("/") else cover(m), text)


def find_statements(text):
    """The Statements of a file, in order, none within another."""
    code = blank(text)
    found, end = [], 0
    for match in _START.finditer(code):
        begin = match.end()
        if begin < end or not _is_indented(code, begin):
            continue
        statement = _condition(code, begin) or _other(code, begin)
        if statement:
            found.append(statement)
            end = statement.end
    return found


def _is_indented(code, position):
    line = code.rfind("\n", 0, position) + 1
    return code[line:line + 2] == "  "


def _closing(code, position, stop):
    """The position of the first of `stop` outside of parentheses, from `position` on; None at an unmatched end."""
    depth = 0
    for i in range(position, len(code)):
        if depth == 0 and code[i] in stop:
            return i
        if code[i] in "([{":
            depth += 1
        elif code[i] in ")]}":
            depth -= 1
            if depth < 0:
                return None
    return None


def _condition(code, begin):
    if not code.startswith("if (", begin):
        return None
    inner = begin + len("if (")
    close = _closing(code, inner, ")")
    if close is None or ";" in code[inner:close]:
        return None  # if (init; condition)
    return Statement("condition", begin, close + 1, inner, close)


def _other(code, begin):
    end = _closing(code, begin, ";")
    if end is None:
        return None
    text = code[begin:end]
    if text.startswith("return "):
        if "[" in text and "{" in text and "](" in text:
            return None  # a lambda: its own statements are found inside
        return Statement("return", begin, end + 1, begin + len("return "), end)
    if text.startswith(_KEYWORDS) or "](" in text:
        return None
    declaration = _DECLARATION.match(text)
    if declaration:
        if text[declaration.end():].startswith("{"):
            return None
        return Statement("value", begin, end + 1, begin + declaration.end(), end)
    if _ASSIGNMENT.match(text) or re.match(r"[\w.>()*:\[\]-]+\(", text):
        return Statement("effect", begin, end + 1, begin, end)
    return None
