-- Which builds this schema leaves to work: one row. A build has the version of its newest migration; it reads a newer schema whose
-- `readable_from` is not above that, and writes one whose `writable_from` is not. So a migration that only expands has nothing to say
-- here, and one that takes away what builds before it need raises the numbers. A table and not columns of schema_migrations: a
-- migration changes it in its own text. Builds before this one did not ask, and worked with their own version alone.
CREATE TABLE schema_compatibility (
    readable_from bigint NOT NULL,
    writable_from bigint NOT NULL
);
INSERT INTO schema_compatibility (readable_from, writable_from) VALUES (3, 3);
