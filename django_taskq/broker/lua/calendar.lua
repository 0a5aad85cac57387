-- The records of schedules in `ticks`; see common.lua.

local TICKED = '>I8I8I8B'
local TICKED_SIZE = struct.size(TICKED)
local PRINT = 12 -- characters of a fingerprint, see schedule.py
local FAR = 126701150400000 -- a time from there on is none, see almanac.py

-- Times in ms. `last`: ticks up to then are dealt with; `tick`: the last one that was, 0 for none;
-- `seen`: when a worker last knew the schedule; flags: 1 paused, 2 the next tick is skipped;
-- `print`: the fingerprint of its times; `id`: the job of the last tick that was fired.
local function read_ticked(raw)
  local none = { last = 0, tick = 0, seen = 0, flags = 0, print = string.rep(' ', PRINT), id = '' }
  if not raw or #raw < TICKED_SIZE + PRINT then return none end
  local r = {}
  r.last, r.tick, r.seen, r.flags = struct.unpack(TICKED, raw)
  if math.max(r.last, r.tick, r.seen) >= FAR then return none end
  r.print = string.sub(raw, TICKED_SIZE + 1, TICKED_SIZE + PRINT)
  r.id = string.sub(raw, TICKED_SIZE + PRINT + 1)
  return r
end

local function pack_ticked(r)
  return struct.pack(TICKED, r.last, r.tick, r.seen, r.flags) .. r.print .. r.id
end

-- What `pauses` says of a schedule that is paused at `now` ('' for nothing): until when and since
-- when, in ms, the record's `last`, then a note that nobody here reads. No end is 0: until somebody
-- lets it go on. One whose end has come is not paused any more, which is written with the record's
-- next change.
-- It lies beside the record, so that a release that knows no ends of pauses reads that as ever. Such a
-- release leaves it behind when it lets the schedule go on. A later pause must not end by it, and is
-- told by `last`, which moves as soon as a tick is fired and stands still while a schedule is paused.
local PAUSE = '>I8I8I8'

local function pack_pause(r, ends, since, words)
  return struct.pack(PAUSE, ends, since, r.last) .. words
end

local function pause_of(r, name, now)
  local said = r.flags % 2 == 1 and redis.call('HGET', pauses, name) or ''
  if #said < struct.size(PAUSE) then return '' end
  local ends, _, last = struct.unpack(PAUSE, said)
  if last ~= r.last then return '' end
  if ends == 0 or ends > now then return said end
  r.flags = r.flags - 1
  return ''
end
