#!lua flags=allow-oom
-- mark | keys: releases | edges: none
--
-- Notes since when a release of the project is at work, unless that was noted before.
-- ARGV: now, how many releases are kept, the release
-- Reply: since when it is, ms
-- Sending the call again changes nothing more.

local now, most, release = clock(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
redis.call('ZADD', releases, 'NX', now, release)
redis.call('ZREMRANGEBYRANK', releases, 0, -most - 1)
return tonumber(redis.call('ZSCORE', releases, release)) or now
