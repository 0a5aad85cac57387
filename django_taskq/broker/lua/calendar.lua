-- The records of schedules in `ticks`; see common.lua.

local TICKED = '>I8I8I8B'
local TICKED_SIZE = struct.size(TICKED)
local PRINT = 12 -- characters of a fingerprint, see schedule.py

-- Times in ms. `last`: ticks up to then are dealt with; `tick`: the last one that was, 0 for none;
-- `seen`: when a worker last knew the schedule; flags: 1 paused, 2 the next tick is skipped;
-- `print`: the fingerprint of its times; `id`: the job of the last tick that was fired.
local function read_ticked(raw)
  if not raw or #raw < TICKED_SIZE + PRINT then
    return { last = 0, tick = 0, seen = 0, flags = 0, print = string.rep(' ', PRINT), id = '' }
  end
  local r = {}
  r.last, r.tick, r.seen, r.flags = struct.unpack(TICKED, raw)
  r.print = string.sub(raw, TICKED_SIZE + 1, TICKED_SIZE + PRINT)
  r.id = string.sub(raw, TICKED_SIZE + PRINT + 1)
  return r
end

local function pack_ticked(r)
  return struct.pack(TICKED, r.last, r.tick, r.seen, r.flags) .. r.print .. r.id
end
