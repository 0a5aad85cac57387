#!lua flags=allow-oom
-- cancel | keys: live errors ready running scheduled retrying waiting cancelled parked cancels wake timer ended calls answers asks locks lapses limits gated entered rates opens counting counts events | edges: waiting->ready waiting->cancelled scheduled->cancelled ready->cancelled retrying->cancelled
--
-- Cancels what is not running, and asks for it where it is: a running job keeps its state until
-- its code has stopped.
-- ARGV: now, token of the call, retention ms, failure (a JSON line), order (cancel; kill: its
--   process may be ended for it; kill-only: the same, and what does not run is let alone; spare: what
--   runs is let alone), then per job (at most 100): id, task
-- Reply: a word per job, joined by spaces: a letter (C cancelled, R it runs, and is asked unless it
--   is spared, L it does not run and was let alone, E had ended, U unknown), "/", its fence, "/", its
--   holder ("" if it is not running)
-- Sending the call again cancels nothing more and answers the same.

local now, token = clock(ARGV[1]), ARGV[2]
local before = redis.call('HGET', answers, token)
if before then return before end
local retention, failure, order = tonumber(ARGV[3]), ARGV[4], ARGV[5]
local least, runs_only = least_kept(), order == 'kill-only'
if runs_only then order = 'kill' end
local ids, names = {}, {}
for i = 6, #ARGV, 2 do
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

local words, orders, gone, places, records, lines, freed, stood = {}, {}, {}, {}, {}, {}, {}, {}
local raised = {} -- what is counted -> how often
for i, id in ipairs(ids) do
  local l = read_live(lives[i])
  local from
  for _, rest in ipairs(resting) do
    if rest[2][i] then from = rest[1] end
    if rest[1] == waiting then stood[id] = rest[2][i] end
  end
  if runs[i] then
    local is_asked = redis.call('HEXISTS', cancels, id) == 1
    if order == 'kill' or (order == 'cancel' and not is_asked) then -- a kill stays one
      orders[#orders + 1] = id
      orders[#orders + 1] = order .. ' ' .. ARGV[3]
    end
    words[i] = 'R/' .. l.fence .. '/' .. string.sub(l.tail, 1, 22)
  elseif from and runs_only then
    words[i] = 'L/' .. l.fence .. '/'
  elseif from then
    gone[from] = gone[from] or {}
    table.insert(gone[from], id)
    places[#places + 1] = now + math.max(retention, least)
    places[#places + 1] = id
    l.ended = now
    l.tail = ''
    records[#records + 1] = id
    records[#records + 1] = pack_live(l)
    lines[#lines + 1] = id
    lines[#lines + 1] = add_error(old[i], failure)
    freed[#freed + 1] = id
    raised['C|' .. names[i]] = (raised['C|' .. names[i]] or 0) + 1
    if from == waiting then redis.call('ZREM', parked, names[i] .. ' ' .. id) end
    words[i] = 'C/' .. l.fence .. '/'
  else
    words[i] = (l.ended > 0 and 'E/' or 'U/') .. l.fence .. '/'
  end
end
send('HSET', cancels, orders)
for set, list in pairs(gone) do redis.call('ZREM', set, unpack(list)) end
send('ZADD', cancelled, places)
send('HSET', live, records)
send('HSET', errors, lines)
if #freed > 0 then
  local asked = asks_of(freed)
  step_out(freed, stood, asked, now)
  unlock(freed, asked, now)
  note(freed)
  count_in(raised, now)
  set_wake(wake, ready)
  redis.call('SPUBLISH', ended, table.concat(freed, ' '))
end
local answer = table.concat(words, ' ')
if #freed + #orders > 0 then remember(calls, answers, token, now, answer) end
return answer
