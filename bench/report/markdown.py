"""Numbers and tables as Markdown has them."""


def number(value):
    """Three significant digits, without exponent."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    if abs(value) < 0.1:
        return f"{value:.3f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head, rows, words=1):
    """A Markdown table; all columns but the first `words` are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * words + "---:|" * (len(head) - words)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
