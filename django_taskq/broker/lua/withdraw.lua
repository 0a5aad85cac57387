#!lua flags=allow-oom
-- withdraw | keys: live errors ready running scheduled retrying waiting cancelled parked wake timer ended calls answers asks locks lapses limits gated entered rates opens | edges: waiting->ready waiting->cancelled scheduled->cancelled ready->cancelled retrying->cancelled
--
-- Cancels what is not running and, other than cancel, lets alone what is.
-- ARGV: now, token of the call, retention ms, failure (a JSON line), then per job (at most 100):
--   id, task
-- Reply: a letter per job: O cancelled, R it is running, E it has ended, U unknown
-- Sending the call again cancels nothing more and answers the same.

local now, token = clock(ARGV[1]), ARGV[2]
local given = redis.call('HGET', answers, token)
if given then return given end
local retention, failure = tonumber(ARGV[3]), ARGV[4]
local ids, names = {}, {}
for i = 5, #ARGV, 2 do
  ids[#ids + 1] = ARGV[i]
  names[#names + 1] = ARGV[i + 1]
end
local lives = redis.call('HMGET', live, unpack(ids))
local old = redis.call('HMGET', errors, unpack(ids))
local runs = redis.call('ZMSCORE', running, unpack(ids))
local resting = {}
for _, set in ipairs({ waiting, scheduled, ready, retrying }) do
  resting[#resting + 1] = { set, redis.call('ZMSCORE', set, unpack(ids)) }
end

local letters, gone, places, records, lines, freed = {}, {}, {}, {}, {}, {}
local unparked, stood = {}, {}
for i, id in ipairs(ids) do
  local l = read_live(lives[i])
  local from
  for _, rest in ipairs(resting) do
    if rest[2][i] then from = rest[1] end
    if rest[1] == waiting then stood[id] = rest[2][i] end
  end
  if runs[i] then
    letters[i] = 'R'
  elseif from then
    letters[i] = 'O'
    gone[from] = gone[from] or {}
    table.insert(gone[from], id)
    places[#places + 1] = now + math.max(retention, RESEND_WINDOW)
    places[#places + 1] = id
    l.ended = now
    l.tail = ''
    records[#records + 1] = id
    records[#records + 1] = pack_live(l)
    lines[#lines + 1] = id
    lines[#lines + 1] = add_error(old[i], failure)
    freed[#freed + 1] = id
    if from == waiting then unparked[#unparked + 1] = names[i] .. ' ' .. id end
  else
    letters[i] = l.ended > 0 and 'E' or 'U'
  end
end
for set, list in pairs(gone) do redis.call('ZREM', set, unpack(list)) end
send('ZREM', parked, unparked)
send('ZADD', cancelled, places)
send('HSET', live, records)
send('HSET', errors, lines)
local answer = table.concat(letters)
if #freed > 0 then
  local asked = asks_of(freed)
  step_out(freed, stood, asked, now)
  unlock(freed, asked, now)
  set_wake(wake, ready)
  redis.call('SPUBLISH', ended, table.concat(freed, ' '))
  remember(calls, answers, token, now, answer)
end
return answer
