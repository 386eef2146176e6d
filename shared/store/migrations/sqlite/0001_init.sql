-- Times are µs since the epoch; ids are 16 bytes. Times called "received" are ours, times called "event" are the clients'.

-- Which chunks were ever stored. Written first in every commit: only ids that are new here go on, which is what makes a chunk count
-- once however often it comes. Outlives the chunks: `day` (of insertion, days since the epoch) is only for pruning after the dedupe
-- horizon. No rowid: the id is all there is.
CREATE TABLE seen (
    chunk_id BLOB PRIMARY KEY,
    day INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- Ids that compaction moved out of `seen`: many small chunks of one trace would otherwise leave a row each behind. By trace, because
-- a chunk that comes again names its trace; not by traces.seq, because the summary may be gone before the horizon is. `ids` is
-- sorted, at most 4,096 a row; `first_id` is its first.
CREATE TABLE seen_packed (
    trace_id BLOB NOT NULL,
    first_id BLOB NOT NULL,
    day INTEGER NOT NULL,
    ids BLOB NOT NULL,
    PRIMARY KEY (trace_id, first_id)
) WITHOUT ROWID, STRICT;

-- One summary a trace, merged by minima, maxima, sums and ors only, so that chunks may come in any order.
CREATE TABLE traces (
    -- What other tables refer to: 8 bytes that grow, instead of 16 random ones. Never used again (AUTOINCREMENT), so that nothing left
    -- behind can attach itself to another trace.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    trace_id BLOB NOT NULL,
    tenant TEXT NOT NULL,
    -- The flow that came with the earliest start mark: the least (rank, id, name) wins; without a start mark the rank is 2^63-1.
    flow_rank INTEGER,
    flow_id TEXT,
    flow_name TEXT,
    -- The least one told; NULL when none was, then the trace id stands for it.
    execution_id BLOB,
    -- 8 bytes of order-preserving rank, then protobuf (version) or JSON (metadata): the least wins.
    version BLOB,
    metadata BLOB,
    first_event_us INTEGER,
    last_event_us INTEGER,
    first_received_us INTEGER NOT NULL,
    -- Received time of the last chunk with events or a start mark: a close mark alone is no activity.
    last_active_us INTEGER,
    event_count INTEGER NOT NULL,
    -- What retention left of `event_count`.
    stored_events INTEGER NOT NULL,
    -- Bit mask of event types.
    event_types INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    -- Order-preserving time, then the message: the least wins.
    first_error BLOB,
    -- Order-preserving time, one byte of status (0 completed, 1 cancelled, 2 failed), then the error: the greatest wins.
    ended BLOB,
    closed_us INTEGER,
    -- 0 while some chunk of single v1 frames has not been looked through for events that were sent twice.
    exact INTEGER NOT NULL,
    -- Chunks that compaction has not been over.
    loose_chunks INTEGER NOT NULL,
    start_us INTEGER GENERATED ALWAYS AS (coalesce(first_event_us, first_received_us)) VIRTUAL,
    last_received_us INTEGER GENERATED ALWAYS AS (coalesce(last_active_us, first_received_us)) VIRTUAL,
    failed INTEGER GENERATED ALWAYS AS (failures > 0) VIRTUAL,
    -- What was told of the end: 0 nothing (running, or idle for too long), 1 completed, 2 failed, 3 cancelled.
    state INTEGER GENERATED ALWAYS AS (
        CASE
            WHEN ended IS NOT NULL THEN CASE substr(ended, 9, 1) WHEN x'01' THEN 3 WHEN x'02' THEN 2 ELSE 1 END
            WHEN closed_us >= coalesce(last_active_us, first_received_us) THEN CASE WHEN failures > 0 THEN 2 ELSE 1 END
            ELSE 0
        END
    ) VIRTUAL,
    -- last_received_us in steps of five minutes: lets indexes answer "idle since" without changing with every chunk.
    active_step INTEGER GENERATED ALWAYS AS (coalesce(last_active_us, first_received_us) / 300000000) VIRTUAL,
    -- Whether compaction has something to do: chunks to merge, or events to compare.
    is_loose INTEGER GENERATED ALWAYS AS (loose_chunks > 1 OR (loose_chunks > 0 AND exact = 0)) VIRTUAL
) STRICT;

CREATE UNIQUE INDEX traces_by_id ON traces (trace_id, tenant);
-- Newest first, and counts under any status, from the index alone.
CREATE INDEX traces_by_start ON traces (tenant, start_us, trace_id, state, failed, active_step);
CREATE INDEX traces_by_flow_name ON traces (tenant, flow_name, start_us, trace_id, state, failed, active_step);
-- Only where the id says more than the name: most flow ids carry no generated tail.
CREATE INDEX traces_by_flow_id ON traces (tenant, flow_id, start_us, trace_id) WHERE flow_id <> flow_name;
-- The traces whose status still depends on the time of day.
CREATE INDEX traces_open ON traces (tenant, active_step) WHERE state = 0;
CREATE INDEX traces_by_execution ON traces (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX traces_loose ON traces (seq) WHERE is_loose = 1;

-- The chunks. Insert-only; `day` and `hour` (of day) are of first insertion by our clock, because clients' clocks lie.
CREATE TABLE chunks (
    -- In order of insertion.
    id INTEGER PRIMARY KEY,
    trace INTEGER NOT NULL,
    chunk_id BLOB NOT NULL,
    day INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    -- First event time; NULL in a chunk of lifecycle marks alone.
    first_us INTEGER,
    events INTEGER NOT NULL,
    -- Bytes of the payload when decompressed.
    raw_bytes INTEGER NOT NULL,
    -- The header (protobuf) without the ids as sent.
    header BLOB NOT NULL,
    -- The compressed events, as they came. Last, so that the columns before it are read without it.
    payload BLOB NOT NULL
) STRICT;

-- A trace's chunks in the order they are read.
CREATE INDEX chunks_by_trace ON chunks (trace, first_us, chunk_id);
-- What retention removes.
CREATE INDEX chunks_by_hour ON chunks (day, hour);

-- Chunks, events and payload bytes an hour of insertion: what retention by size goes by without reading chunks.
CREATE TABLE chunk_hours (
    day INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (day, hour)
) WITHOUT ROWID, STRICT;

-- By which actors a trace is found. `actor` is 8 bytes of a hash of tenant and actor id: names are up to 512 bytes, and are in the
-- headers anyway.
CREATE TABLE trace_actors (
    trace INTEGER NOT NULL,
    actor INTEGER NOT NULL,
    PRIMARY KEY (trace, actor)
) WITHOUT ROWID, STRICT;

CREATE INDEX traces_by_actor ON trace_actors (actor, trace);

-- What each v2 client said of its stream: maxima of `recorded` and `dropped`, sums of `stored` and `rejected`.
CREATE TABLE trace_clients (
    trace INTEGER NOT NULL,
    client_id TEXT NOT NULL,
    recorded INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    PRIMARY KEY (trace, client_id)
) WITHOUT ROWID, STRICT;

-- Trace ids as v1 programs sent them, 16 bytes each, one row a chunk until compaction makes one of them. An index of single ids would be
-- a row an event; this is searched through, and only when an id is no trace's own.
CREATE TABLE trace_aliases (
    id INTEGER PRIMARY KEY,
    trace INTEGER NOT NULL,
    ids BLOB NOT NULL
) STRICT;

CREATE INDEX aliases_by_trace ON trace_aliases (trace);

-- Versions under which a flow ran. `git_hash` is '' where none was told, because a key cannot hold NULL; `told_hash` tells the two apart.
CREATE TABLE flow_versions (
    tenant TEXT NOT NULL,
    flow_name TEXT NOT NULL,
    major INTEGER NOT NULL,
    minor INTEGER NOT NULL,
    patch INTEGER NOT NULL,
    told_hash INTEGER NOT NULL,
    git_hash TEXT NOT NULL,
    -- The least told: clients stamp each start with the time of day.
    timestamp_us INTEGER NOT NULL,
    first_us INTEGER NOT NULL,
    last_us INTEGER NOT NULL,
    PRIMARY KEY (tenant, flow_name, major, minor, patch, told_hash, git_hash)
) WITHOUT ROWID, STRICT;

-- One row a flow and minute of received time. Actors and edges lie in it as protobuf lists: as rows of their own they would be twenty
-- times as many, read and written by every commit.
CREATE TABLE rollups (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    minute INTEGER NOT NULL,
    flow_name TEXT NOT NULL,
    events INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    actors BLOB NOT NULL,
    edges BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX rollups_by_minute ON rollups (tenant, minute, flow_name);
CREATE INDEX rollups_by_flow ON rollups (tenant, flow_name, minute);
