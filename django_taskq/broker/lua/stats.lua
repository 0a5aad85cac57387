-- Shared as common.lua is: what attempts came to, by task and time.
-- `stats` has a field per minute and task and one per hour and task ("m" or "h", its number since
-- 1970, a bar, the task) with a tally as tallies.py writes it; `stats_at` has the time at which each
-- may be dropped.

local SPANS = { { 'm', 60000, 86400000 }, { 'h', 3600000, 7776000000 } } -- a day, 90 days

-- Two tallies as one.
local function merged(old, new)
  local order, counts = {}, {}
  for name, count in string.gmatch(old .. ',' .. new, '(%a%w*)=(%d+)') do
    if not counts[name] then
      order[#order + 1], counts[name] = name, 0
    end
    counts[name] = counts[name] + tonumber(count)
  end
  for i, name in ipairs(order) do order[i] = name .. string.format('=%.0f', counts[name]) end
  return table.concat(order, ',')
end

-- Counts the lines "task tally" in, and drops some that are old.
local function count_in(lines, now)
  local fields, fresh, ends = {}, {}, {}
  for task, tally in string.gmatch(lines, '(%S+) (%S+)\n') do
    for _, span in ipairs(SPANS) do
      local start = math.floor(now / span[2])
      fields[#fields + 1] = string.format('%s%.0f|', span[1], start) .. task
      fresh[#fields] = tally
      ends[#fields] = (start + 1) * span[2] + span[3]
    end
  end
  if #fields == 0 then return end
  local values, new = {}, {}
  for i, old in ipairs(redis.call('HMGET', stats, unpack(fields))) do
    values[#values + 1] = fields[i]
    values[#values + 1] = old and merged(old, fresh[i]) or fresh[i]
    if not old then new[#new + 1], new[#new + 2] = ends[i], fields[i] end
  end
  redis.call('HSET', stats, unpack(values))
  if #new == 0 then return end
  redis.call('ZADD', stats_at, unpack(new))
  local old = redis.call('ZRANGE', stats_at, '-inf', now, 'BYSCORE', 'LIMIT', 0, #new * 2)
  send('HDEL', stats, old)
  send('ZREM', stats_at, old)
end
