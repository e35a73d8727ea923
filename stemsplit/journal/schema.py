"""Runs in the supervisor. The tables of the journal, and how an older one becomes today's.

Each script leads from one version to the next. Once released, a script is never changed.
"""

from __future__ import annotations

SCHEMA_VERSION = 4

APPLICATION_ID = 0x73_74_65_6D  # b"stem"
"""Marks the file as ours (SQLite's `application_id`)."""

MIGRATIONS = (
    # 0 -> 1
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        began REAL NOT NULL,            -- seconds since 1970
        ended REAL,                     -- null while it runs, and if it was killed
        version TEXT NOT NULL,          -- of stemsplit
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        settings TEXT NOT NULL,         -- JSON
        unrecorded INTEGER NOT NULL,    -- tracks that were left, their stems being in no journal
        refused TEXT NOT NULL,          -- JSON: source, reason, message of what is no job
        overwrite INTEGER NOT NULL,     -- whether everything was to be done again
        exit_code INTEGER,
        seconds REAL,
        audio_seconds REAL,
        peak_memory_bytes INTEGER
    );
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY,
        place BLOB NOT NULL UNIQUE,     -- the first stem's path below the output folder
        run INTEGER NOT NULL REFERENCES runs,
        source BLOB NOT NULL,
        source_bytes INTEGER NOT NULL,
        source_modified_ns INTEGER NOT NULL,
        settings TEXT NOT NULL,         -- JSON
        version TEXT NOT NULL,
        published_settings TEXT,        -- of the stems that are there; null if there are none
        published_bytes INTEGER,        -- of their source
        published_modified_ns INTEGER,  -- likewise
        state TEXT NOT NULL,
        reason TEXT,                    -- of the last attempt, as in docs/errors.md
        message TEXT NOT NULL DEFAULT '',
        remedy TEXT NOT NULL DEFAULT '',
        predicted_seconds REAL,         -- of audio
        audio_seconds REAL,             -- as separated
        coming BLOB                     -- stems being published: MessagePack of tuple[Stem, ...]
    );
    CREATE TABLE stems (
        path BLOB PRIMARY KEY,          -- below the output folder
        job INTEGER NOT NULL REFERENCES jobs,
        size_bytes INTEGER NOT NULL,    -- as published, or as somebody agreed to its being replaced
        modified_ns INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX jobs_of_run ON jobs (run, state);
    CREATE TABLE attempts (
        id INTEGER PRIMARY KEY,
        job INTEGER NOT NULL REFERENCES jobs,
        run INTEGER NOT NULL REFERENCES runs,
        number INTEGER NOT NULL,
        began REAL NOT NULL,
        work_folder BLOB NOT NULL,      -- below the output folder
        model TEXT NOT NULL,
        engine TEXT NOT NULL,
        threads INTEGER NOT NULL,
        lean INTEGER NOT NULL,
        alone INTEGER NOT NULL,
        preloaded INTEGER NOT NULL,
        reason TEXT,                    -- null while it runs
        message TEXT NOT NULL DEFAULT '',
        exit_code INTEGER,
        seconds REAL,
        audio_seconds REAL,
        peak_pss_bytes INTEGER,
        private_bytes INTEGER,
        peak_rss_bytes INTEGER,
        log_file TEXT
    );
    CREATE INDEX unfinished_attempts ON attempts (reason) WHERE reason IS NULL;
    CREATE TABLE probes (
        source BLOB PRIMARY KEY,
        look BLOB NOT NULL              -- MessagePack of a Probe
    ) WITHOUT ROWID;
    """,
    # 1 -> 2: what `stemsplit report` shows
    """
    ALTER TABLE runs ADD COLUMN max_ram_bytes INTEGER;  -- the budget; null if no child was started
    ALTER TABLE runs ADD COLUMN memory TEXT;            -- of all processes: JSON of a Curve
    ALTER TABLE jobs ADD COLUMN warnings TEXT NOT NULL DEFAULT '[]';    -- JSON: sentences
    ALTER TABLE stems ADD COLUMN stem TEXT;             -- its name; null if version 1 has made it
    ALTER TABLE stems ADD COLUMN number INTEGER;        -- among those last published, else null
    CREATE TABLE outlines (
        path BLOB PRIMARY KEY,                          -- of the stem, below the output folder
        outline BLOB NOT NULL                           -- its levels, as `StemFile.outline`
    );
    ALTER TABLE attempts ADD COLUMN ram_cap_bytes INTEGER;
    ALTER TABLE attempts ADD COLUMN memory TEXT;        -- of its processes: JSON of a Curve
    """,
    # 2 -> 3: on which node of a cluster
    """
    ALTER TABLE attempts ADD COLUMN node TEXT NOT NULL DEFAULT '';      -- empty: the run's host
    CREATE INDEX unfinished_attempts_of_job ON attempts (job) WHERE reason IS NULL;
    """,
    # 3 -> 4: a sample of the content, which tells a file whose time has shifted from a changed one
    """
    ALTER TABLE jobs ADD COLUMN source_sample BLOB;     -- null if an earlier version has noted it
    ALTER TABLE jobs ADD COLUMN published_sample BLOB;  -- of the source of the stems; likewise
    """,
)
