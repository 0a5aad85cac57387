#!lua flags=allow-oom
-- agenda | keys: ticks | edges: none
--
-- Reads how far schedules are. One that is new begins now, and so does one whose times are others
-- than before: what would have been due under them is not made up for.
-- ARGV: now, then per schedule (0 to 100): name, fingerprint of its times ("": only read)
-- Reply: now, then a record each ("" where there is none)
-- Sending the call again changes nothing more.

local SEEN = 3600000 -- ms after which it is noted again that a worker knows the schedule

local now = clock(ARGV[1])
local names = {}
for i = 2, #ARGV, 2 do names[#names + 1] = ARGV[i] end
local raw = send('HMGET', ticks, names) or {} -- none: only the time is asked for
local reply, changed = { now }, {}
for i, name in ipairs(names) do
  local print = ARGV[i * 2 + 1]
  local found = raw[i] or ''
  if print ~= '' then
    local r = read_ticked(raw[i])
    local begins = r.print ~= print
    if begins or r.seen < now - SEEN then
      if begins then r.last = math.max(r.last, now) end
      r.print, r.seen = print, now
      found = pack_ticked(r)
      changed[#changed + 1] = name
      changed[#changed + 1] = found
    end
  end
  reply[#reply + 1] = found
end
send('HSET', ticks, changed)
return reply
