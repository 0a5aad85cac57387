#!lua flags=allow-oom
-- stack | keys: stacks | edges: none
--
-- Puts down where a process is, for whoever asked. All of them are gone 2 minutes after the last.
-- ARGV: now, the process's holder id, the text (at most 64 KB)
-- Reply: 1 noted, 0 there are too many already
-- Sending the call again changes nothing more.

local MOST = 100
local now, holder = clock(ARGV[1]), ARGV[2]
if redis.call('HEXISTS', stacks, holder) == 0 and redis.call('HLEN', stacks) >= MOST then return 0 end
redis.call('HSET', stacks, holder, struct.pack('>I8', now) .. ARGV[3])
redis.call('PEXPIRE', stacks, 120000)
return 1
