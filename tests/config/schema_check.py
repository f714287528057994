#!/usr/bin/env python3
"""The JSON Schema of the policy file, as `weir schema` prints it, held against the parser: schema_check.py WEIR

What the parser accepts the schema accepts: an editor never underlines a good file. What is not a key, or no value of its
kind, the schema refuses as the parser does.
"""

import copy
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema
import yaml

SOURCE = Path(__file__).resolve().parents[2]
# Of each kind of value something that is none.
WRONG = [{"no such key": 1}, ["no such value"], "no such value!", -7]


def policies():
    text = (SOURCE / "docs/CONFIGURATION.md").read_text()
    yield from (block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "wan:" in block)
    for file in [SOURCE / "config/weir.yaml", *sorted((SOURCE / "tests/fuzz/corpus/policy").glob("*.yaml"))]:
        yield file.read_text()


def accepts(weir, document):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(document, file)  # JSON is YAML
        file.flush()
        return subprocess.run([weir, "check", file.name], capture_output=True, check=False).returncode == 0


def places(document, path=()):
    """Where every mapping and value of a document stands."""
    yield path
    children = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in children:
        yield from places(value, (*path, key))


def spelled_otherwise(value):
    """Other spellings that mean the same to the parser."""
    if isinstance(value, bool):
        return []
    if isinstance(value, int):
        return [str(value)]
    if isinstance(value, str) and value != value.upper():
        return [value.upper()]
    return []


def value_at(document, path):
    for key in path:
        document = document[key]
    return document


def changed(document, path, value):
    other = copy.deepcopy(document)
    at = other
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return other


def main():
    weir = sys.argv[1]
    schema = json.loads(subprocess.run([weir, "schema"], capture_output=True, check=True).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = wrong = both = respelled = 0
    failures = []
    for text in policies():
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError:
            continue  # another reader of YAML, with bounds of its own
        if not accepts(weir, document):
            continue
        good += 1
        failures += [f"refused, but good: {error.json_path}: {error.message}" for error in validator.iter_errors(document)]
        for path in places(document):
            if not path:
                continue
            for value in spelled_otherwise(value_at(document, path)):
                other = changed(document, path, value)
                if accepts(weir, other):
                    respelled += 1
                    if not validator.is_valid(other):
                        failures.append(f"refused, but good: {'.'.join(map(str, path))}: {value}")
            for value in WRONG:
                other = changed(document, path, value)
                refused = not validator.is_valid(other)
                if refused and accepts(weir, other):
                    failures.append(f"refused, but good: {'.'.join(map(str, path))}: {value}")
                wrong += not accepts(weir, other)
                both += refused and not accepts(weir, other)
    print(f"{good} policies that both accept; of {wrong} spoilt ones the schema refuses {both}; "
          f"{respelled} other spellings that both accept")
    if good < 3 or respelled < 50:
        failures.append("too few policies to prove anything")
    if both < 0.7 * wrong:
        failures.append("the schema lets too much pass")
    for failure in failures[:20]:
        print(f"FAIL {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
