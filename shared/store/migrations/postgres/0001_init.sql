-- Times are µs since the epoch. Times called "received" are ours, times called "event" are the clients'. Numbers are bigint throughout:
-- a narrower type saves nothing beside 8-byte neighbours, and one type reads back as one type. Text is COLLATE "C": the order of merges
-- must not depend on the server's locale.

-- Which chunks were ever stored. Written first in every commit: only ids that are new here go on, which is what makes a chunk count
-- once however often it comes. Outlives the chunks: `day` (of insertion, days since the epoch) is only for pruning after the dedupe
-- horizon. Not partitioned: an id must be unique over all days.
CREATE TABLE seen (
    chunk_id uuid PRIMARY KEY,
    day bigint NOT NULL
);
-- Rows come in the order of days: a block range index finds the old ones at next to no cost.
CREATE INDEX seen_by_day ON seen USING brin (day);

-- Ids that compaction moved out of `seen`: many small chunks of one trace would otherwise leave a row each behind. By trace, because
-- a chunk that comes again names its trace; not by traces.seq, because the summary may be gone before the horizon is. `ids` is
-- sorted, at most 4,096 a row; `first_id` is its first.
CREATE TABLE seen_packed (
    trace_id uuid NOT NULL,
    first_id uuid NOT NULL,
    day bigint NOT NULL,
    ids bytea NOT NULL,
    PRIMARY KEY (trace_id, first_id)
);
ALTER TABLE seen_packed ALTER COLUMN ids SET STORAGE EXTERNAL;

-- One summary a trace, merged by minima, maxima, sums and ors only, so that chunks may come in any order. The fill factor leaves room
-- for the new version of a row beside the old one, so that indexes on what does not change need no new entry.
CREATE TABLE traces (
    -- What other tables refer to: 8 bytes that grow, instead of 16 random ones.
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    trace_id uuid NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    -- The flow that came with the earliest start mark: the least (rank, id, name) wins; without a start mark the rank is 2^63-1.
    flow_rank bigint,
    flow_id text COLLATE "C",
    flow_name text COLLATE "C",
    -- The least one told; NULL when none was, then the trace id stands for it.
    execution_id uuid,
    -- 8 bytes of order-preserving rank, then protobuf (version) or JSON (metadata; bytes, because it may hold NUL): the least wins.
    version bytea,
    metadata bytea,
    first_event_us bigint,
    last_event_us bigint,
    first_received_us bigint NOT NULL,
    -- Received time of the last chunk with events or a start mark: a close mark alone is no activity.
    last_active_us bigint,
    event_count bigint NOT NULL,
    -- What retention left of `event_count`.
    stored_events bigint NOT NULL,
    -- Bit mask of event types.
    event_types bigint NOT NULL,
    failures bigint NOT NULL,
    -- Order-preserving time, then the message: the least wins.
    first_error bytea,
    -- Order-preserving time, one byte of status (0 completed, 1 cancelled, 2 failed), then the error: the greatest wins.
    ended bytea,
    closed_us bigint,
    -- 0 while some chunk of single v1 frames has not been looked through for events that were sent twice.
    exact smallint NOT NULL,
    -- Chunks that compaction has not been over.
    loose_chunks bigint NOT NULL,
    start_us bigint GENERATED ALWAYS AS (coalesce(first_event_us, first_received_us)) STORED,
    last_received_us bigint GENERATED ALWAYS AS (coalesce(last_active_us, first_received_us)) STORED,
    failed smallint GENERATED ALWAYS AS (CASE WHEN failures > 0 THEN 1 ELSE 0 END) STORED,
    -- What was told of the end: 0 nothing (running, or idle for too long), 1 completed, 2 failed, 3 cancelled.
    state smallint GENERATED ALWAYS AS (
        CASE
            WHEN ended IS NOT NULL THEN CASE get_byte(ended, 8) WHEN 1 THEN 3 WHEN 2 THEN 2 ELSE 1 END
            WHEN closed_us >= coalesce(last_active_us, first_received_us) THEN CASE WHEN failures > 0 THEN 2 ELSE 1 END
            ELSE 0
        END
    ) STORED,
    -- last_received_us in steps of five minutes: lets indexes answer "idle since" without changing with every chunk.
    active_step bigint GENERATED ALWAYS AS (coalesce(last_active_us, first_received_us) / 300000000) STORED,
    -- Whether compaction has something to do: chunks to merge, or events to compare.
    is_loose smallint GENERATED ALWAYS AS (
        CASE WHEN loose_chunks > 1 OR (loose_chunks > 0 AND exact = 0) THEN 1 ELSE 0 END
    ) STORED
) WITH (
    fillfactor = 80,
    -- Counts are read from indexes alone where vacuum has been: let it come at a twentieth of the table instead of a fifth.
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.05
);

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

