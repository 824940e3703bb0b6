#!/usr/bin/env python3
"""Shows what the tests of server/flow notice: changes the code a little, one place at a time, and runs them.

  mutate.py [--sample N] [--seed S] [--files GLOB...] [--only NUMBER...] [--list] [--ninja COMMAND]

Each mutant swaps a direction, flips a sign or a comparison, drops a log-det term, moves a constant by one, drops a
statement, and the like. Mutants of a file are compiled together, each behind a switch that an environment variable
sets, so that a mutant costs no build of its own. One run of all tests, with no mutant switched on, notes which test
reaches which; then each mutant costs a run of the tests that reach it, the quick ones first, up to the first that fails.
The copy of the tree that they are compiled in lies in the user's cache folder and is kept. Survivors are printed with
file and line; exit status 1 where fewer than 90 % are killed.

What survives is either not tested or equivalent to the original. Without --sample, all are run.
"""

import argparse
import collections
import dataclasses
import pathlib
import random
import re
import sys

from mutators import mutations
from statements import blank, find_statements
from tree import SWITCH, Tree

ROOT = pathlib.Path(__file__).resolve().parents[2]
WANTED = 0.9


@dataclasses.dataclass
class Mutant:
    """Replaces text[begin:end] of the statement's expression, or drops the statement."""

    number: int
    file: str
    line: int
    statement: object
    edit: tuple  # (begin, end, replacement) within the expression; None: the statement is dropped
    what: str


def mutants_of(file, text, first_number):
    found = []
    code = blank(text)
    for statement in find_statements(text):
        line = text.count("\n", 0, statement.begin) + 1
        expression = code[statement.expression_begin:statement.expression_end]
        # What is assigned to is left alone: a changed one would be no place to assign to.
        assigned = re.match(r"[\w.\[\]>()*-]+ [-+*]?= ", expression) if statement.kind == "effect" else None
        first = assigned.end() if assigned else 0
        edits = [(edit, what) for edit, what in mutations(expression) if edit[0] >= first]
        if statement.kind == "condition":
            edits.append(((0, len(expression), None), "condition negated"))
        if statement.kind == "effect":
            edits.append((None, "statement dropped"))
        for edit, what in edits:
            offset = 0 if edit is None else edit[0]
            at = line if edit is None else text.count("\n", 0, statement.expression_begin + offset) + 1
            found.append(Mutant(first_number + len(found), file, at, statement, edit, what))
    return found


def with_switches(text, mutants):
    """The file with all `mutants` in it, each behind its switch; on as many lines as before, but for the first ones."""
    by_statement = collections.defaultdict(list)
    for mutant in mutants:
        by_statement[mutant.statement.begin].append(mutant)
    for begin in sorted(by_statement, reverse=True):
        statement = by_statement[begin][0].statement
        text = text[:begin] + _switched(text, statement, by_statement[begin]) + text[statement.end:]
    return SWITCH + '#line 1\n' + text


def _switched(text, statement, mutants):
    head = text[statement.begin:statement.expression_begin]
    expression = text[statement.expression_begin:statement.expression_end]
    # One line, so that compiler messages keep their line numbers.
    flat = " ".join(line.split("//")[0].strip() for line in expression.split("\n"))
    flat_of = {}
    for mutant in mutants:
        if mutant.edit is None:
            continue
        begin, end, replacement = mutant.edit
        changed = f"!({expression})" if replacement is None else expression[:begin] + replacement + expression[end:]
        flat_of[mutant.number] = " ".join(line.split("//")[0].strip() for line in changed.split("\n"))
    newlines = "\n" * expression.count("\n")
    if statement.kind in ("value", "condition"):
        chain = "".join(f"Mutant({number}) ? ({changed}) : " for number, changed in flat_of.items())
        tail = ";" if statement.kind == "value" else ")"
        return f"{head}{chain}({flat}){newlines}{tail}"
    if statement.kind == "return":
        chain = "".join(f"if (Mutant({number})) return {changed}; " for number, changed in flat_of.items())
        return f"{{ {chain}return {flat};{newlines} }}"
    chain = "".join(f"if (Mutant({number})) {{ {changed}; }} else " for number, changed in flat_of.items())
    dropped = "".join(f"if (!Mutant({mutant.number})) " for mutant in mutants if mutant.edit is None)
    return f"{{ {chain}{dropped}{{ {flat}; }}{newlines} }}"


def compile_mutants(tree, texts, mutants):
    """Compiles all mutants that can be; returns them."""
    left = list(mutants)
    while True:
        by_file = collections.defaultdict(list)
        for mutant in left:
            by_file[mutant.file].append(mutant)
        for file, text in texts.items():
            target = tree.source / file
            content = with_switches(text, by_file[file]) if by_file[file] else text
            if target.read_text(encoding="utf-8") != content:
                target.write_text(content, encoding="utf-8")
        output = tree.compile()
        if not output:
            return left
        errors = r"^(?:\.\./)*(?:\S*/)?(server/flow/\w+\.cc):(\d+):\d+: (?:fatal )?error"
        wrong = set(re.findall(errors, output, re.MULTILINE))
        rest = [m for m in left if not any(m.file == file and _spans(texts[file], m.statement, int(line))
                                           for file, line in wrong)]
        if len(rest) == len(left):
            sys.exit(f"error: the mutants do not compile\n{output[-4000:]}")
        print(f"{len(left) - len(rest)} mutants do not compile and are left out", flush=True)
        left = rest


def _spans(text, statement, line):
    first = text.count("\n", 0, statement.begin) + 1
    return first <= line <= first + text.count("\n", statement.begin, statement.end)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0, help="run that many, drawn at random; 0 (default): all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--files", nargs="+", default=["server/flow/*.cc"], help="globs below the project")
    parser.add_argument("--only", type=int, nargs="+", metavar="NUMBER", help="run these, by their numbers in --list")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--ninja", default="ninja", help="the command that builds, such as 'nice ninja -j 1'")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    texts, mutants = {}, []
    for file in sorted({path for pattern in arguments.files for path in ROOT.glob(pattern)}):
        name = str(file.relative_to(ROOT))
        texts[name] = file.read_text(encoding="utf-8")
        mutants += mutants_of(name, texts[name], len(mutants) + 1)
    if arguments.sample:
        chosen = random.Random(arguments.seed).sample(mutants, min(arguments.sample, len(mutants)))
        mutants = sorted(chosen, key=lambda mutant: mutant.number)
    if arguments.only:
        mutants = [mutant for mutant in mutants if mutant.number in arguments.only]
    if arguments.list:
        for mutant in mutants:
            print(f"{mutant.number}: {mutant.file}:{mutant.line}: {mutant.what}")
        return 0
    tree = Tree(ROOT, arguments.ninja.split())
    tree.update()
    mutants = compile_mutants(tree, texts, mutants)
    reached = tree.reached()
    survivors = []
    for i, mutant in enumerate(mutants):
        tests = reached.get(mutant.number, [])
        killer = tree.failing_test(mutant.number, tests)
        if killer is None:
            survivors.append(mutant)
        place = f"[{i + 1}/{len(mutants)}] {mutant.file}:{mutant.line}"
        print(f"{place}: {mutant.what}: {killer or f'SURVIVES {len(tests)} tests'}", flush=True)
    killed = len(mutants) - len(survivors)
    share = killed / max(len(mutants), 1)
    print(f"{killed} of {len(mutants)} mutants killed ({100 * share:.1f} %)")
    for mutant in survivors:
        print(f"  survives: {mutant.file}:{mutant.line}: {mutant.what}")
    return 0 if share >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
