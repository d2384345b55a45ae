"""The workflow that other projects call: its inputs are those that docs/ci.md names."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORKFLOW = (ROOT / ".github" / "workflows" / "conformance.yml").read_text(encoding="utf-8")


def test_inputs_are_in_the_table_and_are_used():
    inputs = WORKFLOW.split("    inputs:\n")[1].split("\npermissions:")[0]
    names = re.findall(r"^ {6}(\w+):$", inputs, re.MULTILINE)
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == names
    assert all(f"${{{{ inputs.{name} }}}}" in WORKFLOW for name in names)


def test_two_calls_in_one_run_can_keep_their_reports():
    upload = WORKFLOW.split("uses: actions/upload-artifact@")[1]
    assert re.search(r"^ +name: \$\{\{ inputs\.artifact \}\}$", upload, re.MULTILINE)
