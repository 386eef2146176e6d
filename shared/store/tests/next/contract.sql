-- What every commit of today's builds writes first is called otherwise from now on.
ALTER TABLE seen RENAME COLUMN day TO first_day;

INSERT INTO schema_migrations (version, name) SELECT max(version) + 1, 'contract' FROM schema_migrations;
UPDATE schema_compatibility
SET readable_from = (SELECT max(version) FROM schema_migrations), writable_from = (SELECT max(version) FROM schema_migrations);
