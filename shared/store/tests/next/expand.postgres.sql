-- Columns: one that may be empty, ones with a default, in tables that every commit writes, in a commit's order.
ALTER TABLE seen ADD COLUMN next_by text NOT NULL DEFAULT 'who does not say';
ALTER TABLE traces ADD COLUMN next_note text;
ALTER TABLE traces ADD COLUMN next_weight bigint NOT NULL DEFAULT 1;
ALTER TABLE chunks ADD COLUMN next_flags bigint NOT NULL DEFAULT 7;
ALTER TABLE rollups ADD COLUMN next_estimate bigint NOT NULL DEFAULT 0;

-- A table that triggers keep true, whoever writes: filled from what is there, with the door shut meanwhile.
CREATE TABLE next_totals (
    tenant text PRIMARY KEY,
    events bigint NOT NULL
);
LOCK TABLE traces IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO next_totals (tenant, events) SELECT tenant, sum(event_count) FROM traces GROUP BY 1;
CREATE FUNCTION next_counted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO next_totals AS t (tenant, events)
    VALUES (NEW.tenant, NEW.event_count - CASE TG_OP WHEN 'UPDATE' THEN OLD.event_count ELSE 0 END)
    ON CONFLICT (tenant) DO UPDATE SET events = t.events + EXCLUDED.events;
    RETURN NULL;
END
$$;
CREATE TRIGGER next_counted AFTER INSERT OR UPDATE OF event_count ON traces FOR EACH ROW EXECUTE FUNCTION next_counted();

-- An index.
CREATE INDEX next_by_weight ON traces (tenant, next_weight);

INSERT INTO schema_migrations (version, name) SELECT max(version) + 1, 'next' FROM schema_migrations;
