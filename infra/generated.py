"""Generated parts of hand-written pages: the lines between <!-- NAME --> and <!-- /NAME -->."""
import re
import sys


def put(path, name, text, check):
    """Writes the part, or with `check` says whether it is fresh. Returns the exit code."""
    with open(path, encoding="utf-8") as file:
        page = file.read()
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
    if not pattern.search(page):
        print(f"{path}: no place for {name}", file=sys.stderr)
        return 1
    fresh = pattern.sub(lambda match: match.group(1) + text + match.group(2), page)
    if check and fresh != page:
        print(f"{path}: the part {name} is stale; it would be:\n{text}", file=sys.stderr)
        return 1
    if not check:
        with open(path, "w", encoding="utf-8") as file:
            file.write(fresh)
    return 0
