"""Small changes to an expression that a test should notice."""

import re

# Binary operators stand between blanks or at the end of a line.
_OPERATORS = [("+", "-"), ("*", "/"), ("<=", "<"), (">=", ">"), ("==", "!="), ("&&", "||")]
_SWAPS = [(rf"(?<=[ \n]){re.escape(a)}(?=[ \n])", b) for pair in _OPERATORS for a, b in (pair, pair[::-1])] + [
    (r"\btrue\b", "false"), (r"\bfalse\b", "true"),
    (r"(?<=::|->)Forward\b|(?<=\.)Forward\b", "Inverse"), (r"(?<=::|->)Inverse\b|(?<=\.)Inverse\b", "Forward"),
    (r"\bApply\(", "Undo("), (r"\bUndo\(", "Apply("),
    (r"\bParallel\(", "Sequential("), (r"\bSequential\(", "Parallel("),
    (r"\.tril\(", ".triu("), (r"\.triu\(", ".tril("), (r"std::max\b", "std::min"), (r"std::min\b", "std::max"),
    (r"\.exp\(\)", ""), (r"\.log\(\)", ""), (r"\.t\(\)", ""), (r"\.abs\(\)", ""), (r"\.flip\(-1\)", ""),
    (r"\.square\(\)", ""), (r"\bends?\b(?=[,}])", "-end"),
]
_UNARY_MINUS = re.compile(r"(?:(?<=[({,=?:] )|(?<=[({!])|(?<=^))-(?=[A-Za-z(])")
_LOG = re.compile(r"\b(?:[\w]+(?:\.|->))*log_(?:slope|abs_det|scale)_?\b(?![(\w])")
_FLOAT = re.compile(r"(?<![\w.])\d+(?:\.\d+)?e-?\d+|(?<![\w.])\d+\.\d+")
_INTEGER = re.compile(r"(?<![\w.\"])\d+(?![\w.])")


def mutations(code):
    """(new expression, what was done) for an expression without strings and comments; none twice."""
    seen, found = {code}, []

    def add(begin, end, replacement):
        mutated = code[:begin] + replacement + code[end:]
        if mutated not in seen:
            seen.add(mutated)
            found.append(((begin, end, replacement), f"{code[begin:end].strip()!r} -> {replacement.strip()!r}"))

    for pattern, replacement in _SWAPS:
        for match in re.finditer(pattern, code):
            add(match.start(), match.end(), replacement)
    for match in _UNARY_MINUS.finditer(code):
        add(match.start(), match.end(), "")
    for match in _LOG.finditer(code):
        add(match.start(), match.end(), f"(0 * {match.group()})")
    for match in _FLOAT.finditer(code):
        add(match.start(), match.end(), repr(2 * float(match.group())))
    for match in _INTEGER.finditer(code):
        if not any(m.start() <= match.start() < m.end() for m in _FLOAT.finditer(code)):
            add(match.start(), match.end(), str(int(match.group()) + 1))
    return found
