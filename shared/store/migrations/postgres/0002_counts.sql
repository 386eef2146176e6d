-- What lists of traces need to stay quick when there are a hundred thousand: totals without counting, statuses and errors by index.

-- Traces by flow and by what was told of their end, kept by triggers in the transaction that changes a trace, so that no way of changing
-- one can forget it: the total of a list is exact and must not cost a walk over all that match. Open traces (state 0) are in it as
-- one number; which of them have been idle for too long depends on the time of day and is counted by index. A row a writer slot, so
-- that writers do not wait for each other; a single row may be negative, sums are not. Half of a page stays free for the next version
-- of its rows.
CREATE TABLE trace_counts (
    tenant text COLLATE "C" NOT NULL,
    -- '' while no flow was told.
    flow_name text COLLATE "C" NOT NULL,
    state smallint NOT NULL,
    slot integer NOT NULL,
    traces bigint NOT NULL,
    PRIMARY KEY (tenant, flow_name, state, slot)
) WITH (fillfactor = 50);

-- Writers of the build before go on while this runs: nobody may change a trace between the count and the triggers.
LOCK TABLE traces IN SHARE ROW EXCLUSIVE MODE;

INSERT INTO trace_counts (tenant, flow_name, state, slot, traces)
SELECT tenant, coalesce(flow_name, ''), state, 0, count(*) FROM traces GROUP BY 1, 2, 3;

-- Once a statement, over all its rows, in key order. Half of the slots are for new traces and half for changes: a commit does the one
-- and then the other, so that transactions that meet (with compaction or retention of the same writer) meet in one order. The slot is
-- the writer's, from a setting of its connections; who has none (a person with psql) shares the first.
CREATE FUNCTION traces_counted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    own integer := 2 * coalesce(nullif(current_setting('reflow.slot', true), ''), '0')::integer
        + CASE TG_OP WHEN 'INSERT' THEN 0 ELSE 1 END;
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO trace_counts AS c (tenant, flow_name, state, slot, traces)
        SELECT tenant, coalesce(flow_name, ''), state, own, count(*) FROM come GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (tenant, flow_name, state, slot) DO UPDATE SET traces = c.traces + EXCLUDED.traces;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO trace_counts AS c (tenant, flow_name, state, slot, traces)
        SELECT tenant, coalesce(flow_name, ''), state, own, -count(*) FROM gone GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (tenant, flow_name, state, slot) DO UPDATE SET traces = c.traces + EXCLUDED.traces;
    ELSE
        INSERT INTO trace_counts AS c (tenant, flow_name, state, slot, traces)
        SELECT tenant, coalesce(flow_name, ''), state, own, sum(n) FROM (
            SELECT tenant, flow_name, state, 1 AS n FROM come UNION ALL SELECT tenant, flow_name, state, -1 FROM gone
        ) AS changed GROUP BY 1, 2, 3 HAVING sum(n) <> 0 ORDER BY 1, 2, 3
        ON CONFLICT (tenant, flow_name, state, slot) DO UPDATE SET traces = c.traces + EXCLUDED.traces;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER traces_counted_in AFTER INSERT ON traces REFERENCING NEW TABLE AS come
FOR EACH STATEMENT EXECUTE FUNCTION traces_counted();
CREATE TRIGGER traces_counted_out AFTER DELETE ON traces REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION traces_counted();
CREATE TRIGGER traces_counted_over AFTER UPDATE ON traces REFERENCING OLD TABLE AS gone NEW TABLE AS come
FOR EACH STATEMENT EXECUTE FUNCTION traces_counted();

-- Newest first under a status, without passing over those of other statuses.
CREATE INDEX traces_by_state ON traces (tenant, state, start_us, trace_id, failed, active_step);
-- Newest first under no status. `state` and what follows it are in the index above, and would only change this one, too.
DROP INDEX traces_by_start;
CREATE INDEX traces_by_start ON traces (tenant, start_us, trace_id);

-- Newest first under one error. An error may be longer than an index likes: its first 64 bytes find it, the row decides. The error is that
-- of the end that was told, else the first failure's.
CREATE INDEX traces_by_error ON traces (
    tenant, substr(CASE WHEN ended IS NULL THEN substr(first_error, 9) ELSE substr(ended, 10) END, 1, 64), start_us, trace_id, state, failed, active_step
) WHERE failed = 1 OR state = 2;
