-- Shared as common.lua is: how many attempts came to what, and how long they waited and ran.
-- `counting` has the open minute: "counter task" -> how many, @ -> which minute it is, and of the
-- queue itself N -> how often its ready jobs were counted and B -> their sum. When the next begins, that is added to what `counts` has of the minute, its ten minutes, its hour and
-- its day. Each has two fields there, which another one takes over after so many as SPANS says: its
-- number and the counters of all tasks ("m17"), and its number and a line per task ("m17 tasks").

local SPANS = { m = { 60000, 1440 }, t = { 600000, 144 }, h = { 3600000, 2160 }, d = { 86400000, 90 } }

-- The number of a span of time, and the field it has.
local function slot_of(span, ms)
  local number = math.floor(ms / SPANS[span][1])
  return string.format('%.0f', number), string.format('%s%.0f', span, number % SPANS[span][2])
end

local MOST_TASKS = 100 -- in one field; all others go under one name

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

-- Adds the counters of a text, "S=12,w9=10", to a table.
local function add_counts(sums, text)
  for counter, count in string.gmatch(text, '(%w+)=(%d+)') do
    sums[counter] = (sums[counter] or 0) + tonumber(count)
  end
  return sums
end

local function counts_text(sums)
  local parts = {}
  for counter, count in pairs(sums) do parts[#parts + 1] = string.format('%s=%.0f', counter, count) end
  return table.concat(parts, ',')
end

local function sum_text(text, more)
  local sums = add_counts({}, text)
  for counter, count in pairs(more) do sums[counter] = (sums[counter] or 0) + count end
  return counts_text(sums)
end

-- The open minute as task -> its counters, and the counters of all.
local function counts_of_minute()
  local tasks, whole = {}, {}
  for name, count in pairs(open_minute()) do
    local counter, task = string.match(name, '^(%w+) (.*)$')
    if counter and tonumber(count) then
      task = string.gsub(task, '%s', '_')
      tasks[task] = tasks[task] or {}
      tasks[task][counter] = (tasks[task][counter] or 0) + count
      whole[counter] = (whole[counter] or 0) + count
    elseif tonumber(count) and string.find(name, '^[BN]$') then
      whole[name] = (whole[name] or 0) + count
    end
  end
  return tasks, whole
end

-- A line per task, those of `old` with what `tasks` adds; the others' lines stay as they are.
local function merged_lines(old, tasks)
  local lines, seen, rest = {}, {}, nil
  for line in string.gmatch(old, '[^\n]+') do
    local task, text = string.match(line, '^(%S*) (%S+)$')
    if task == '*' then
      rest = add_counts({}, text)
    elseif task then
      seen[task] = true
      local more = tasks[task]
      lines[#lines + 1] = more and task .. ' ' .. sum_text(text, more) or line
    end
  end
  for task, sums in pairs(tasks) do
    if not seen[task] then
      if task ~= '*' and #lines < MOST_TASKS then
        lines[#lines + 1] = task .. ' ' .. counts_text(sums)
      else
        rest = add_counts(rest or {}, counts_text(sums))
      end
    end
  end
  if rest then lines[#lines + 1] = '* ' .. counts_text(rest) end
  return table.concat(lines, '\n')
end

-- What a field has of the span `number`: nothing if that is another's.
local function text_of(field, number)
  local text = field and string.match(field, '^%d+') == number and string.match(field, '%s(.*)$')
  return text or ''
end

local function close_minute(minute)
  local tasks, whole = counts_of_minute()
  redis.call('DEL', counting)
  local fields = {}
  for span in pairs(SPANS) do
    local number, slot = slot_of(span, minute * 60000)
    local old = redis.call('HMGET', counts, slot, slot .. ' tasks')
    fields[#fields + 1] = slot
    fields[#fields + 1] = number .. ' ' .. sum_text(text_of(old[1], number), whole)
    if next(tasks) then
      fields[#fields + 1] = slot .. ' tasks'
      fields[#fields + 1] = number .. '\n' .. merged_lines(text_of(old[2], number), tasks)
    end
  end
  redis.call('HSET', counts, unpack(fields))
end

-- Raises counters of the open minute by what sums has of each; names has them, behind '@'. A minute
-- has 2000 at most; what is too much goes under one name. A clock that was set back a little
-- counts in the minute that is open.
local function raise_counters(sums, names, now)
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

-- Counts attempts: told has what each is counted as (see counts.py) -> how many.
local function count_in(told, now)
  local sums, names = {}, { '@' }
  for what, times in pairs(told) do if times > 0 then
    local bar = string.find(what, '|', 1, true) or #what + 1
    local task = ' ' .. string.sub(what, bar + 1, bar + 200)
    for counter in string.gmatch(string.sub(what, 1, bar - 1), '%w+') do
      local name = counter .. task
      if not sums[name] then names[#names + 1] = name end
      sums[name] = (sums[name] or 0) + times
    end
  end end
  if #names > 1 then raise_counters(sums, names, now) end
end
