#!lua flags=allow-oom
-- retire | keys: ticks tick_log pauses | edges: none
--
-- Forgets schedules that no worker has known for long, a step of about 100 at a time.
-- ARGV: now, cursor ("0" to begin), ms after which one is forgotten
-- Reply: cursor of the next step ("0": all were looked at), how many are forgotten
-- Sending the call again forgets nothing more.

local now = clock(ARGV[1])
local step = redis.call('HSCAN', ticks, ARGV[2], 'COUNT', 100)
local old = {}
for i = 1, #step[2], 2 do
  if read_ticked(step[2][i + 1]).seen < now - tonumber(ARGV[3]) then old[#old + 1] = step[2][i] end
end
send('HDEL', ticks, old)
send('HDEL', tick_log, old)
send('HDEL', pauses, old)
return { step[1], #old }
