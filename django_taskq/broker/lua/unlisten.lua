#!lua flags=allow-oom
-- unlisten | keys: events listeners | edges: none
--
-- Forgets a listener. With the last one the stream goes, and nothing is noted any more.
-- ARGV: name
-- Reply: how many listeners are left
-- Sending the call again changes nothing more.

redis.call('HDEL', listeners, ARGV[1])
local left = redis.call('HLEN', listeners)
if left == 0 then redis.call('UNLINK', events) end
return left
