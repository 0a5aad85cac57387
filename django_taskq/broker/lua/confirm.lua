#!lua flags=allow-oom
-- confirm | keys: meta | edges: none
--
-- Writes something, so that a WAIT behind it covers all that was written to the queue before.
-- ARGV: none
-- Reply: how often it was done

return redis.call('HINCRBY', meta, 'confirms', 1)
