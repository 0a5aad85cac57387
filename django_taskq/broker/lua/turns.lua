-- Whose turn it is, see asks.lua: self-clocked fair queueing (Golestani 1994) in the scores of
-- `ready`. A job's place is one turn behind the last of its key, or behind the one that was served
-- last if its key is further back. Those without a key come after all who are there.
-- `turns`: "priority:key" -> the key's last place; "priority:" -> the last place that was served.

-- The place of the first job in line of a priority; nil where there is none.
local function first_in(ready, priority)
  local band = ready_score(priority, 0)
  local first = redis.call('ZRANGE', ready, band, '(' .. string.format('%.0f', band + PRIORITY / 2),
    'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')[2]
  return first and tonumber(first) - band
end

-- The place that was served last; nil where none was yet.
local function served_of(turns, priority)
  return tonumber(redis.call('HGET', turns, string.format('%.0f:', priority)) or nil)
end

-- Gives the jobs that ask for `asked` and others places at the end of the line, one after the other;
-- `done` writes down how far it came.
local function line_of(ready, gated, meta, turns, asked)
  local line = { last = tonumber(redis.call('HGET', meta, 'seq') or 0), heads = {}, bands = {} }
  -- Where the line is: at its first job, unless others wait at gates; it never goes back, whoever
  -- is let in late.
  function line.head(priority)
    local head = line.heads[priority]
    if head then return head end
    head = served_of(turns, priority)
    if not head or redis.call('EXISTS', gated) == 0 then
      head = math.max(head or 0, first_in(ready, priority) or line.last)
    end
    line.heads[priority] = head
    return head
  end
  function line.band(priority) -- key -> its last place
    local band, keys, names = { turns = {}, given = {} }, {}, {}
    for _, ask in pairs(asked) do
      if ask.key ~= '' and not band.turns[ask.key] then
        band.turns[ask.key] = 0
        keys[#keys + 1], names[#names + 1] = ask.key, string.format('%.0f:', priority) .. ask.key
      end
    end
    for i, turn in ipairs(redis.call('HMGET', turns, unpack(names))) do
      band.turns[keys[i]] = tonumber(turn or nil) or 0
    end
    line.bands[priority] = band
    return band
  end
  function line.place(priority, ask)
    if not ask or ask.key == '' then
      line.last = line.last + 1
      return ready_score(priority, line.last)
    end
    local band = line.bands[priority] or line.band(priority)
    -- Far from 0 doubles stand further apart; two jobs must not come to one place.
    local turn = math.max(band.turns[ask.key], line.head(priority))
      + math.max(ask.cost, math.abs(priority) / 128)
    band.turns[ask.key], band.given[ask.key] = turn, turn
    line.last = math.max(line.last, math.ceil(turn))
    return ready_score(priority, turn)
  end
  function line.done()
    redis.call('HSET', meta, 'seq', string.format('%.0f', line.last))
    local flat = {}
    for priority, band in pairs(line.bands) do
      for key, turn in pairs(band.given) do
        flat[#flat + 1] = string.format('%.0f:', priority) .. key
        flat[#flat + 1] = string.format('%.17g', turn)
      end
    end
    send('HSET', turns, flat)
  end
  return line
end

-- Jobs were claimed, here as a list of their scores; says whether jobs take turns at all.
local function serve(scores, turns)
  if redis.call('EXISTS', turns) == 0 then return false end
  local served, flat = {}, {}
  for _, score in ipairs(scores) do
    local priority = math.floor(0.5 - score / PRIORITY)
    served[priority] = math.max(served[priority] or 0, score - ready_score(priority, 0))
  end
  for priority, place in pairs(served) do
    local name = string.format('%.0f:', priority)
    if place > tonumber(redis.call('HGET', turns, name) or 0) then
      flat[#flat + 1], flat[#flat + 2] = name, string.format('%.17g', place)
    end
  end
  send('HSET', turns, flat)
  return true
end
