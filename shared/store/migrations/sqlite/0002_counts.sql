-- What lists of traces need to stay quick when there are a hundred thousand: totals without counting, statuses and errors by index.

-- Traces by flow and by what was told of their end, kept by triggers in the transaction that changes a trace, so that no way of changing
-- one can forget it: the total of a list is exact and must not cost a walk over all that match. Open traces (state 0) are in it as
-- one number; which of them have been idle for too long depends on the time of day and is counted by index.
CREATE TABLE trace_counts (
    tenant TEXT NOT NULL,
    -- '' while no flow was told.
    flow_name TEXT NOT NULL,
    state INTEGER NOT NULL,
    traces INTEGER NOT NULL,
    PRIMARY KEY (tenant, flow_name, state)
) WITHOUT ROWID, STRICT;

INSERT INTO trace_counts (tenant, flow_name, state, traces)
SELECT tenant, coalesce(flow_name, ''), state, count(*) FROM traces GROUP BY 1, 2, 3;

CREATE TRIGGER traces_counted_in AFTER INSERT ON traces
BEGIN
    INSERT INTO trace_counts (tenant, flow_name, state, traces) VALUES (new.tenant, coalesce(new.flow_name, ''), new.state, 1)
    ON CONFLICT (tenant, flow_name, state) DO UPDATE SET traces = traces + 1;
END;

CREATE TRIGGER traces_counted_out AFTER DELETE ON traces
BEGIN
    UPDATE trace_counts SET traces = traces - 1
    WHERE tenant = old.tenant AND flow_name = coalesce(old.flow_name, '') AND state = old.state;
    DELETE FROM trace_counts
    WHERE tenant = old.tenant AND flow_name = coalesce(old.flow_name, '') AND state = old.state AND traces = 0;
END;

-- Only what `state` is made of, and the flow: retention and most of compaction change neither.
CREATE TRIGGER traces_counted_over
AFTER UPDATE OF flow_name, ended, closed_us, last_active_us, first_received_us, failures ON traces
WHEN old.state <> new.state OR old.flow_name IS NOT new.flow_name
BEGIN
    INSERT INTO trace_counts (tenant, flow_name, state, traces) VALUES (new.tenant, coalesce(new.flow_name, ''), new.state, 1)
    ON CONFLICT (tenant, flow_name, state) DO UPDATE SET traces = traces + 1;
    UPDATE trace_counts SET traces = traces - 1
    WHERE tenant = old.tenant AND flow_name = coalesce(old.flow_name, '') AND state = old.state;
    DELETE FROM trace_counts
    WHERE tenant = old.tenant AND flow_name = coalesce(old.flow_name, '') AND state = old.state AND traces = 0;
END;

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
