#!lua flags=allow-oom
-- roster | keys: workers | edges: none
--
-- Reads the records of the workers that stand.
-- ARGV: now
-- Reply: now, then per worker: its id, ms until its record lapses, its record

local now = clock(ARGV[1])
local all = redis.call('HRANDFIELD', workers, 1000, 'WITHVALUES') -- all: see enroll.lua
local reply = { now }
for i = 1, #all, 2 do
  local raw = all[i + 1]
  local until_ms = #raw > 8 and struct.unpack('>I8', raw) or 0
  if until_ms > now then
    reply[#reply + 1] = all[i]
    reply[#reply + 1] = until_ms - now
    reply[#reply + 1] = string.sub(raw, 9)
  end
end
return reply
