#!lua flags=allow-oom
-- scan | keys: jobs live errors ready running scheduled retrying waiting succeeded dead cancelled | edges: none
--
-- Reads jobs of one state in order, from a place on, all or those that match. A member's place is its
-- score and its id, so nothing is read twice or left out because others come and go meanwhile.
-- ARGV: now, state, order (asc, desc), score and id of the last job read before ("" for none), how
--   many places to pass over, most to look at (at most 500), most to answer, bytes of an envelope to
--   answer, bytes of a failure to answer; then what must be found: text in the envelope, text in the
--   last failure, text in the holder ("" for anything), attempts at least, ms of the last one at least
--   (0 for any; how long one ran that failed is not on its record, so too many are found), then task
--   names, of which one must be its own (none for any)
-- Reply: looked at, score and id of the last one looked at ("" when nothing is behind it), then per
--   job: id, score, envelope (cut), its whole length, live, last failure (cut), its whole length, how
--   many failures

local state, down, score, last = ARGV[2], ARGV[3] == 'desc', ARGV[4], ARGV[5]
local skip, most, answers = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local head, tail = tonumber(ARGV[9]), tonumber(ARGV[10])
local text, failing, who = ARGV[11], ARGV[12], ARGV[13]
local tried, took = tonumber(ARGV[14]), tonumber(ARGV[15])
local names = { unpack(ARGV, 16) }
local now = took > 0 and clock(ARGV[1])
local STEP, BYTES = 20, 1048576 -- jobs read at a time; bytes after which it ends early

local set = ({ ready = ready, running = running, scheduled = scheduled, retrying = retrying,
  waiting = waiting, succeeded = succeeded, dead = dead, cancelled = cancelled })[state]
local size = redis.call('ZCARD', set)

-- Byte by byte, as Redis sorts members; Lua's own comparison depends on the server's language.
local function is_before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- How many members stand before the place; with it, if `and_it`.
local function before(and_it)
  local low = redis.call('ZCOUNT', set, '-inf', '(' .. score)
  local high = redis.call('ZCOUNT', set, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local id = redis.call('ZRANGE', set, middle, middle)[1]
    if is_before(id, last) or (and_it and id == last) then low = middle + 1 else high = middle end
  end
  return low
end

-- The members at ranks from `at` on, in the order that is asked for.
local function members(at, count)
  if not down then return redis.call('ZRANGE', set, at, at + count - 1, 'WITHSCORES') end
  local from = at - count + 1
  local list = redis.call('ZRANGE', set, math.max(from, 0), at, 'WITHSCORES')
  local turned = {}
  for i = #list - 1, 1, -2 do
    turned[#turned + 1] = list[i]
    turned[#turned + 1] = list[i + 1]
  end
  return turned
end

local function last_line(lines)
  local from, count = 1, 1
  while true do
    local cut = string.find(lines, '\n', from, true)
    if not cut then break end
    from, count = cut + 1, count + 1
  end
  return string.sub(lines, from), count
end

local function is_named(envelope)
  if #names == 0 then return true end
  local from = string.sub(envelope, 1, 1) == '~' and 49 or 1 -- behind a signature
  for _, name in ipairs(names) do
    local start = '["' .. name .. '",'
    if string.sub(envelope, from, from + #start - 1) == start then return true end
  end
  return false
end

local function has_run(record)
  local l = read_live(record)
  local over = l.ended > 0 and l.ended >= l.started and l.ended or now
  return (who == '' or string.find(string.sub(l.tail, 1, 22), who, 1, true))
    and l.attempt + (state == 'running' and 1 or 0) >= tried
    and (took == 0 or (l.started > 0 and over - l.started >= took))
end

local function is_failing(lines) return string.find(last_line(lines), failing, 1, true) end

local function is_meant(envelope)
  return is_named(envelope) and (text == '' or string.find(envelope, text, 1, true))
end

-- Each look at a key leaves fewer ids, and only of those that are answered all keys are read.
local looks = {}
if who ~= '' or tried > 0 or took > 0 then looks[#looks + 1] = { live, has_run } end
if failing ~= '' then looks[#looks + 1] = { errors, is_failing } end
if text ~= '' or #names > 0 then looks[#looks + 1] = { jobs, is_meant } end

local read = 0

-- Reads what is not read yet of these ids.
local function read_all(key, ids, values)
  local missing = {}
  for _, id in ipairs(ids) do
    if not values[id] then missing[#missing + 1] = id end
  end
  if #missing == 0 then return end
  for i, value in ipairs(redis.call('HMGET', key, unpack(missing))) do
    values[missing[i]] = value or ''
    read = read + (value and #value or 0)
  end
end

local function matching(ids, values)
  for _, look in ipairs(looks) do
    local key, fits = unpack(look)
    local found, left = values[key], {}
    read_all(key, ids, found)
    for _, id in ipairs(ids) do
      if fits(found[id]) then left[#left + 1] = id end
    end
    ids = left
  end
  return ids
end

local reply, r = { 0, '', '' }, 3
local looked, found, done = 0, 0, false
local at
if down then
  at = (score ~= '' and before(false) or size) - 1 - skip
else
  at = (score ~= '' and before(true) or 0) + skip
end
while not done and looked < most and at >= 0 and at < size do
  local count = math.min(STEP, most - looked)
  if down then count = math.min(count, at + 1) end
  local list = members(at, count)
  if #list == 0 then break end
  local ids, places = {}, {}
  for i = 1, #list, 2 do
    ids[#ids + 1] = list[i]
    places[list[i]] = #ids
  end
  local values = { [jobs] = {}, [live] = {}, [errors] = {} }
  local hits = matching(ids, values)
  done = found + #hits >= answers
  while found + #hits > answers do hits[#hits] = nil end
  for _, key in ipairs({ jobs, live, errors }) do read_all(key, hits, values[key]) end
  local envelopes, records, failures = values[jobs], values[live], values[errors]
  for _, id in ipairs(hits) do
    local envelope, line, times = envelopes[id], '', 0
    if failures[id] ~= '' then line, times = last_line(failures[id]) end
    reply[r + 1], reply[r + 2], reply[r + 3] = id, list[places[id] * 2], string.sub(envelope, 1, head)
    reply[r + 4], reply[r + 5] = #envelope, records[id]
    reply[r + 6], reply[r + 7], reply[r + 8] = string.sub(line, 1, tail), #line, times
    r = r + 8
  end
  found = found + #hits
  -- One that has its answers looked no further than the last of them.
  local here = done and places[hits[#hits]] or #ids
  looked = looked + here
  reply[2], reply[3] = list[here * 2], ids[here]
  at = down and at - #ids or at + #ids
  if read > BYTES then break end
end
reply[1] = looked
-- Whether something is behind the last one that was looked at.
if reply[3] ~= '' then
  local edge = redis.call('ZRANGE', set, down and 0 or -1, down and 0 or -1)[1]
  if edge == reply[3] then reply[2], reply[3] = '', '' end
end
return reply
