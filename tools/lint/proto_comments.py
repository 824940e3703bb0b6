#!/usr/bin/env python3
"""Checks that every message, field, enum, service and method of .proto files carries a comment.

  proto_comments.py PROTO_ROOT    prints one line per missing comment; exit status 1 if there are any
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2

# Field numbers of descriptor.proto: where a SourceCodeInfo path leads to.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD, _NESTED_MESSAGE, _NESTED_ENUM = 2, 3, 4
_METHOD = 2


def load_files(proto_root):
    """FileDescriptorProtos, with comments, of all .proto files below `proto_root`."""
    protos = sorted(path.relative_to(proto_root).as_posix() for path in proto_root.rglob("*.proto"))
    with tempfile.NamedTemporaryFile() as output:
        command = ["protoc", f"-I{proto_root}", "--include_source_info", f"--descriptor_set_out={output.name}", *protos]
        subprocess.run(command, check=True)
        return descriptor_pb2.FileDescriptorSet.FromString(output.read()).file


def _message_items(message, path, prefix):
    name = f"{prefix}{message.name}"
    yield name, path
    for i, field in enumerate(message.field):
        yield f"{name}.{field.name}", (*path, _FIELD, i)
    for i, enum in enumerate(message.enum_type):
        yield f"{name}.{enum.name}", (*path, _NESTED_ENUM, i)
    for i, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from _message_items(nested, (*path, _NESTED_MESSAGE, i), f"{name}.")


def items(file):
    """(name, path) of all that has to carry a comment."""
    for i, message in enumerate(file.message_type):
        yield from _message_items(message, (_MESSAGE, i), "")
    for i, enum in enumerate(file.enum_type):
        yield enum.name, (_ENUM, i)
    for i, service in enumerate(file.service):
        yield service.name, (_SERVICE, i)
        for j, method in enumerate(service.method):
            yield f"{service.name}.{method.name}", (_SERVICE, i, _METHOD, j)


def missing_comments(file):
    """Messages for what has no comment."""
    locations = {tuple(location.path): location for location in file.source_code_info.location}
    for name, path in items(file):
        location = locations[path]
        if not location.leading_comments.strip() and not location.trailing_comments.strip():
            yield f"{file.name}:{location.span[0] + 1}: {name} has no comment"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proto_root", type=pathlib.Path)
    files = load_files(parser.parse_args().proto_root)
    messages = [message for file in files for message in missing_comments(file)]
    for message in messages:
        print(message)
    print(f"proto comments: {sum(len(list(items(file))) for file in files)} items, {len(messages)} without comment")
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
