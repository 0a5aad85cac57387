#!lua
-- retry | keys: jobs live results reports ready scheduled retrying succeeded dead cancelled wake timer meta calls answers asks locks gated turns events | edges: succeeded->ready dead->ready cancelled->ready retrying->ready succeeded->scheduled dead->scheduled cancelled->scheduled retrying->scheduled
--
-- Puts ended jobs, and those backing off, back in line: same id, attempts from the start, the
-- fence goes on. No flag: it makes work grow, so a full Redis refuses it.
-- With a time they are scheduled for it, and those that are scheduled get another.
-- ARGV: now, token of the call, due (ms; 0: at once), then the ids (at most 100)
-- Reply: a letter per job: O done, E it had not ended, U unknown, L another job has its lock
-- Sending the call again moves nothing twice, even when the job has run to its end in between.

local now, token, due = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local before = redis.call('HGET', answers, token)
if before then return before end
local ids = { unpack(ARGV, 4) }
local known = redis.call('HMGET', jobs, unpack(ids))
local lives = redis.call('HMGET', live, unpack(ids))
local resting = {}
for _, set in ipairs({ succeeded, dead, cancelled, retrying, due > 0 and scheduled or nil }) do
  resting[#resting + 1] = { set, redis.call('ZMSCORE', set, unpack(ids)) }
end

local letters, gone, places, records, moved = {}, {}, {}, {}, {}
local asked = asks_of(ids)
local owners, names, values = locks_of(ids, asked)
local locked, locks_taken = {}, {}
for i, name in ipairs(names) do
  local owner = locked_by(values[i], now)
  if owner and owner ~= owners[i] then locked[name] = owner end
end
local line = line_of(ready, gated, meta, turns, asked)
for i, id in ipairs(ids) do
  local from
  for _, rest in ipairs(resting) do
    if rest[2][i] then from = rest[1] end
  end
  if not known[i] then
    letters[i] = 'U'
  elseif not from then
    letters[i] = 'E'
  elseif from == scheduled then -- it has its lock, and nothing to begin anew
    letters[i] = 'O'
    places[#places + 1], places[#places + 2] = due, id
  elseif asked[id] and locked[asked[id].lock] then
    letters[i] = 'L'
  else
    letters[i] = 'O'
    local lock = asked[id] and asked[id].lock or ''
    if lock ~= '' then
      locked[lock] = id
      locks_taken[#locks_taken + 1], locks_taken[#locks_taken + 2] = lock, id
    end
    local l = read_live(lives[i])
    l.attempt, l.crashes, l.lost, l.parks, l.expires, l.ended, l.tail = 0, 0, 0, 0, 0, 0, ''
    gone[from] = gone[from] or {}
    table.insert(gone[from], id)
    places[#places + 1] = due > 0 and due or line.place(l.priority, asked[id])
    places[#places + 1] = id
    records[#records + 1] = id
    records[#records + 1] = pack_live(l)
    moved[#moved + 1] = id
  end
end
for set, list in pairs(gone) do redis.call('ZREM', set, unpack(list)) end
send('HDEL', results, moved)
send('HDEL', reports, moved)
send('HSET', live, records)
send('HSET', locks, locks_taken)
local answer = table.concat(letters)
if #places == 0 then return answer end
note(ids)
if due > 0 then
  redis.call('ZADD', scheduled, unpack(places))
  set_timer(timer, scheduled, due)
else
  line.done()
  redis.call('ZADD', ready, unpack(places))
  set_wake(wake, ready)
end
remember(calls, answers, token, now, answer)
return answer
