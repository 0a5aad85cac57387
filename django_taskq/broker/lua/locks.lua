-- Locks of jobs, see asks.lua. `locks`: name -> the id of the job that has it; behind a space, once
-- that job needs it no more, the time in ms until which it stays all the same.

-- The id of the job that keeps others out, if there is one.
local function locked_by(value, now)
  if not value then return end
  local id, stays = string.match(value, '^(%S+) ?(%d*)$')
  if stays == '' or (tonumber(stays) or 0) > now then return id end
end

-- The jobs of `ids` that have a lock, and what stands at its name.
local function locks_of(ids, asked)
  local owners, names = {}, {}
  for _, id in ipairs(ids) do
    if asked[id] and asked[id].lock ~= '' then
      owners[#owners + 1], names[#names + 1] = id, asked[id].lock
    end
  end
  return owners, names, #names > 0 and redis.call('HMGET', locks, unpack(names)) or {}
end

-- Drops locks whose time is over: more than can have been taken since, so that they end.
local function drop_lapsed(now, most)
  local names = redis.call('ZRANGE', lapses, '-inf', now, 'BYSCORE', 'LIMIT', 0, math.max(most, 100))
  if #names == 0 then return end
  local gone = {}
  for i, value in ipairs(redis.call('HMGET', locks, unpack(names))) do
    if value and not locked_by(value, now) then gone[#gone + 1] = names[i] end
  end
  send('HDEL', locks, gone)
  redis.call('ZREM', lapses, unpack(names))
end

-- Jobs that need their locks no more. A lock belongs to a job: another's stays.
local function unlock(ids, asked, now)
  local owners, names, values = locks_of(ids, asked)
  local gone, kept, times = {}, {}, {}
  for i, name in ipairs(names) do
    local stays = asked[owners[i]].stays
    if values[i] == owners[i] and stays > now then
      kept[#kept + 1], kept[#kept + 2] = name, string.format('%s %.0f', owners[i], stays)
      times[#times + 1], times[#times + 2] = stays, name
    elseif values[i] == owners[i] then
      gone[#gone + 1] = name
    end
  end
  send('HDEL', locks, gone)
  send('HSET', locks, kept)
  send('ZADD', lapses, times)
end

-- The same for jobs that begin to run, of those whose lock is for the time before.
local function unlock_started(ids, asked, now)
  local started = {}
  for _, id in ipairs(ids) do
    if asked[id] and asked[id].flags % 2 == UNTIL_STARTED then started[#started + 1] = id end
  end
  unlock(started, asked, now)
end

-- Jobs that wait again take their locks where they are free.
local function relock(ids, asked, now)
  local owners, names, values = locks_of(ids, asked)
  local taken = {}
  for i, name in ipairs(names) do
    local owner = locked_by(values[i], now)
    if not owner or owner == owners[i] then -- its own may stand there with an end
      taken[#taken + 1], taken[#taken + 2] = name, owners[i]
    end
  end
  send('HSET', locks, taken)
end
