#!lua
-- enqueue | keys: jobs live ready scheduled wake timer meta | edges: new->ready new->scheduled
--
-- Takes N jobs in. No flag: a full Redis refuses the call before anything is written.
-- ARGV: now, then per job: id, envelope, priority, due, expires_in
--   due: 0 at once, > 0 a time in ms, < 0 so many ms from now; expires_in: ms or 0
-- Reply: a string with a letter per job: N new, E its id existed and nothing was done
-- Sending the call again does nothing twice: an existing id is never overwritten.

-- One job, at once, with nothing set: what most calls are. It needs none of what follows, whose
-- functions and clock would take a third of its time.
if #ARGV == 6 and ARGV[4] == '0' and ARGV[5] == '0' and ARGV[6] == '0' then
  if redis.call('HSETNX', jobs, ARGV[2], ARGV[3]) == 0 then return 'E' end
  redis.call('ZADD', ready, redis.call('HINCRBY', meta, 'seq', 1), ARGV[2])
  if redis.call('LLEN', wake) == 0 then redis.call('RPUSH', wake, '1') end
  return 'N'
end

-- common.lua

local now = clock(ARGV[1])
local count = (#ARGV - 1) / 5
local ids = {}
for i = 1, count do ids[i] = ARGV[i * 5 - 3] end
local known = redis.call('HMGET', jobs, unpack(ids))

local letters, envelopes, records, places, due_at = {}, {}, {}, {}, {}
local first_due
local seen = {}
local sequence = tail_of(meta, count)
for i = 1, count do
  local at = i * 5 - 3
  local id = ARGV[at]
  if known[i] or seen[id] then
    letters[i] = 'E'
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
      places[#places + 1] = ready_score(priority, sequence + i)
      places[#places + 1] = id
    end
    if expires > 0 or priority ~= 0 then
      local l = read_live(nil)
      l.priority = priority
      if expires > 0 then l.expires = now + expires end
      records[#records + 1] = id
      records[#records + 1] = pack_live(l)
    end
  end
end

send('HSET', jobs, envelopes)
send('HSET', live, records)
send('ZADD', scheduled, due_at)
if first_due then set_timer(timer, scheduled, first_due) end
if #places > 0 then
  redis.call('ZADD', ready, unpack(places))
  set_wake(wake, ready)
end
return table.concat(letters)
