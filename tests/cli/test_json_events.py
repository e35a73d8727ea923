"""What `--json` prints, held against its published schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]

SCHEMA = Path(__file__).parents[2] / "docs" / "events.schema.json"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    """The schema, made stricter than it is published: no field may be there that is not in it."""
    schema = json.loads(SCHEMA.read_text())
    for definition in schema["$defs"].values():
        if definition.get("type") == "object":
            definition["additionalProperties"] = False
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_every_event_of_real_batches_is_as_the_schema_says(
    song_file: Path,
    tmp_path: Path,
    stemsplit: Callable[..., Any],
    validator: jsonschema.Draft202012Validator,
) -> None:
    """Of a plan, a batch with failures, the same again, and a conversion."""
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    files = (song_file, "broken.wav", "missing.wav")
    plan = stemsplit("separate", *files, "-o", "out", "--json", "--dry-run")
    batch = stemsplit("separate", *files, "-o", "out", "--json", "--timeout", "60s")
    too_short = ("--timeout", "0.01s", "--retries", "1")
    late = stemsplit("separate", song_file, "-o", "late", "--json", *too_short)
    again = stemsplit("separate", *files, "-o", "out", "--json")
    conversion = stemsplit("convert", song_file, "-o", "converted", "--json")
    runs = [ran.out.splitlines() for ran in (plan, batch, late, again, conversion)]
    events = [json.loads(line) for lines in runs for line in lines]
    for event in events:
        validator.validate(event)
    assert {event["type"] for event in events} - {"note"} == {
        "batch_started",
        "track_planned",
        "plan_made",
        "pool_started",
        "batch_progress",
        "track_started",
        "track_progress",
        "track_retried",
        "track_done",
        "track_skipped",
        "track_failed",
        "batch_done",
    }
    for lines in runs:
        assert json.loads(lines[0])["schema"] == 1
    running = [
        one
        for event in events
        if event["type"] == "batch_progress"
        for one in event["status"]["running"]
    ]
    assert running
    assert all(one["ram_cap_bytes"] > 0 for one in running)
