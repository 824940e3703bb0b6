"""The examples of README.md, so that they can be built and run.

  readme.py README LANGUAGE    prints all blocks of that language, with the server's address taken from DENSITYD_SERVER
"""

import pathlib
import re
import sys

_ADDRESS = '"127.0.0.1:50051"'
_FROM_ENVIRONMENT = {"cpp": 'std::getenv("DENSITYD_SERVER")', "python": 'os.environ["DENSITYD_SERVER"]', "sh": _ADDRESS}
_PREFIX = {"cpp": "#include <cstdlib>\n", "python": "import os\n", "sh": "set -eu\n"}


def blocks(readme, language):
    """The text of the fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


def program(readme, language):
    """All blocks of one language as one program. Raises ValueError where the README has none."""
    found = blocks(readme, language)
    if not found:
        raise ValueError(f"README has no block of {language}")
    return _PREFIX[language] + "".join(found).replace(_ADDRESS, _FROM_ENVIRONMENT[language])


if __name__ == "__main__":
    print(program(pathlib.Path(sys.argv[1]).read_text(), sys.argv[2]))
