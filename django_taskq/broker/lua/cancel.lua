#!lua flags=allow-oom
-- cancel | keys: live errors ready running scheduled retrying waiting cancelled parked cancels wake ended | edges: waiting->cancelled scheduled->cancelled ready->cancelled retrying->cancelled
--
-- Cancels what is not running, and asks for it where it is: a running job keeps its state until
-- its code has stopped.
-- ARGV: now, retention ms, failure (a JSON line), then per job: id, task
-- Reply: per job a letter (C cancelled, R asked for, E had ended, U unknown), its holder ("" if it is
--   not running) and its fence

local now = clock(ARGV[1])
local retention, failure = tonumber(ARGV[2]), ARGV[3]
local ids, names = {}, {}
for i = 4, #ARGV, 2 do
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

local reply, asked, gone, places, records, lines, freed = {}, {}, {}, {}, {}, {}, {}
for i, id in ipairs(ids) do
  local l = read_live(lives[i])
  local from
  for _, rest in ipairs(resting) do
    if rest[2][i] then from = rest[1] end
  end
  if runs[i] then
    asked[#asked + 1] = id
    reply[#reply + 1] = { 'R', string.sub(l.tail, 1, 22), l.fence }
  elseif from then
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
    if from == waiting then redis.call('ZREM', parked, names[i] .. ' ' .. id) end
    reply[#reply + 1] = { 'C', '', l.fence }
  else
    reply[#reply + 1] = { l.ended > 0 and 'E' or 'U', '', l.fence }
  end
end
send('SADD', cancels, asked)
for set, list in pairs(gone) do redis.call('ZREM', set, unpack(list)) end
send('ZADD', cancelled, places)
send('HSET', live, records)
send('HSET', errors, lines)
if #freed > 0 then
  set_wake(wake, ready)
  redis.call('SPUBLISH', ended, table.concat(freed, ' '))
end
return reply
