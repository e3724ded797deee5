"""Run pip-audit on this environment, and write the date and the result into docs/security.md. Arguments go to
pip-audit, such as `--vulnerability-service osv`.

Ends with 0 where nothing was found, 1 where something was, 2 where the database could not be asked: then nothing
is written.
"""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "security.md"
PLACE = re.compile(r"(?<=<!-- audit -->\n).*(?=<!-- /audit -->)", re.DOTALL)
HEAD = "| date | packages | not found there | vulnerabilities |\n|---|---|---|---|\n"


def table(packages: list[dict[str, Any]], date: str) -> str:
    """packages: as pip-audit lists them. Raises ValueError where most could not be looked up."""
    missed = [package["name"] for package in packages if "skip_reason" in package]
    if 2 * len(missed) >= len(packages):
        raise ValueError(f"{len(missed)} of {len(packages)} packages could not be looked up")
    found = [
        f"{package['name']} {package['version']}: {', '.join(each['id'] for each in package['vulns'])}"
        for package in packages
        if package.get("vulns")
    ]
    cells = (date, str(len(packages) - len(missed)), ", ".join(missed) or "none", "; ".join(found) or "none")
    return f"{HEAD}| {' | '.join(cells)} |\n"


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--format=json", *sys.argv[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        text = table(json.loads(done.stdout)["dependencies"], datetime.now(UTC).date().isoformat())
    except ValueError as error:
        print(f"scripts/audit: nothing was written: {error}\n{done.stderr[-500:]}", file=sys.stderr)
        return 2
    PAGE.write_text(PLACE.sub(lambda _: text, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(text)
    return 0 if text.endswith("| none |\n") else 1


if __name__ == "__main__":
    sys.exit(main())
