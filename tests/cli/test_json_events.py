"""The output of `--json` conforms to its published schema."""

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
    """A validator of the published schema that also rejects fields that are not in it."""
    schema = json.loads(SCHEMA.read_text())
    for definition in schema["$defs"].values():
        if definition.get("type") == "object":
            definition["additionalProperties"] = False
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_every_event_of_real_batches_conforms_to_the_schema(
    song_file: Path,
    tmp_path: Path,
    stemsplit: Callable[..., Any],
    validator: jsonschema.Draft202012Validator,
) -> None:
    """The runs are a dry run, a batch with failures, a timeout, a repetition and a conversion."""
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    files = (song_file, "broken.wav", "missing.wav")
    plan = stemsplit("separate", *files, "-o", "out", "--json", "--dry-run")
    batch = stemsplit("separate", *files, "-o", "out", "--json", "--timeout", "60s")
    limits = ("--timeout", "0.01s", "--retries", "1")
    timed_out = stemsplit("separate", song_file, "-o", "late", "--json", *limits)
    repeated = stemsplit("separate", *files, "-o", "out", "--json")
    conversion = stemsplit("convert", song_file, "-o", "converted", "--json")
    runs = [result.out.splitlines() for result in (plan, batch, timed_out, repeated, conversion)]
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
        track
        for event in events
        if event["type"] == "batch_progress"
        for track in event["status"]["running"]
    ]
    assert running
    assert all(track["ram_cap_bytes"] > 0 for track in running)
