-- Shared as common.lua is: how many attempts came to what, and how long they waited and ran.
-- `counting` has the open minute: "counter task" -> how many, and @ -> which minute it is. When the
-- next one begins, that is added to what `counts` has of the minute, its ten minutes, its hour and
-- its day. Each has two fields there, which another one takes over after so many as SPANS says: its
-- number and the counters of all tasks ("m17"), and its number and a line per task ("m17 tasks").

local SPANS = { m = { 60000, 1440 }, t = { 600000, 144 }, h = { 3600000, 2160 }, d = { 86400000, 90 } }

-- The number of a span of time, and the field it has.
local function slot_of(span, ms)
  local number = math.floor(ms / SPANS[span][1])
  return string.format('%.0f', number), string.format('%s%.0f', span, number % SPANS[span][2])
end

-- Adds to a counter of a task. When there are 100 tasks, all others go under one name.
local function add_count(sums, task, counter, count)
  if not sums[task] then
    if #sums >= 100 then task = '*' end
    if not sums[task] then sums[#sums + 1], sums[task] = task, {} end
  end
  sums[task][counter] = (sums[task][counter] or 0) + count
end

-- The open minute, field -> value. What is found twice on such a walk is the same.
local function open_minute()
  local found, cursor = {}, '0'
  repeat
    local page = redis.call('HSCAN', counting, cursor, 'COUNT', 1000)
    for i = 1, #page[2], 2 do found[page[2][i]] = page[2][i + 1] end
    cursor = page[1]
  until cursor == '0'
  return found
end

local function counts_text(sum)
  local parts = {}
  for counter, count in pairs(sum) do parts[#parts + 1] = string.format('%s=%.0f', counter, count) end
  return table.concat(parts, ',')
end

local function close_minute(minute)
  local open = open_minute()
  redis.call('DEL', counting)
  local fields = {}
  for span in pairs(SPANS) do
    local number, slot = slot_of(span, minute * 60000)
    local sums, whole, lines = {}, {}, { number }
    local old = redis.call('HGET', counts, slot .. ' tasks')
    if old and string.match(old, '^%d+') == number then
      for task, text in string.gmatch(old, '\n(%S*) ([^\n]+)') do
        for counter, count in string.gmatch(text, '(%w+)=(%d+)') do
          add_count(sums, task, counter, tonumber(count))
        end
      end
    end
    for name, count in pairs(open) do
      local counter, task = string.match(name, '^(%w+) (%S*)$')
      if counter then add_count(sums, task, counter, tonumber(count) or 0) end
    end
    for _, task in ipairs(sums) do
      lines[#lines + 1] = task .. ' ' .. counts_text(sums[task])
      for counter, count in pairs(sums[task]) do whole[counter] = (whole[counter] or 0) + count end
    end
    fields[#fields + 1], fields[#fields + 2] = slot, number .. ' ' .. counts_text(whole)
    fields[#fields + 1], fields[#fields + 2] = slot .. ' tasks', table.concat(lines, '\n')
  end
  redis.call('HSET', counts, unpack(fields))
end

-- Counts attempts: told has what each is counted as (see counts.py) -> how many. A minute has 2000
-- counters at most; what is too much goes under one name. A clock that was set back a little
-- counts in the minute that is open.
local function count_in(told, now)
  local sums, names = {}, { '@' }
  for what, times in pairs(told) do if times > 0 then
    local raised, task = string.match(what, '^([^|]*)|?(.*)$')
    task = ' ' .. string.gsub(string.sub(task, 1, 200), '%s', '_')
    for counter in string.gmatch(raised, '%w+') do
      local name = counter .. task
      if not sums[name] then names[#names + 1] = name end
      sums[name] = (sums[name] or 0) + times
    end
  end end
  if #names == 1 then return end
  local minute = math.floor(now / 60000)
  local old = redis.call('HMGET', counting, unpack(names))
  local open = tonumber(old[1]) or minute
  if minute > open or minute < open - 5 then
    close_minute(open)
    open, old = minute, {}
  end
  local values, room, rest = { '@', string.format('%.0f', open) }, nil, {}
  for i = 2, #names do
    local name = names[i]
    if not old[i] then room = (room or 2000 - redis.call('HLEN', counting)) - 1 end
    if old[i] or room >= 0 then
      values[#values + 1], values[#values + 2] = name, sums[name] + (tonumber(old[i]) or 0)
    else
      local counter = string.match(name, '^%w+')
      rest[counter] = (rest[counter] or 0) + sums[name]
    end
  end
  redis.call('HSET', counting, unpack(values))
  for counter, times in pairs(rest) do redis.call('HINCRBY', counting, counter .. ' *', times) end
end
