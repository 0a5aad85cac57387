#!lua
-- postpone | keys: jobs live results scheduled retrying succeeded dead cancelled timer calls answers asks locks | edges: succeeded->scheduled dead->scheduled cancelled->scheduled retrying->scheduled
--
-- Has jobs run again at a time: those that ended or back off, with attempts from the start; those
-- that are scheduled get another time. No flag: it makes work grow, so a full Redis refuses it.
-- ARGV: now, token of the call, due (ms), then the ids (at most 100)
-- Reply: a letter per job: O scheduled, E it is ready, runs or waits, U unknown, L another job has
--   its lock
-- Sending the call again moves nothing twice and answers the same.

local now, token = clock(ARGV[1]), ARGV[2]
local given = redis.call('HGET', answers, token)
if given then return given end
local due = tonumber(ARGV[3])
local ids = { unpack(ARGV, 4) }
local known = redis.call('HMGET', jobs, unpack(ids))
local lives = redis.call('HMGET', live, unpack(ids))
local resting = {}
for _, set in ipairs({ scheduled, retrying, succeeded, dead, cancelled }) do
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
for i, id in ipairs(ids) do
  local from
  for _, rest in ipairs(resting) do
    if rest[2][i] then from = rest[1] end
  end
  if not known[i] then
    letters[i] = 'U'
  elseif not from then
    letters[i] = 'E'
  elseif from ~= scheduled and asked[id] and locked[asked[id].lock] then
    letters[i] = 'L'
  else
    letters[i] = 'O'
    local lock = asked[id] and asked[id].lock or ''
    if from ~= scheduled and lock ~= '' then
      locked[lock] = id
      locks_taken[#locks_taken + 1], locks_taken[#locks_taken + 2] = lock, id
    end
    places[#places + 1] = due
    places[#places + 1] = id
    if from ~= scheduled then
      local l = read_live(lives[i])
      l.attempt, l.crashes, l.lost, l.parks, l.expires, l.ended, l.tail = 0, 0, 0, 0, 0, 0, ''
      gone[from] = gone[from] or {}
      table.insert(gone[from], id)
      records[#records + 1] = id
      records[#records + 1] = pack_live(l)
      moved[#moved + 1] = id
    end
  end
end
for set, list in pairs(gone) do redis.call('ZREM', set, unpack(list)) end
send('HDEL', results, moved)
send('HSET', live, records)
send('HSET', locks, locks_taken)
local answer = table.concat(letters)
if #places > 0 then
  redis.call('ZADD', scheduled, unpack(places))
  set_timer(timer, scheduled, due)
  remember(calls, answers, token, now, answer)
end
return answer
