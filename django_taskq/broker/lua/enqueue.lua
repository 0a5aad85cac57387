#!lua
-- enqueue | keys: jobs live ready scheduled wake timer meta asks locks lapses limits turns events | edges: new->ready new->scheduled
--
-- Takes N jobs in. No flag: a full Redis refuses the call before anything is written.
-- ARGV: now, then per job: id, envelope, priority, due, expires_in, ask
--   due: 0 at once, > 0 a time in ms, < 0 so many ms from now; expires_in: ms or 0; ask: as
--   asks.py writes it, or ""; how long its lock stays at least is in ms from now
-- Reply: a string with a letter per job: N new, E its id existed, U another job has its lock, and
--   nothing was done; behind a space for each U the id of that job
-- Sending the call again does nothing twice: an existing id is never overwritten.

-- One job, at once, with nothing set: what most calls are. It needs none of what follows, whose
-- functions and clock would take a third of its time.
if #ARGV == 7 and ARGV[4] == '0' and ARGV[5] == '0' and ARGV[6] == '0' and ARGV[7] == '' then
  if redis.call('HSETNX', jobs, ARGV[2], ARGV[3]) == 0 then return 'E' end
  redis.call('ZADD', ready, redis.call('HINCRBY', meta, 'seq', 1), ARGV[2])
  if redis.call('LLEN', wake) == 0 then redis.call('RPUSH', wake, '1') end
  redis.call('XADD', events, 'NOMKSTREAM', 'MAXLEN', '~', 10000, '*', 'i', ARGV[2])
  return 'N'
end

-- common.lua

local now = clock(ARGV[1])
local PER = 6
local count = (#ARGV - 1) / PER
local ids, asked, asking = {}, {}, false
for i = 1, count do
  ids[i] = ARGV[i * PER - 4]
  if ARGV[i * PER + 1] ~= '' then
    asked[ids[i]], asking = read_ask(ARGV[i * PER + 1]), true
  end
end
local known = redis.call('HMGET', jobs, unpack(ids))
local locked = {} -- name -> the job that has it
if asking then
  local _, names, values = locks_of(ids, asked)
  for i, name in ipairs(names) do locked[name] = locked_by(values[i], now) end
end

local letters, others = {}, {}
local envelopes, records, places, due_at, entries, taken = {}, {}, {}, {}, {}, {}
local first_due
local seen = {}
local line = line_of(ready, meta, turns)
for i = 1, count do
  local at = i * PER - 4
  local id = ARGV[at]
  local ask = asked[id]
  local lock = ask and ask.lock ~= '' and ask.lock
  if known[i] or seen[id] then
    letters[i] = 'E'
  elseif lock and locked[lock] then
    letters[i] = 'U'
    others[#others + 1] = locked[lock]
  else
    letters[i] = 'N'
    seen[id] = true
    envelopes[#envelopes + 1] = id
    envelopes[#envelopes + 1] = ARGV[at + 1]
    local priority, due, expires = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
    if due < 0 then due = now - due end
    if due > now then
      due_at[#due_at + 1] = due
      due_at[#due_at + 1] = id
      if not first_due or due < first_due then first_due = due end
    else
      places[#places + 1] = line.place(priority, ask)
      places[#places + 1] = id
    end
    if expires > 0 or priority ~= 0 then
      local l = read_live(nil)
      l.priority = priority
      if expires > 0 then l.expires = now + expires end
      records[#records + 1] = id
      records[#records + 1] = pack_live(l)
    end
    if ask then
      entries[#entries + 1] = id
      entries[#entries + 1] = ask_to_keep(ARGV[at + 5], ask, now)
    end
    if lock then
      locked[lock] = id
      taken[#taken + 1] = lock
      taken[#taken + 1] = id
    end
  end
end

send('HSET', jobs, envelopes)
send('HSET', live, records)
send('ZADD', scheduled, due_at)
if first_due then set_timer(timer, scheduled, first_due) end
if #places > 0 then
  line.done()
  redis.call('ZADD', ready, unpack(places))
  set_wake(wake, ready)
end
if asking then
  send('HSET', asks, entries)
  send('HSET', locks, taken)
  set_limits(asked)
  drop_lapsed(now)
end
return table.concat(letters) .. (#others > 0 and ' ' .. table.concat(others, ' ') or '')
