"""The journal's records of jobs: provenance, settings keys and warnings."""

from __future__ import annotations

from stemsplit.core.outcome import TrackWarning, WarningKind
from stemsplit.core.settings import Settings
from stemsplit.journal.job_records import Provenance, decode_warnings, settings_key


def test_provenance_is_source_and_settings() -> None:
    """It differs if either differs."""
    provenance = Provenance(source_bytes=7, source_modified_ns=0, settings="a")
    assert provenance.equals(Provenance(source_bytes=7, source_modified_ns=10**9, settings="a"))
    assert not provenance.equals(Provenance(source_bytes=7, source_modified_ns=0, settings="b"))
    assert not provenance.equals(Provenance(source_bytes=6, source_modified_ns=0, settings="a"))
    assert not provenance.equals(None)


def test_the_settings_key_contains_only_settings_that_change_stems() -> None:
    """The number of threads does not, nor does accepting damage in an intact file."""
    assert settings_key(Settings(threads=1)) == settings_key(Settings(threads=2))
    assert settings_key(Settings(accept_damaged=True)) == settings_key(Settings())
    for other in (
        Settings(model="4stems"),
        Settings(format="flac"),
        Settings(bit_depth="16"),
        Settings(tags=False),
        Settings(sample_rate="source"),
        Settings(stems=("vocals",)),
        Settings(residual=True),
        Settings(high_band="average"),
        Settings(mwf=True),
        Settings(start_seconds=1.0),
        Settings(duration_seconds=1.0),
        Settings(bit_rate=128_000),
        Settings(clip="rescale"),
        Settings(what="conversion"),
    ):
        assert settings_key(other) != settings_key(Settings())


def test_new_settings_do_not_change_the_default_key() -> None:
    """Otherwise every track would be separated again after an update."""
    assert settings_key(Settings()) == (
        '{"bit_depth":"24","engine":"stemsplit.child.engines.tensorflow:load","format":"wav",'
        '"model":"2stems","tags":true}'
    )


def test_warnings_of_older_journals_are_decoded() -> None:
    """They are strings without a kind."""
    assert decode_warnings('["It clips."]') == (
        TrackWarning(kind=WarningKind.NOTE, text="It clips."),
    )
    assert decode_warnings('[{"kind":"damaged","text":"It is truncated."}]') == (
        TrackWarning(kind=WarningKind.DAMAGED, text="It is truncated."),
    )
    assert decode_warnings("[]") == ()
