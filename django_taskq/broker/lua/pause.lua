#!lua flags=allow-oom
-- pause | keys: ready wake meta | edges: none
--
-- Pauses a queue, or lets it go on. `paused` in meta: absent or 0 not at all, 1 until somebody lets it
-- go on, else the time (ms) at which it goes on by itself.
-- ARGV: paused (0, 1 or a time), note (who, why, since when: opaque)
-- Reply: what `paused` was before ("" for nothing)
-- Sending the call again changes nothing more.

local before = redis.call('HGET', meta, 'paused') or ''
if ARGV[1] == '0' then
  redis.call('HDEL', meta, 'paused', 'pause_note')
  set_wake(wake, ready)
else
  redis.call('HSET', meta, 'paused', ARGV[1], 'pause_note', ARGV[2])
end
return before