-- The chunks. Insert-only; `day` and `hour` (of day) are of first insertion by our clock, because clients' clocks lie. A partition a
-- day, made ahead of time and on demand: retention detaches and drops it. No key: `seen` keeps ids apart.
CREATE TABLE chunks (
    day bigint NOT NULL,
    hour bigint NOT NULL,
    trace bigint NOT NULL,
    -- First event time; NULL in a chunk of lifecycle marks alone.
    first_us bigint,
    events bigint NOT NULL,
    -- Bytes of the payload when decompressed.
    raw_bytes bigint NOT NULL,
    chunk_id uuid NOT NULL,
    -- The header (protobuf) without the ids as sent.
    header bytea NOT NULL,
    -- The compressed events, as they came.
    payload bytea NOT NULL
) PARTITION BY RANGE (day);
-- Compressed already: PostgreSQL need not try again.
ALTER TABLE chunks ALTER COLUMN payload SET STORAGE EXTERNAL;

-- A trace's chunks in the order they are read.
CREATE INDEX chunks_by_trace ON chunks (trace, first_us, chunk_id);
-- What retention by size removes; rows come in the order of hours.
CREATE INDEX chunks_by_hour ON chunks USING brin (hour);

-- Chunks, events and payload bytes an hour of insertion: what retention by size goes by without reading chunks. A row a writer slot,
-- so that writers do not wait for each other.
CREATE TABLE chunk_hours (
    day bigint NOT NULL,
    hour bigint NOT NULL,
    slot bigint NOT NULL,
    chunks bigint NOT NULL,
    events bigint NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (day, hour, slot)
) WITH (fillfactor = 50);

-- By which actors a trace is found. `actor` is 8 bytes of a hash of tenant and actor id: names are up to 512 bytes, and are in the
-- headers anyway.
CREATE TABLE trace_actors (
    trace bigint NOT NULL,
    actor bigint NOT NULL,
    PRIMARY KEY (trace, actor)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE INDEX traces_by_actor ON trace_actors (actor, trace);

-- What each v2 client said of its stream: maxima of `recorded` and `dropped`, sums of `stored` and `rejected`.
CREATE TABLE trace_clients (
    trace bigint NOT NULL,
    recorded bigint NOT NULL,
    stored bigint NOT NULL,
    dropped bigint NOT NULL,
    rejected bigint NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (trace, client_id)
) WITH (fillfactor = 80);

-- Trace ids as v1 programs sent them, 16 bytes each, one row a chunk until compaction makes one of them. An index of single ids would be
-- a row an event; this is searched through, and only when an id is no trace's own.
CREATE TABLE trace_aliases (
    trace bigint NOT NULL,
    ids bytea NOT NULL
);
ALTER TABLE trace_aliases ALTER COLUMN ids SET STORAGE EXTERNAL;
CREATE INDEX aliases_by_trace ON trace_aliases (trace);

-- Versions under which a flow ran, a row a writer slot. `git_hash` is '' where none was told, because a key cannot hold NULL;
-- `told_hash` tells the two apart.
CREATE TABLE flow_versions (
    tenant text COLLATE "C" NOT NULL,
    flow_name text COLLATE "C" NOT NULL,
    major bigint NOT NULL,
    minor bigint NOT NULL,
    patch bigint NOT NULL,
    told_hash bigint NOT NULL,
    git_hash text COLLATE "C" NOT NULL,
    slot bigint NOT NULL,
    -- The least told: clients stamp each start with the time of day.
    timestamp_us bigint NOT NULL,
    first_us bigint NOT NULL,
    last_us bigint NOT NULL,
    PRIMARY KEY (tenant, flow_name, major, minor, patch, told_hash, git_hash, slot)
) WITH (fillfactor = 50);

-- One row a flow, minute of received time and writer slot; summed over slots when read, so that two writers never wait for each other on
-- a hot flow. Actors and edges lie in it as protobuf lists: as rows of their own they would be twenty times as many, read and written
-- by every commit. Half of a page stays free for the next version of its rows.
CREATE TABLE rollups (
    tenant text COLLATE "C" NOT NULL,
    minute bigint NOT NULL,
    flow_name text COLLATE "C" NOT NULL,
    slot bigint NOT NULL,
    events bigint NOT NULL,
    failures bigint NOT NULL,
    bytes bigint NOT NULL,
    actors bytea NOT NULL,
    edges bytea NOT NULL,
    PRIMARY KEY (tenant, minute, flow_name, slot)
) WITH (fillfactor = 50);
CREATE INDEX rollups_by_flow ON rollups (tenant, flow_name, minute);
