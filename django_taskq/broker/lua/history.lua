#!lua flags=allow-oom
-- history | keys: stats stats_at | edges: none
--
-- Reads what attempts came to, by minute or by hour.
-- ARGV: unit (m, h), the time at which the first span may be dropped ms, that of the last, most
--   (at most 5000)
-- Reply: field and tally in turn, in the order of their times

local found = redis.call('ZRANGE', stats_at, ARGV[2], ARGV[3], 'BYSCORE', 'LIMIT', 0, tonumber(ARGV[4]))
local fields = {}
for _, name in ipairs(found) do
  if string.sub(name, 1, 1) == ARGV[1] then fields[#fields + 1] = name end
end
local reply = {}
for from = 1, #fields, 500 do
  local some = { unpack(fields, from, math.min(from + 499, #fields)) }
  for i, tally in ipairs(redis.call('HMGET', stats, unpack(some))) do
    if tally then reply[#reply + 1], reply[#reply + 2] = some[i], tally end
  end
end
return reply
