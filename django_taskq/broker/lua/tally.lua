#!lua flags=allow-oom
-- tally | keys: bulks tallies | edges: none
--
-- Notes how far a job has come that does something to many others. The newest 100 are kept.
-- ARGV: now, id of that job, what there is to say (opaque)
-- Reply: how many are kept
-- Sending the call again changes nothing more.

local now, id, text = clock(ARGV[1]), ARGV[2], ARGV[3]
local KEPT = 100
redis.call('ZADD', bulks, 'NX', now, id)
redis.call('HSET', tallies, id, text)
local over = redis.call('ZCARD', bulks) - KEPT
if over > 0 then
  local old = redis.call('ZRANGE', bulks, 0, over - 1)
  redis.call('ZREM', bulks, unpack(old))
  redis.call('HDEL', tallies, unpack(old))
end
return redis.call('ZCARD', bulks)
