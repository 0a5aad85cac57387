#!lua
-- replace | keys: jobs live errors ready scheduled retrying waiting parked wake timer meta asks locks limits gated entered rates opens turns events | edges: waiting->ready waiting->scheduled scheduled->ready ready->scheduled retrying->ready retrying->scheduled
--
-- Gives jobs that do not run and have a lock new arguments and another time: same id, attempts
-- from the start. No flag: it makes work grow, so a full Redis refuses it.
-- ARGV: now, then per job (at most 100), as in enqueue: id, envelope, priority, due, expires_in,
--   ask (with the lock that the job is known by)
-- Reply: a letter per job: O replaced, R it runs, G the lock is not its own any more; nothing was
--   done
-- Sending the call again changes nothing more, unless the job was claimed in between: then R.

local now = clock(ARGV[1])
local PER = 6
local ids, wanted = {}, {}
for at = 2, #ARGV, PER do
  ids[#ids + 1] = ARGV[at]
  wanted[ARGV[at]] = read_ask(ARGV[at + 5])
end
local lives = redis.call('HMGET', live, unpack(ids))
local before = asks_of(ids)
local _, _, values = locks_of(ids, wanted)
local resting = {}
for _, set in ipairs({ waiting, scheduled, ready, retrying }) do
  resting[#resting + 1] = { set, redis.call('ZMSCORE', set, unpack(ids)) }
end

local letters, gone, stood, names, moved = {}, {}, {}, {}, {}
local envelopes, records, entries, places, due_at = {}, {}, {}, {}, {}
local first_due
for i, id in ipairs(ids) do
  local from
  for _, rest in ipairs(resting) do
    if rest[2][i] then from = rest[1] end
    if rest[1] == waiting then stood[id] = rest[2][i] or nil end
  end
  if locked_by(values[i], now) ~= id or gone[id] then
    letters[i] = 'G'
  elseif not from then
    letters[i] = 'R'
  else
    letters[i] = 'O'
    gone[id] = from
    moved[#moved + 1] = id
    local at = (i - 1) * PER + 2
    local due = tonumber(ARGV[at + 3])
    if due < 0 then due = now - due end
    local l = read_live(lives[i])
    local task = string.match(l.tail, '^' .. string.rep(' ', 22) .. '(%S+%.%S+) ')
    if task then names[#names + 1] = task .. ' ' .. id end
    local expires = tonumber(ARGV[at + 4])
    l.priority, l.expires = tonumber(ARGV[at + 2]), expires > 0 and now + expires or 0
    l.attempt, l.crashes, l.lost, l.parks, l.tail = 0, 0, 0, 0, ''
    envelopes[#envelopes + 1], envelopes[#envelopes + 2] = id, ARGV[at + 1]
    records[#records + 1], records[#records + 2] = id, pack_live(l)
    entries[#entries + 1] = id
    entries[#entries + 1] = ask_to_keep(ARGV[at + 5], wanted[id], now)
    if due > now then
      due_at[#due_at + 1], due_at[#due_at + 2] = due, id
      if not first_due or due < first_due then first_due = due end
    else
      places[#places + 1] = { id, l.priority }
    end
  end
end
if #moved == 0 then return table.concat(letters) end

for _, set in ipairs({ waiting, scheduled, ready, retrying }) do
  redis.call('ZREM', set, unpack(moved))
end
send('ZREM', parked, names)
step_out(moved, stood, before, now)
redis.call('HSET', jobs, unpack(envelopes))
redis.call('HSET', live, unpack(records))
redis.call('HSET', asks, unpack(entries))
redis.call('HDEL', errors, unpack(moved))
set_limits(wanted)
send('ZADD', scheduled, due_at)
if first_due then set_timer(timer, scheduled, first_due) end
if #places > 0 then
  local line = line_of(ready, gated, meta, turns, wanted)
  local scores = {}
  for _, job in ipairs(places) do
    scores[#scores + 1], scores[#scores + 2] = line.place(job[2], wanted[job[1]]), job[1]
  end
  line.done()
  redis.call('ZADD', ready, unpack(scores))
end
note(moved)
set_wake(wake, ready)
return table.concat(letters)
