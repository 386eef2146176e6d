-- Columns: one that may be empty, ones with a default, in tables that every commit writes.
ALTER TABLE traces ADD COLUMN next_note TEXT;
ALTER TABLE traces ADD COLUMN next_weight INTEGER NOT NULL DEFAULT 1;
ALTER TABLE chunks ADD COLUMN next_flags INTEGER NOT NULL DEFAULT 7;
ALTER TABLE rollups ADD COLUMN next_estimate INTEGER NOT NULL DEFAULT 0;
ALTER TABLE seen ADD COLUMN next_by TEXT NOT NULL DEFAULT 'who does not say';

-- A table that triggers keep true, whoever writes.
CREATE TABLE next_totals (
    tenant TEXT PRIMARY KEY,
    events INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
INSERT INTO next_totals (tenant, events) SELECT tenant, sum(event_count) FROM traces GROUP BY 1;
CREATE TRIGGER next_counted_in AFTER INSERT ON traces
BEGIN
    INSERT INTO next_totals (tenant, events) VALUES (new.tenant, new.event_count)
    ON CONFLICT (tenant) DO UPDATE SET events = events + excluded.events;
END;
CREATE TRIGGER next_counted_over AFTER UPDATE OF event_count ON traces
BEGIN
    UPDATE next_totals SET events = events + new.event_count - old.event_count WHERE tenant = new.tenant;
END;

-- An index.
CREATE INDEX next_by_weight ON traces (tenant, next_weight);

INSERT INTO schema_migrations (version, name) SELECT max(version) + 1, 'next' FROM schema_migrations;
