-- Counts of events say what was recorded; where a program samples, this says beside them how many more there were (LeftOut in
-- shared/chunk), in thousandths of events and merged as a sum. 0: nothing was sampled, or the writer was of a build that does not ask. What
-- actors, edges and minutes are told of it lies in headers and rollups, which are protobuf.
ALTER TABLE traces ADD COLUMN left_out_milli bigint NOT NULL DEFAULT 0;
