#!lua flags=allow-oom
-- agenda | keys: ticks pauses | edges: none
--
-- Reads how far schedules are. One that is new begins now, and so does one whose times are others
-- than before: what would have been due under them is not made up for.
-- ARGV: now, then per schedule (0 to 100): name, fingerprint of its times ("": only read)
-- Reply: now, then per schedule its record ("" where there is none) and its pause, see calendar.lua
-- Sending the call again changes nothing more.

local SEEN = 3600000 -- ms after which it is noted again that a worker knows the schedule

local now = clock(ARGV[1])
local names = {}
for i = 2, #ARGV, 2 do names[#names + 1] = ARGV[i] end
local raw = send('HMGET', ticks, names) or {} -- none: only the time is asked for
local reply, changed, said, over = { now }, {}, {}, {}
for i, name in ipairs(names) do
  local print = ARGV[i * 2 + 1]
  local found = raw[i] or ''
  local r = read_ticked(raw[i])
  local flags = r.flags
  local pause = pause_of(r, name, now)
  local is_over = r.flags ~= flags
  if is_over then found = pack_ticked(r) end
  if print ~= '' then
    local begins = r.print ~= print
    if begins or is_over or r.seen < now - SEEN then
      if begins then r.last = math.max(r.last, now) end
      if begins and pause ~= '' then
        local ends, since = struct.unpack(PAUSE, pause)
        pause = pack_pause(r, ends, since, string.sub(pause, struct.size(PAUSE) + 1))
        said[#said + 1] = name
        said[#said + 1] = pause
      end
      r.print, r.seen = print, now
      found = pack_ticked(r)
      changed[#changed + 1] = name
      changed[#changed + 1] = found
    end
    if pause == '' then over[#over + 1] = name end -- what may be left of one
  end
  reply[#reply + 1] = found
  reply[#reply + 1] = pause
end
send('HSET', ticks, changed)
send('HSET', pauses, said)
send('HDEL', pauses, over)
return reply
