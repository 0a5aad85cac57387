#!lua flags=allow-oom
-- measure | keys: ready counting counts | edges: none
--
-- Notes how many jobs are ready, for the average of this minute.
-- ARGV: now
-- Reply: how many
-- Sending the call again notes it again, which moves no average.

local now, many = clock(ARGV[1]), redis.call('ZCARD', ready)
raise_counters({ B = many, N = 1 }, { '@', 'B', 'N' }, now)
return many
